"""Strong pixels of an image by DIALS's thresholds, bit for bit."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.dispersion import find_dispersion
from zocelery_tasks.kernels.dispersion_extended import find_dispersion_extended
from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.mask_runs import MaskRuns, find_mask_runs
from zocelery_tasks.kernels.screen import HALF, Screen, make_screen
from zocelery_tasks.kernels.signal_tiles import TileMemory, make_tile_memory
from zocelery_tasks.kernels.summed_area import NO_GAIN, strong_by_tables
from zocelery_tasks.kernels.threshold import (
    COUNT_LIMIT,
    Algorithm,
    DispersionSettings,
)

_T = TypeVar("_T", bound=np.generic)
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.integer]

_EXACT = 2.0**52
"""Up to here, a sum over an image and differences of such sums are exact as doubles."""


def strong_pixels(pixels: Pixels, valid: Mask, settings: DispersionSettings) -> Indices:
    """Find the strong pixels of one image.

    For many images of one detector, `StrongPixelFinder` is faster.

    Args:
        pixels: counts (slow, fast), integers of up to 32 bits.
        valid: True for usable pixels (slow, fast): those of the detector whose counts
            are in the trusted range.
        settings: the threshold.

    Returns:
        Flat indices of the strong pixels, in raster order.

    Raises:
        TypeError: if the pixels are not such integers, or the mask not boolean.
        ValueError: if the shapes are not the same, or not those of images.
    """
    limits = np.iinfo(pixels.dtype) if pixels.dtype.kind in "iu" else np.iinfo(np.int32)
    return StrongPixelFinder(settings).find(pixels, valid, limits.min, limits.max)


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """What is kept between images of one shape."""

    screen: Screen
    tops: Indices
    """Highest counts of the rows, or more."""
    found: Indices
    """Room for results."""
    tiles: TileMemory | None
    """For dispersion_extended."""


class StrongPixelFinder:
    """Finds the strong pixels of images, keeping its memory between those of a shape.

    Not for use by two threads at once; other Python threads run during the work.
    """

    def __init__(self, settings: DispersionSettings) -> None:
        self.settings = settings
        self._threshold = settings.threshold
        self._extended = settings.algorithm is Algorithm.DISPERSION_EXTENDED
        self._gain = NO_GAIN
        if settings.gain is not None:
            self._gain = np.array(settings.gain, np.float64)
        self._shape = (0, 0)
        self._memory: _Memory | None = None
        self._mask: Mask | None = None
        self._runs: MaskRuns | None = None

    def find(self, pixels: Pixels, usable: Mask, lowest: int, highest: int) -> Indices:
        """Find the strong pixels of one image.

        Args:
            pixels: counts (slow, fast), integers of up to 32 bits.
            usable: True for the detector's usable pixels (slow, fast). If the array is
                read-only, it is taken not to change while the finder lives, and looked
                through only once.
            lowest: lowest count that is usable.
            highest: highest count that is usable.

        Returns:
            Flat indices of the strong pixels, in raster order.

        Raises:
            TypeError: if the pixels are not such integers, or the mask not boolean.
            ValueError: if the shapes are not the same, or not those of images.
        """
        _check(pixels, usable)
        pixels = _to_kernel_type(pixels)
        limits = np.iinfo(pixels.dtype)
        lowest, highest = max(lowest, int(limits.min)), min(highest, int(limits.max))
        if lowest > highest:
            return np.empty(0, np.int64)
        found = None
        if self._can_be_screened(lowest):
            found = self._screen(pixels, usable, lowest, highest)
        if found is None:
            found = self._find_by_tables(pixels, usable, lowest, highest)
        return found

    def _can_be_screened(self, lowest: int) -> bool:
        """Return whether the fast way knows the window and the counts."""
        no_gain = self.settings.gain is None
        return self.settings.kernel == (HALF, HALF) and no_gain and lowest >= 0

    def _screen(
        self, pixels: Pixels, usable: Mask, lowest: int, highest: int
    ) -> Indices | None:
        """Find strong pixels the fast way; None if DIALS's sums would be rounded."""
        if pixels.dtype == np.int32:
            pixels = pixels.view(np.uint32)
        memory = self._memory_for((pixels.shape[0], pixels.shape[1]))
        memory.tops[:] = 0
        frame = Frame(
            pixels=pixels,
            usable=_read_only(usable),
            runs=self._runs_of(usable),
            limits=np.array([lowest, highest - lowest], pixels.dtype),
            tops=memory.tops,
        )
        screen, tiles, found = memory.screen, memory.tiles, memory.found
        if tiles is not None:
            n = find_dispersion_extended(frame, self._threshold, screen, tiles, found)
        else:
            n = find_dispersion(frame, self._threshold, screen, found)
        return found[:n].copy() if _tables_are_exact(frame) else None

    def _find_by_tables(
        self, pixels: Pixels, usable: Mask, lowest: int, highest: int
    ) -> Indices:
        """Find strong pixels by DIALS's formulas at every pixel."""
        gain = self._gain
        if gain.ndim == 0:
            gain = np.full((1, pixels.shape[1]), float(gain))
        if gain.size and gain.shape[-1] != pixels.shape[1]:
            raise ValueError(f"gain map {gain.shape} is not of the image's shape")
        indices: Indices = strong_by_tables(
            pixels,
            usable,
            lowest,
            highest,
            gain,
            self._threshold,
            self._extended,
        )
        return indices

    def _runs_of(self, usable: Mask) -> MaskRuns:
        """Return the runs of a mask, from the last time if it is the same."""
        runs = self._runs
        if runs is None or usable is not self._mask or usable.flags.writeable:
            runs = find_mask_runs(_read_only(usable))
            self._mask, self._runs = usable, runs
        return runs

    def _memory_for(self, shape: tuple[int, int]) -> _Memory:
        """Return the memory for images of a shape, new if the last was of another."""
        if self._memory is None or self._shape != shape:
            self._shape = shape
            (rows, width), threshold = shape, self._threshold
            tiles = make_tile_memory(threshold, shape) if self._extended else None
            self._memory = _Memory(
                screen=make_screen(threshold, width),
                tops=np.zeros(rows, np.int64),
                found=np.empty(rows * width + 8, np.int64),
                tiles=tiles,
            )
        return self._memory


def _check(pixels: Pixels, usable: Mask) -> None:
    """Raise unless these are an image and its mask."""
    if pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > 4:
        raise TypeError(f"pixels are {pixels.dtype}, not integers of up to 32 bits")
    if usable.dtype != np.bool_:
        raise TypeError(f"mask is {usable.dtype}, not bool")
    if pixels.ndim != 2 or not pixels.size:
        raise ValueError(f"pixels have shape {pixels.shape}, not (slow, fast)")
    if usable.shape != pixels.shape:
        raise ValueError(f"mask {usable.shape} is not of the image's {pixels.shape}")


def _to_kernel_type(pixels: Pixels) -> Pixels:
    """Return pixels as one of the types that compiled code exists for."""
    kernel_type = pixels.dtype.newbyteorder("=")
    if pixels.dtype == np.uint8:
        kernel_type = np.dtype(np.uint16)
    elif pixels.dtype.kind == "i":
        kernel_type = np.dtype(np.int32)
    return _read_only(np.ascontiguousarray(pixels, kernel_type))


def _read_only(array: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """Return a read-only view: one type for compiled code, whatever the caller has."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


@njit(cache=True, nogil=True)
def _tables_are_exact(frame: Frame) -> bool:
    """Return whether DIALS's sums of squares over the image do not round.

    A bound from the highest counts of rows, or the sum itself where those are high.
    """
    pixels, limits, tops = frame.pixels, frame.limits, frame.tops
    total, n = 0.0, pixels.shape[1]
    share = _EXACT / 2 / tops.size
    for j in range(tops.size):
        top = np.float64(min(tops[j], COUNT_LIMIT - 1))
        if top * top * n <= share:
            total += top * top * n
            continue
        row, usable, squares = pixels[j], frame.usable[j], np.uint64(0)
        for i in range(n):  # of less than 2**48 each
            is_usable = pixels.dtype.type(row[i] - limits[0]) <= limits[1]
            counted = is_usable & usable[i] & (row[i] < COUNT_LIMIT)
            count = np.uint64(row[i]) if counted else np.uint64(0)
            squares += count * count
        total += np.float64(squares)
    return total <= _EXACT
