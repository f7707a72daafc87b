"""On which channels a file watcher speaks of which image."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from zocelery.errors import ParameterError

ONCE_CHANNELS = ("first", "last", r"\d+", "any", "timeout", "finally", "error")
"""Channels that speak once or never; N is image number N."""
STREAM_CHANNELS = ("every", r"every-\d+", r"select-\d+")
"""Channels that speak for each of many images."""

_COUNTED = re.compile(r"(every|select)-(\d+)")


@dataclass(frozen=True, slots=True)
class Told:
    """One channel on which one image is told of."""

    channel: str
    is_stream: bool


@dataclass(frozen=True)
class WatchChannels:
    """The channels that a recipe connects to a watcher.

    Images are numbered from 1. `every-N` takes images 1, N + 1, 2N + 1 ...; `select-N`
    takes N images spread evenly over the total, the last one among them, and all if
    there are fewer; `select-1` takes the last.
    """

    single: frozenset[str] = frozenset()
    """`first`, `last`, N and the channels that tell of the end."""
    every: tuple[int, ...] = ()
    """N of each `every-N`."""
    select: tuple[int, ...] = ()
    """N of each `select-N`."""
    all: bool = False
    """Whether `every` is connected."""

    @classmethod
    def parse(cls, names: Iterable[str]) -> "WatchChannels":
        """Return the channels of these names; names of no such channel are left out.

        Raises:
            ParameterError: for `every-0` and `select-0`.
        """
        names = set(names)
        counted: dict[str, list[int]] = {"every": [], "select": []}
        for name in sorted(names):
            found = _COUNTED.fullmatch(name)
            if found is None:
                continue
            if int(found[2]) == 0:
                raise ParameterError(f"channel {name!r}: the number must be 1 or more")
            counted[found[1]].append(int(found[2]))
        return cls(
            single=frozenset(
                name
                for name in names
                if any(re.fullmatch(pattern, name) for pattern in ONCE_CHANNELS)
            ),
            every=tuple(sorted(counted["every"])),
            select=tuple(sorted(counted["select"])),
            all="every" in names,
        )

    def tell(self, number: int, total: int | None) -> Iterator[Told]:
        """Yield the channels on which an image is told of.

        Args:
            number: of the image, from 1.
            total: number of images expected; None if that is not known yet: then the
                channels that depend on it are left for `tell_late`.
        """
        if number == 1 and "first" in self.single:
            yield Told("first", is_stream=False)
        if str(number) in self.single:
            yield Told(str(number), is_stream=False)
        if self.all:
            yield Told("every", is_stream=True)
        for step in self.every:
            if (number - 1) % step == 0:
                yield Told(f"every-{step}", is_stream=True)
        if total is not None:
            yield from self.tell_late(number, total)

    def tell_late(self, number: int, total: int) -> Iterator[Told]:
        """Yield those channels for an image that depend on the total."""
        if number == total and "last" in self.single:
            yield Told("last", is_stream=False)
        for count in self.select:
            if is_selected(number, count, total):
                yield Told(f"select-{count}", is_stream=True)


def is_selected(number: int, count: int, total: int) -> bool:
    """Whether image `number` is one of `count` spread evenly over `total`.

    The spacing is Zocalo's: 3 of 10 are 1, 6 and 10.
    """
    if total <= count or number == total:
        return True
    if count == 1:
        return False
    intervals = count - 1
    return number == 1 + number * intervals // total * total // intervals
