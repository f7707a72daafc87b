"""dispersion_extended, exactly, within small tiles of an image.

For the window of 7 × 7, without a gain. A tile is the rows of one band of the mask
(`mask_runs.py`) by the columns that passed the screen. Outside of tiles nothing is
signal, so that tiles can be worked on one by one: first all of them are searched for
signal (a window is signal by the dispersion test; a pixel is kept as signal if the
windows of all pixels within 2 are), then the signal of each is compared with the mean
of what is not signal around it.

Both steps work on a patch: the tile and the 5 pixels around it, as double-precision
numbers. Those for counts hold the number of pixels as well, so that one sum serves:
2**33 + count for a pixel that is counted, 0 for one that is not. Sums of 121 such
numbers are exact, and so are sums of squares as long as DIALS's own are.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.mask_runs import REACH
from zocelery_tasks.kernels.screen import HALF
from zocelery_tasks.kernels.threshold import COUNT_LIMIT, Threshold

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.integer]

MARGIN = HALF + REACH
"""Pixels around a tile: also half the size of the window for the background's mean."""
_ROWS = 2 * REACH + 1 + 2 * MARGIN
"""Most rows of a patch."""
_ONE = 2.0**33


class TileMemory(NamedTuple):
    """Memory for the tiles of images of one shape."""

    signal: Mask
    """Signal found so far (slow, fast): all False between images."""
    tiles: Indices
    """Shape (n, 5): first and last row (included), first and end column (excluded),
    lattice row."""
    usable: Mask
    """Which pixels of a patch are usable."""
    patch: Doubles
    """Shape (2, rows, columns): counts, see above, and their squares."""
    sums: Doubles
    """Shape (2, columns): sums of both over the rows of a window."""
    windows: Mask
    """Which windows are signal."""


def make_tile_memory(shape: tuple[int, int]) -> TileMemory:
    """Make the memory for images of a shape (slow, fast)."""
    width = shape[1] + 2 * MARGIN
    return TileMemory(
        signal=np.zeros(shape, np.bool_),
        tiles=np.empty((shape[0] * shape[1] // 64 + shape[1], 5), np.int64),
        usable=np.empty((_ROWS, width), np.bool_),
        patch=np.empty((2, _ROWS, width)),
        sums=np.empty((2, width)),
        windows=np.empty((_ROWS, width), np.bool_),
    )


@njit(cache=True, nogil=True)
def mark_signal(
    frame: Frame, threshold: Threshold, memory: TileMemory, tile: Indices
) -> None:
    """Set `memory.signal` in a tile, and narrow the tile to columns that may have any.

    Args:
        frame: the image.
        threshold: the parameters.
        memory: with the signal.
        tile: one row of `TileMemory.tiles`.
    """
    first, last, left, right, lattice = tile
    columns = right - left + 2 * REACH
    _load_patch(frame, memory, tile)
    _test_windows(threshold, memory, tile, lattice, lattice)
    row = memory.windows[lattice - first + REACH, :columns]
    _and_neighbours(row)
    begin = 0
    while begin < right - left and not row[begin]:
        begin += 1
    if begin == right - left:
        tile[2] = right
        return
    _test_windows(threshold, memory, tile, first - REACH, last + REACH)
    for k in range(last - first + 1 + 2 * REACH):
        _and_neighbours(memory.windows[k, :columns])
    for j in range(first, last + 1):
        windows = memory.windows[j - first :]
        kept = memory.signal[j, left:right]
        kept[:] = memory.usable[j - first + MARGIN, MARGIN:][: right - left]
        for k in range(2 * REACH + 1):
            window = windows[k]
            for i in range(kept.size):
                kept[i] &= window[i]
    tile[2] = left + begin


@njit(cache=True, nogil=True)
def list_strong(
    frame: Frame,
    threshold: Threshold,
    memory: TileMemory,
    tile: Indices,
    found: Indices,
) -> int:
    """List the pixels of a tile that are above their background.

    Args:
        frame: the image.
        threshold: the parameters.
        memory: with the signal of this tile and all around.
        tile: one row of `TileMemory.tiles`, after `mark_signal`.
        found: flat indices; must have room for all pixels of the tile.

    Returns:
        How many there are.
    """
    first, last, left, right, _ = tile
    columns, half, pixels = right - left, MARGIN, frame.pixels
    if columns == 0:
        return 0
    _load_patch(frame, memory, tile)
    n_found = 0
    for k in range(last - first + 1 + 2 * half):
        _leave_out_signal(memory, first + k - half, k, left - half, columns + 2 * half)
    _start_sums(memory, 0, 2 * half + 1, columns + 2 * half)
    for j in range(first, last + 1):
        if j > first:
            _slide_sums(memory, j - first - 1, 2 * half + 1, columns + 2 * half)
        for i in range(left, right):
            value = np.float64(pixels[j, i])
            if memory.signal[j, i] and value > threshold.global_threshold:
                mean = _mean(memory.sums[0], i - left)
                if value >= mean + threshold.sigma_strong * sqrt(mean):
                    found[n_found] = j * pixels.shape[1] + i
                    n_found += 1
    return n_found


@njit(cache=True, nogil=True)
def _mean(sums: Doubles, first: int) -> float:
    """Return the mean over a window, whose first column this is, or 0 for no pixels."""
    total = 0.0
    for k in range(2 * MARGIN + 1):
        total += sums[first + k]
    count = np.floor(total / _ONE)
    return (total - count * _ONE) / count if count >= 2 else 0.0


@njit(cache=True, nogil=True)
def _load_patch(frame: Frame, memory: TileMemory, tile: Indices) -> None:
    """Set `memory.patch` and `memory.usable` for a tile and its surroundings."""
    pixels, usable, limits = frame.pixels, frame.usable, frame.limits
    n_rows, n = pixels.shape
    first, last, left, right, _ = tile
    begin, end = max(left - MARGIN, 0), min(right + MARGIN, n)
    skipped = begin - (left - MARGIN)
    columns = right - left + 2 * MARGIN
    for k in range(last - first + 1 + 2 * MARGIN):
        j = first - MARGIN + k
        is_open, counts = memory.usable[k, :columns], memory.patch[0, k, :columns]
        squares = memory.patch[1, k, :columns]
        if not 0 <= j < n_rows or end - begin < columns:
            is_open[:] = False
            counts[:] = 0.0
            squares[:] = 0.0
        if 0 <= j < n_rows:
            row, row_usable = pixels[j, begin:end], usable[j, begin:end]
            _load_usable(row, row_usable, limits, is_open[skipped:])
            _load_counts(row, is_open[skipped:], counts[skipped:], squares[skipped:])


@njit(cache=True, nogil=True)
def _load_usable(row: Pixels, usable: Mask, limits: Pixels, is_open: Mask) -> None:
    """Set which pixels of a row can be used."""
    lowest, span = limits[0], limits[1]
    for i in range(row.size):
        is_open[i] = usable[i] & (row.dtype.type(row[i] - lowest) <= span)


@njit(cache=True, nogil=True)
def _load_counts(row: Pixels, is_open: Mask, counts: Doubles, squares: Doubles) -> None:
    """Set one row of a patch."""
    for i in range(row.size):
        value = np.float64(row[i])
        is_counted = is_open[i] & (row[i] < COUNT_LIMIT)
        counts[i] = value + _ONE if is_counted else 0.0
        squares[i] = value * value if is_counted else 0.0


@njit(cache=True, nogil=True)
def _leave_out_signal(
    memory: TileMemory, j: int, k: int, begin: int, columns: int
) -> None:
    """Take what is signal in detector row j out of row k of the patch."""
    n_rows, n = memory.signal.shape
    if 0 <= j < n_rows:
        skipped = max(-begin, 0)
        row = memory.signal[j, begin + skipped : min(begin + columns, n)]
        counts = memory.patch[0, k, skipped:]
        for i in range(row.size):
            counts[i] = 0.0 if row[i] else counts[i]


@njit(cache=True, nogil=True)
def _start_sums(memory: TileMemory, k: int, n_rows: int, columns: int) -> None:
    """Set the sums over `n_rows` rows of the patch from row k on."""
    for part in range(2):
        sums, rows = memory.sums[part, :columns], memory.patch[part]
        sums[:] = 0.0
        for row in range(k, k + n_rows):
            new = rows[row]
            for i in range(columns):
                sums[i] += new[i]


@njit(cache=True, nogil=True)
def _slide_sums(memory: TileMemory, k: int, n_rows: int, columns: int) -> None:
    """Move the sums over `n_rows` rows of the patch from row k to row k + 1 on."""
    for part in range(2):
        sums = memory.sums[part, :columns]
        old, new = memory.patch[part, k], memory.patch[part, k + n_rows]
        for i in range(columns):
            sums[i] += new[i] - old[i]


@njit(cache=True, nogil=True)
def _test_windows(
    threshold: Threshold,
    memory: TileMemory,
    tile: Indices,
    top: int,
    bottom: int,
) -> None:
    """Set `memory.windows` for detector rows `top` to `bottom` (included).

    Its first row is the one REACH above the tile, its first column the one REACH to the
    left. What is not in the image counts as signal.
    """
    n_rows, n = memory.signal.shape
    first, left, right = tile[0], tile[2], tile[3]
    columns = right - left + 2 * REACH
    first_row = first - MARGIN
    for j in range(top, bottom + 1):
        patch_row = j - HALF - first_row
        if j == top:
            _start_sums(memory, patch_row, 2 * HALF + 1, columns + 2 * HALF)
        else:
            _slide_sums(memory, patch_row - 1, 2 * HALF + 1, columns + 2 * HALF)
        windows = memory.windows[j - first + REACH, :columns]
        if not 0 <= j < n_rows:
            windows[:] = True
            continue
        _test_sums(memory.sums, threshold, windows)
        is_open = memory.usable[j - first_row, HALF:]
        if threshold.masked_pixels_block_erosion:
            for i in range(columns):
                windows[i] &= is_open[i]
        else:
            for i in range(columns):
                windows[i] |= not is_open[i]
        windows[: max(REACH - left, 0)] = True
        windows[min(n - left + REACH, columns) :] = True


@njit(cache=True, nogil=True)
def _test_sums(sums: Doubles, threshold: Threshold, windows: Mask) -> None:
    """Set which windows are signal, as DIALS tests them."""
    s, y = sums[0], sums[1]
    s1, s2, s3, s4, s5, s6 = s[1:], s[2:], s[3:], s[4:], s[5:], s[6:]
    y1, y2, y3, y4, y5, y6 = y[1:], y[2:], y[3:], y[4:], y[5:], y[6:]
    sigma, min_count = threshold.sigma_background, np.float64(threshold.min_count)
    for i in range(windows.size):
        both = s[i] + s1[i] + s2[i] + s3[i] + s4[i] + s5[i] + s6[i]
        squares = y[i] + y1[i] + y2[i] + y3[i] + y4[i] + y5[i] + y6[i]
        m = np.floor(both * (1 / _ONE))
        x = both - m * _ONE
        excess = m * squares - x * x - x * (m - 1)
        limit = x * sigma * sqrt(2 * (m - 1))
        windows[i] = (m >= min_count) & (excess > limit)


@njit(cache=True, nogil=True)
def _and_neighbours(row: Mask) -> None:
    """Set each pixel to whether it and the 2 * REACH after it are True."""
    r1, r2, r3, r4 = row[1:], row[2:], row[3:], row[4:]
    for i in range(row.size - 2 * REACH):
        row[i] = row[i] & r1[i] & r2[i] & r3[i] & r4[i]
