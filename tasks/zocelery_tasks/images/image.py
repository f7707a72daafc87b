"""One diffraction image in memory."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zocelery_tasks.images.detector import Beam, Detector

Pixels = npt.NDArray[np.integer[Any]]
"""Counts, shape (slow, fast)."""

PixelType = np.dtype[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Image:
    """The counts of one image and all that is needed to make sense of them."""

    file: Path
    image_number: int
    """1-based; for a file of one image the number in its name plays no part."""
    pixels: Pixels = field(repr=False)
    detector: Detector
    beam: Beam


class PixelBuffers:
    """Memory for pixels that is used again and again, one array per shape and type.

    For whoever looks at one image at a time: an image that is read with the same
    buffers overwrites the pixels of the one before. Not for use by two threads.
    """

    def __init__(self) -> None:
        self._arrays: dict[tuple[tuple[int, int], str], Pixels] = {}

    def take(self, shape: tuple[int, int], dtype: npt.DTypeLike) -> Pixels:
        """Return the array for `shape` (slow, fast) and `dtype`, C-contiguous."""
        key = (shape, np.dtype(dtype).str)
        if key not in self._arrays:
            self._arrays[key] = np.empty(shape, dtype=dtype)
        return self._arrays[key]
