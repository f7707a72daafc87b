"""Images of any detector that dxtbx opens, by way of a child process of DIALS's own."""

import atexit
import math
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zocelery.errors import ImageError, TaskError
from zocelery_tasks.dials.process import DialsProcess
from zocelery_tasks.images.beam import Beam
from zocelery_tasks.images.detector import Detector, SensorType, TrustedRange
from zocelery_tasks.images.image import Image, PixelBuffers
from zocelery_tasks.images.masks import Mask
from zocelery_tasks.images.panel import Panel

_TYPES = ("<i4", "<f8")
_LIMIT = 2**31


class _Memory(threading.local):
    """The child of one thread."""

    def __init__(self) -> None:
        self.process = DialsProcess()
        atexit.register(_close, weakref.ref(self.process))


def _close(process: "weakref.ref[DialsProcess]") -> None:
    """End a child before the interpreter does, unless its thread has ended."""
    known = process()
    if known is not None:
        known.close()


_memory = _Memory()


def open_image_by_dials(
    file: Path,
    image_number: int = 1,
    buffers: PixelBuffers | None = None,
    process: DialsProcess | None = None,
) -> Image:
    """Read one image with its geometry through DIALS.

    Which pixels are usable is what the installed DIALS says, so that the image's mask
    is its own and leaves nothing to the trusted range. Counts stay counts where a count
    is a photon; else they come as photons, as DIALS corrects them for gain and
    pedestal. The panels lie in the image as in the file if dxtbx knows where, else one
    below the other.

    Args:
        file: anything that dxtbx opens.
        image_number: 1-based, within the file.
        buffers: where the pixels go; a new array if not given.
        process: the child to use; by default this thread's own, kept for the next.

    Raises:
        ImageError: if DIALS is not there, cannot read the image, dies or takes too
            long; one line that names both.
    """
    buffers = buffers or PixelBuffers()
    arrays: list[Any] = []

    def _make_room(said: Mapping[str, Any]) -> list[memoryview]:
        arrays.extend(_room(said, buffers))
        return [memoryview(array.reshape(-1).view(np.uint8)) for array in arrays]

    request = {"file": str(file.absolute()), "index": image_number - 1}
    try:
        said = (process or _memory.process).ask(request, _make_room)
        pixels, mask = arrays
        detector, beam = _detector(said, mask), _beam(said)
    except TaskError as error:
        place = f"{file}: image {image_number}: "
        raise type(error)(f"{place}{error}") from error
    except (LookupError, TypeError, ValueError) as error:
        raise ImageError(
            f"{file}: image {image_number}: DIALS's answer makes no sense: {error}"
        ) from error
    return Image(file, image_number, pixels, detector, beam)


def count_images_by_dials(file: Path, process: DialsProcess | None = None) -> int:
    """Return how many images a file holds, by DIALS.

    Raises:
        ImageError: if DIALS is not there, cannot read the file, dies or takes too long.
    """
    try:
        request = {"file": str(file.absolute())}
        said = (process or _memory.process).ask(request, lambda _: [])
    except TaskError as error:
        raise type(error)(f"{file}: {error}") from error
    return int(said["count"])


def check_dials() -> None:
    """Start this thread's child, unless it runs.

    Raises:
        DialsMissingError: if DIALS is not there.
        ImageError: if it dies or takes too long.
    """
    _memory.process.ask({}, lambda _: [])


def _room(said: Mapping[str, Any], buffers: PixelBuffers) -> tuple[Any, Mask]:
    slow, fast = said["shape"]
    if said["dtype"] not in _TYPES:
        raise ImageError(f"DIALS's process sends pixels of type {said['dtype']}")
    return buffers.take((slow, fast), said["dtype"]), np.empty((slow, fast), np.bool_)


def _beam(said: Mapping[str, Any]) -> Beam:
    wavelength = float(said["wavelength"])
    if not 0 < wavelength < math.inf:
        raise ValueError(f"wavelength {wavelength}")
    return Beam(wavelength, _vector(said["source_direction"]))


def _detector(said: Mapping[str, Any], mask: Mask) -> Detector:
    slow, fast = mask.shape
    sensor = said["sensor"]
    return Detector(
        panels=tuple(
            _panel(panel).within((slow, fast), "DIALS") for panel in said["panels"]
        ),
        shape=(slow, fast),
        trusted=TrustedRange(lowest=said["lowest"], saturation=_LIMIT),
        sensor=_sensor_type(sensor["kind"]),
        sensor_thickness=sensor["thickness"],
        sensor_attenuation=sensor["attenuation"],
        mask=mask,
    )


def _panel(said: Mapping[str, Any]) -> Panel:
    slow, fast = said["first"]
    rows, columns = said["size"]
    along_fast, along_slow = said["pixel_size"]
    return Panel(
        fast_axis=_vector(said["fast_axis"]),
        slow_axis=_vector(said["slow_axis"]),
        origin=_vector(said["origin"]),
        pixel_size=(float(along_fast), float(along_slow)),
        first=(int(slow), int(fast)),
        size=(int(rows), int(columns)),
    )


def _vector(said: list[float]) -> tuple[float, float, float]:
    x, y, z = map(float, said)
    if not math.isfinite(x + y + z):
        raise ValueError(f"vector {said}")
    return x, y, z


def _sensor_type(kind: str) -> SensorType:
    """Return the kind of sensor by dxtbx's name, which some formats shorten."""
    name = kind.removeprefix("SENSOR_")
    return SensorType(name) if name in ("PAD", "CCD") else SensorType.UNKNOWN
