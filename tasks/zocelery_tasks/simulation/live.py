"""Live pace: images appear on disk at the rate of a detector."""

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Pace:
    """How fast images were written."""

    images: int
    seconds: float
    """From the start of the first exposure until the last image was written."""
    asked_hz: float | None = None
    """Images per second that were asked for; None: as fast as possible."""
    worst_delay_s: float = 0.0
    """How late the latest image was, s."""

    @property
    def achieved_hz(self) -> float:
        """Images per second."""
        return self.images / max(self.seconds, 1e-9)


def write_at_pace(
    images: int,
    frame_rate: float,
    write: Callable[[int], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Pace:
    """Call `write(index)` for each image at the end of its exposure.

    An image that is late is written at once and delays none of those after it.

    Args:
        images: how many.
        frame_rate: images per second.
        write: makes one image visible.
        clock: seconds.
        sleep: waits for so many seconds.
    """
    start = clock()
    worst = 0.0
    for index in range(images):
        due = start + (index + 1) / frame_rate
        early = due - clock()
        if early > 0:
            sleep(early)
        write(index)
        worst = max(worst, clock() - due)
    return Pace(images, clock() - start, frame_rate, worst)


class Spool:
    """Compressed images that wait for their time, in a file without a name.

    Not in memory: a thousand images of a large detector are gigabytes.
    """

    def __init__(self, folder: Path) -> None:
        """Keep the images on the disk of `folder`."""
        with ExitStack() as stack:
            self._file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            self._stack = stack.pop_all()
        self._places: list[tuple[tuple[int, int], ...]] = []
        self._repeats: dict[int, tuple[tuple[int, int], ...]] = {}

    def append(self, blobs: tuple[bytes, ...], repeat_key: int | None) -> None:
        """Add an image in all its formats; those of equal key are stored once."""
        places = None if repeat_key is None else self._repeats.get(repeat_key)
        if places is None:
            places = tuple(map(self._store, blobs))
        if repeat_key is not None:
            self._repeats[repeat_key] = places
        self._places.append(places)

    def _store(self, blob: bytes) -> tuple[int, int]:
        """Write a blob and return where it is."""
        start = self._file.tell()
        self._file.write(blob)
        return start, len(blob)

    def read(self, index: int) -> tuple[bytes, ...]:
        """Return image `index` in all its formats."""
        return tuple(map(self._load, self._places[index]))

    def _load(self, place: tuple[int, int]) -> bytes:
        """Return the blob at a place."""
        self._file.seek(place[0])
        return self._file.read(place[1])

    def __enter__(self) -> Self:
        """Return the spool."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Free the disk."""
        self._stack.close()
