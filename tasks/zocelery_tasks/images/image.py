"""One diffraction image in memory."""

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zocelery_tasks.images.beam import Beam
from zocelery_tasks.images.detector import Detector

Pixels = npt.NDArray[np.integer[Any]]
"""Counts, shape (slow, fast)."""

Photons = npt.NDArray[np.float64]
"""What counts are worth where they are not photons: shape (slow, fast)."""

PixelType = np.dtype[np.integer[Any]]

_MAX_ARRAYS = 2
_LINE = 64
"""Bytes of a line of the processor's cache."""


@dataclass(frozen=True, eq=False)
class Image:
    """The counts of one image and all that is needed to make sense of them."""

    file: Path
    image_number: int
    """1-based; for a file of one image the number in its name plays no part."""
    pixels: Pixels | Photons = field(repr=False)
    """Of photons the detector's mask alone says which are usable."""
    detector: Detector
    beam: Beam


class PixelBuffers:
    """Memory for pixels that is used again and again: an array per shape and type.

    For whoever looks at one image at a time: an image that is read with the same
    buffers overwrites the pixels of the one before. Of several shapes and types the
    last two are kept. Not for use by two threads.
    """

    def __init__(self) -> None:
        self._arrays: OrderedDict[tuple[tuple[int, int], str], Pixels] = OrderedDict()
        self._bytes = np.empty(0, np.uint8)

    def take(self, shape: tuple[int, int], dtype: npt.DTypeLike) -> Pixels:
        """Return the array for `shape` (slow, fast) and `dtype`, C-contiguous."""
        key = (shape, np.dtype(dtype).str)
        array = self._arrays.pop(key, None)
        if array is None:
            array = _aligned(shape[0] * shape[1] * np.dtype(dtype).itemsize)
            array = array.view(dtype).reshape(shape)
        self._arrays[key] = array
        if len(self._arrays) > _MAX_ARRAYS:
            self._arrays.popitem(last=False)
        return array

    def take_photons(self, shape: tuple[int, int]) -> Photons:
        """Return the array for photons of `shape` (slow, fast), C-contiguous."""
        return self.take(shape, np.float64)  # type: ignore[return-value]  # as asked

    def take_bytes(self, size: int) -> npt.NDArray[np.uint8]:
        """Return room for `size` bytes of compressed pixels.

        Memory that is never written to costs nothing.
        """
        if self._bytes.size < size:
            self._bytes = _aligned(size)
        return self._bytes[:size]


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    """Return so many bytes that begin with a line of the cache.

    What C's library allocates begins 16 bytes later: vectors would cross lines, and
    some processors read files six times more slowly into such memory.
    """
    room = np.empty(size + _LINE, np.uint8)
    begin = -room.ctypes.data % _LINE
    return room[begin : begin + size]
