"""The threshold "dispersion", exactly, for all pixels of some rows.

For the window of 7 × 7, without a gain; for images of which a screen rejects too
little. Works on one patch (`patch.py`) after the other: a block of pixels and the 3
around it.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.inner import inner
from zocelery_tasks.kernels.patch import (
    BLOCK_COLUMNS,
    BLOCK_ROWS,
    ONE,
    Patch,
    Place,
    any_set,
    bounds_of,
    list_span,
    load_counts,
    make_patch,
    sum_7,
    test_windows,
    to_stride,
)
from zocelery_tasks.kernels.screen import HALF, find_top
from zocelery_tasks.kernels.threshold import Threshold

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.integer]

_u = np.uintp


class BlockMemory(NamedTuple):
    """Memory for the blocks of images of one width."""

    patch: Patch
    strong: Bytes
    """Shape (rows of a block, columns): strong pixels."""


def make_block_memory(width: int) -> BlockMemory:
    """Make the memory for images of a width."""
    return BlockMemory(make_patch(), np.zeros((BLOCK_ROWS, width), np.uint8))


@inner
def list_strong_in_rows(
    frame: Frame,
    threshold: Threshold,
    memory: BlockMemory,
    begin: int,
    end: int,
    found: Indices,
    n_found: int,
) -> int:
    """Append the strong pixels of detector rows `begin` to `end` (excluded) to `found`.

    Args:
        frame: the image.
        threshold: the parameters.
        memory: for the blocks.
        begin: the first row.
        end: one past the last.
        found: flat indices; with room for all pixels, and one more.
        n_found: how many there are already.

    Returns:
        How many there are now.
    """
    n = frame.pixels.shape[1]
    for first in range(begin, end, BLOCK_ROWS):
        last = min(first + BLOCK_ROWS, end)
        for left in range(0, n, BLOCK_COLUMNS):
            columns = min(BLOCK_COLUMNS, n - left)
            stride = to_stride(columns + 2 * HALF)
            place = Place(first - HALF, left - HALF, stride)
            _mark_strong(frame, threshold, memory, place, (last - first, columns))
        for j in range(first, last):
            find_top(frame, j)
            span = 0, n
            n_found = list_span(memory.strong, j - first, span, j * n, found, n_found)
    return n_found


@inner
def _mark_strong(
    frame: Frame,
    threshold: Threshold,
    memory: BlockMemory,
    place: Place,
    shape: tuple[int, int],
) -> None:
    """Set `memory.strong` in a block of some shape, whose patch is at `place`."""
    patch, stride, rows = memory.patch, place.stride, (0, shape[0] + 2 * HALF)
    bounds = bounds_of(frame)
    load_counts(frame.pixels, frame.runs, bounds, place, rows, patch.counts)
    test_windows(threshold, patch, stride, (0, shape[0]), False)
    for k in range(shape[0]):
        _keep_above(frame.pixels, threshold, memory, place, k, shape[1])


@inner
def _keep_above(
    pixels: Pixels,
    threshold: Threshold,
    memory: BlockMemory,
    place: Place,
    k: int,
    columns: int,
) -> None:
    """Set row k of `memory.strong` in a block: signal above the windows' means."""
    strong, sums, windows = memory.strong, memory.patch.count_sums, memory.patch.windows
    sigma, lowest = threshold.sigma_strong, threshold.global_threshold
    j, left, first = _u(place.top + HALF + k), _u(place.left + HALF), k * place.stride
    if not any_set(windows, first, columns):
        strong[k, left : left + _u(columns)] = 0
        return
    for i in range(columns):
        both = sum_7(sums, _u(first) + _u(i))
        m = np.floor(both * (1 / ONE))
        x = both - m * ONE
        value = np.float64(pixels[j, left + _u(i)])
        above = (m * value - x > sigma * sqrt(x * m)) & (value > lowest)
        strong[_u(k), left + _u(i)] = windows[_u(first) + _u(i)] & np.uint8(above)
