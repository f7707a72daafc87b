"""dispersion_extended, exactly, within small tiles of an image.

For the window of 7 × 7, without a gain. A tile is a few rows of one band of the mask
(`mask_runs.py`) by the columns that passed the screen. Outside of tiles nothing is
signal, so that tiles can be worked on one by one: first all of them are searched for
signal (a window is signal by the dispersion test; a pixel is kept as signal if the
windows of all pixels within 2 are), then the signal of each is compared with the mean
of what is not signal around it.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.mask_runs import REACH
from zocelery_tasks.kernels.screen import HALF
from zocelery_tasks.kernels.threshold import COUNT_LIMIT, Threshold

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.integer]

_WIDE_HALF = HALF + 2
"""Half size of the window for the mean of the background."""
_ROWS = 4 * REACH + 1
"""Most rows for which the windows of one tile are tested."""


class TileMemory(NamedTuple):
    """Memory for the tiles of images of one shape."""

    signal: Mask
    """Signal found so far (slow, fast): all False between images."""
    nothing: Mask
    """Shape (1, fast), all False."""
    tiles: Indices
    """Shape (n, 4): first and last row (included), first and end column (excluded)."""
    windows: Mask
    """Windows of a tile that are signal."""
    sums: Doubles
    """Count, sum, sum of squares over the rows of a window, per column."""
    boxes: Doubles
    """The same over whole windows."""


def make_tile_memory(shape: tuple[int, int]) -> TileMemory:
    """Make the memory for images of a shape (slow, fast)."""
    width = shape[1] + 2 * _WIDE_HALF
    return TileMemory(
        signal=np.zeros(shape, np.bool_),
        nothing=np.zeros((1, shape[1]), np.bool_),
        tiles=np.empty((shape[0] * shape[1] // 64 + shape[1], 4), np.int64),
        windows=np.empty((_ROWS, width), np.bool_),
        sums=np.empty((3, width)),
        boxes=np.empty((3, width)),
    )


@njit(cache=True, nogil=True)
def test_windows(
    pixels: Pixels,
    usable: Mask,
    limits: Pixels,
    threshold: Threshold,
    memory: TileMemory,
    tile: tuple[int, int, int, int],
) -> None:
    """Set `memory.windows` for the pixels of a tile.

    Args:
        pixels: counts (slow, fast), unsigned.
        usable: mask (slow, fast).
        limits: lowest usable count, and the highest above that; of the pixels' type.
        threshold: the parameters.
        memory: where the result goes, from [0, 0] on.
        tile: first and last row (included), first and end column (excluded), all
            within the image.
    """
    first, last, left, right = tile
    sums, excluded, boxes = memory.sums, memory.nothing, memory.boxes
    _start(pixels, usable, excluded, limits, first, HALF, left, right, sums)
    for j in range(first, last + 1):
        _slide(pixels, usable, excluded, limits, j, first, HALF, left, right, sums)
        _sum_columns(sums, right - left, boxes)
        window = memory.windows[j - first, : right - left]
        _test_boxes(boxes, threshold, window)
        _overrule_unusable(
            pixels[j, left:right],
            usable[j, left:right],
            limits,
            not threshold.masked_pixels_block_erosion,
            window,
        )


@njit(cache=True, nogil=True)
def _sum_columns(sums: Doubles, n: int, boxes: Doubles) -> None:
    """Add 7 neighbours of each row of `sums` into the first `n` places of `boxes`."""
    for k in range(3):
        s0, s1, s2, s3 = sums[k], sums[k, 1:], sums[k, 2:], sums[k, 3:]
        s4, s5, s6 = sums[k, 4:], sums[k, 5:], sums[k, 6:]
        box = boxes[k]
        for i in range(n):
            box[i] = s0[i] + s1[i] + s2[i] + s3[i] + s4[i] + s5[i] + s6[i]


@njit(cache=True, nogil=True)
def _test_boxes(boxes: Doubles, threshold: Threshold, window: Mask) -> None:
    """Set `window` where count, sum and sum of squares are signal, as DIALS does."""
    counts, totals, squares = boxes[0], boxes[1], boxes[2]
    sigma, min_count = threshold.sigma_background, threshold.min_count
    for i in range(window.size):
        m, x, y = counts[i], totals[i], squares[i]
        excess = m * y - x * x - x * (m - 1)
        limit = x * sigma * sqrt(2 * (m - 1))
        window[i] = (m >= min_count) & (excess > limit)


@njit(cache=True, nogil=True)
def _overrule_unusable(
    row: Pixels, usable: Mask, limits: Pixels, value: bool, window: Mask
) -> None:
    """Set `window` to `value` where pixels are not usable."""
    lowest, span = limits[0], limits[1]
    for i in range(row.size):
        is_usable = usable[i] & (row.dtype.type(row[i] - lowest) <= span)
        window[i] = window[i] if is_usable else value


@njit(cache=True, nogil=True)
def shrink(row: Mask) -> None:
    """Keep pixels whose neighbours within REACH in the row are True too, in place."""
    n, run = row.size, REACH
    for i in range(n + REACH):
        run = run + 1 if i >= n or row[i] else 0
        at = i - REACH
        if at >= 0:
            row[at] = run > 2 * REACH


@njit(cache=True, nogil=True)
def mark_signal(
    pixels: Pixels,
    usable: Mask,
    limits: Pixels,
    threshold: Threshold,
    memory: TileMemory,
    tile: tuple[int, int, int, int],
) -> None:
    """Set `memory.signal` in a tile; arguments as for `test_windows`."""
    first, last, left, right = tile
    n_rows, n = pixels.shape
    top, bottom = max(first - REACH, 0), min(last + REACH, n_rows - 1)
    begin, end = max(left - REACH, 0), min(right + REACH, n)
    windows = memory.windows
    test_windows(pixels, usable, limits, threshold, memory, (top, bottom, begin, end))
    for j in range(top, bottom + 1):
        shrink(windows[j - top, : end - begin])
    for j in range(first, last + 1):
        above, below = max(j - REACH, 0) - top, min(j + REACH, bottom) - top
        for i in range(left, right):
            is_usable = pixels.dtype.type(pixels[j, i] - limits[0]) <= limits[1]
            kept = is_usable & usable[j, i]
            for k in range(above, below + 1):
                kept &= windows[k, i - begin]
            memory.signal[j, i] = kept


@njit(cache=True, nogil=True)
def list_strong(
    pixels: Pixels,
    usable: Mask,
    limits: Pixels,
    threshold: Threshold,
    memory: TileMemory,
    tile: tuple[int, int, int, int],
    found: Indices,
) -> int:
    """List the pixels of a tile that are above their background.

    Args:
        pixels: counts (slow, fast), unsigned.
        usable: mask (slow, fast).
        limits: see `test_windows`.
        threshold: the parameters.
        memory: with the signal of all tiles.
        tile: see `test_windows`.
        found: flat indices; must have room for all pixels of the tile.

    Returns:
        How many there are.
    """
    first, last, left, right = tile
    sums, signal, n_found = memory.sums, memory.signal, 0
    half = _WIDE_HALF
    _start(pixels, usable, signal, limits, first, half, left, right, sums)
    for j in range(first, last + 1):
        _slide(pixels, usable, signal, limits, j, first, half, left, right, sums)
        for i in range(left, right):
            value = np.float64(pixels[j, i])
            if signal[j, i] and value > threshold.global_threshold:
                mean = _mean(sums, i - left)
                if value >= mean + threshold.sigma_strong * sqrt(mean):
                    found[n_found] = j * pixels.shape[1] + i
                    n_found += 1
    return n_found


@njit(cache=True, nogil=True)
def _mean(sums: Doubles, i: int) -> float:
    """Return the mean over a window, whose first column is i, or 0 for no pixels."""
    m, x = 0.0, 0.0
    for k in range(i, i + 2 * _WIDE_HALF + 1):
        m += sums[0, k]
        x += sums[1, k]
    return x / m if m >= 2 else 0.0


@njit(cache=True, nogil=True)
def _start(
    pixels: Pixels,
    usable: Mask,
    excluded: Mask,
    limits: Pixels,
    first: int,
    half: int,
    left: int,
    right: int,
    sums: Doubles,
) -> None:
    """Set `sums` to the rows above the window of row `first`, all but its last.

    Columns `left` - `half` to `right` + `half` go to the first places of `sums`; those
    outside of the image are 0.
    """
    sums[:, : right - left + 2 * half] = 0.0
    for j in range(max(first - half, 0), min(first + half, pixels.shape[0])):
        _add(pixels, usable, excluded, limits, j, 1.0, half, left, right, sums)


@njit(cache=True, nogil=True)
def _slide(
    pixels: Pixels,
    usable: Mask,
    excluded: Mask,
    limits: Pixels,
    j: int,
    first: int,
    half: int,
    left: int,
    right: int,
    sums: Doubles,
) -> None:
    """Move `sums` from the window of row j - 1 to that of row j."""
    if j + half < pixels.shape[0]:
        new = j + half
        _add(pixels, usable, excluded, limits, new, 1.0, half, left, right, sums)
    old = j - half - 1
    if old >= max(first - half, 0):
        _add(pixels, usable, excluded, limits, old, -1.0, half, left, right, sums)


@njit(cache=True, nogil=True)
def _add(
    pixels: Pixels,
    usable: Mask,
    excluded: Mask,
    limits: Pixels,
    j: int,
    sign: float,
    half: int,
    left: int,
    right: int,
    sums: Doubles,
) -> None:
    """Add `sign` times the counted pixels of row j to `sums`."""
    begin, end = max(left - half, 0), min(right + half, pixels.shape[1])
    shift = begin - (left - half)
    row, closed = pixels[j, begin:end], excluded[j % excluded.shape[0], begin:end]
    opened = usable[j, begin:end]
    counts, totals, squares = sums[0, shift:], sums[1, shift:], sums[2, shift:]
    for i in range(row.size):
        counted = row.dtype.type(row[i] - limits[0]) <= limits[1]
        counted &= opened[i] & (not closed[i]) & (row[i] < COUNT_LIMIT)
        value = np.float64(row[i]) if counted else 0.0
        counts[i] += sign if counted else 0.0
        totals[i] += sign * value
        squares[i] += sign * value * value
