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
_u = np.uintp
"""Indices without a sign: numba need not look whether they count from the end."""


class TileMemory(NamedTuple):
    """Memory for the tiles of images of one shape."""

    signal: Mask
    """Signal found so far (slow, fast): all False between images."""
    tiles: Indices
    """Shape (n, 5): first and last row (included), first and end column (excluded),
    lattice row."""
    usable: Mask
    """Which pixels of a patch are usable."""
    counts: Doubles
    """Counts of a patch, see above."""
    squares: Doubles
    """Their squares."""
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
        counts=np.empty((_ROWS, width)),
        squares=np.empty((_ROWS, width)),
        sums=np.empty((2, width)),
        windows=np.empty((_ROWS, width), np.bool_),
    )


@njit(cache=True, nogil=True)
def mark_signal(
    frame: Frame, threshold: Threshold, memory: TileMemory, tile: Indices
) -> None:
    """Set `memory.signal` in a tile; leave no columns to the tile if there is none.

    Args:
        frame: the image.
        threshold: the parameters.
        memory: with the signal.
        tile: one row of `TileMemory.tiles`.
    """
    first, last, left, right, lattice = tile
    columns = right - left + 2 * REACH
    windows, signal = memory.windows, memory.signal
    _load_patch(frame, memory, tile)
    _test_windows(threshold, memory, tile, lattice, lattice)
    any_kept = _and_neighbours(windows, _u(lattice - first + REACH), columns)
    if any_kept:
        any_kept = False
        _test_windows(threshold, memory, tile, first - REACH, last + REACH)
        for k in range(last - first + 1 + 2 * REACH):
            _and_neighbours(windows, _u(k), columns)
        for j in range(first, last + 1):
            row, at = _u(j), _u(left)
            any_kept |= _and_rows(memory, _u(j - first), right - left, signal, row, at)
    if not any_kept:
        tile[3] = left


@njit(cache=True, nogil=True)
def _and_neighbours(windows: Mask, k: np.uintp, columns: int) -> bool:
    """Set each window of a row to whether it and the 2 * REACH after it are signal.

    Returns:
        Whether any is.
    """
    result = False
    for i in range(columns - 2 * REACH):
        at = _u(i)
        kept = windows[k, at] & windows[k, at + _u(1)] & windows[k, at + _u(2)]
        kept &= windows[k, at + _u(3)] & windows[k, at + _u(4)]
        windows[k, at] = kept
        result |= kept
    return result


@njit(cache=True, nogil=True)
def _and_rows(
    memory: TileMemory,
    k: np.uintp,
    columns: int,
    signal: Mask,
    row: np.uintp,
    first: np.uintp,
) -> bool:
    """Set signal to usable pixels where 5 rows of windows from row k on are signal.

    Returns:
        Whether any is.
    """
    windows, usable, result = memory.windows, memory.usable, False
    for i in range(columns):
        at = _u(i)
        kept = windows[k, at] & windows[k + _u(1), at] & windows[k + _u(2), at]
        kept &= windows[k + _u(3), at] & windows[k + _u(4), at]
        kept &= usable[k + _u(MARGIN), at + _u(MARGIN)]
        signal[row, first + at] = kept
        result |= kept
    return result


@njit(cache=True, nogil=True)
def list_strong(
    frame: Frame,
    threshold: Threshold,
    memory: TileMemory,
    tile: Indices,
    found: Indices,
    n_found: int,
) -> int:
    """Append the pixels of a tile that are above their background to `found`.

    Args:
        frame: the image.
        threshold: the parameters.
        memory: with the signal of this tile and all around.
        tile: one row of `TileMemory.tiles`, after `mark_signal`.
        found: flat indices; must have room for all pixels of the tile.
        n_found: how many there are already.

    Returns:
        How many there are now.
    """
    first, last, left, right, _ = tile
    width, height = right - left + 2 * MARGIN, 2 * MARGIN + 1
    pixels, signal, sums = frame.pixels, memory.signal, memory.sums
    if left == right:
        return n_found
    _load_background(frame, memory, tile)
    _start_sums(memory.counts, _u(0), height, width, sums, _u(0))
    for j in range(first, last + 1):
        if j > first:
            above = _u(j - first - 1)
            _slide_sums(memory.counts, above, height, width, sums, _u(0))
        for i in range(left, right):
            value = np.float64(pixels[_u(j), _u(i)])
            if signal[_u(j), _u(i)] and value > threshold.global_threshold:
                mean = _mean(sums, i - left)
                if value >= mean + threshold.sigma_strong * sqrt(mean):
                    found[n_found] = j * pixels.shape[1] + i
                    n_found += 1
    return n_found


@njit(cache=True, nogil=True)
def _mean(sums: Doubles, first: int) -> float:
    """Return the mean over a window, whose first column this is, or 0 for no pixels."""
    total = 0.0
    for k in range(2 * MARGIN + 1):
        total += sums[_u(0), _u(first) + _u(k)]
    count = np.floor(total * (1 / _ONE))
    return (total - count * _ONE) / count if count >= 2 else 0.0


@njit(cache=True, nogil=True)
def _load_patch(frame: Frame, memory: TileMemory, tile: Indices) -> None:
    """Set usable pixels, counts and squares for a tile and its surroundings."""
    n_rows, n = frame.pixels.shape
    first, last, left, right, _ = tile
    begin, end = max(left - MARGIN, 0), min(right + MARGIN, n)
    width = right - left + 2 * MARGIN
    is_whole = end - begin == width
    for k in range(last - first + 1 + 2 * MARGIN):
        j = first - MARGIN + k
        if not (is_whole and 0 <= j < n_rows):
            memory.usable[k, :width] = False
            memory.counts[k, :width] = 0.0
            memory.squares[k, :width] = 0.0
        if 0 <= j < n_rows:
            to = _u(begin - (left - MARGIN))
            _load_usable(frame, _u(j), _u(begin), end - begin, memory.usable, _u(k), to)
            _load_counts(frame, _u(j), _u(begin), end - begin, memory, _u(k), to)


@njit(cache=True, nogil=True)
def _load_usable(
    frame: Frame,
    j: np.uintp,
    begin: np.uintp,
    columns: int,
    is_open: Mask,
    k: np.uintp,
    to: np.uintp,
) -> None:
    """Set which pixels can be used in row k of a patch, from detector row j."""
    pixels, usable = frame.pixels, frame.usable
    lowest, span = frame.limits[0], frame.limits[1]
    for i in range(columns):
        at, value = begin + _u(i), pixels[j, begin + _u(i)]
        in_range = pixels.dtype.type(value - lowest) <= span
        is_open[k, to + _u(i)] = usable[j, at] & in_range


@njit(cache=True, nogil=True)
def _load_counts(
    frame: Frame,
    j: np.uintp,
    begin: np.uintp,
    columns: int,
    memory: TileMemory,
    k: np.uintp,
    to: np.uintp,
) -> None:
    """Set counts and squares in row k of a patch, from detector row j."""
    pixels, is_open = frame.pixels, memory.usable
    counts, squares = memory.counts, memory.squares
    for i in range(columns):
        count, at = pixels[j, begin + _u(i)], to + _u(i)
        value = np.float64(count)
        is_counted = is_open[k, at] & (count < COUNT_LIMIT)
        counts[k, at] = value + _ONE if is_counted else 0.0
        squares[k, at] = value * value if is_counted else 0.0


@njit(cache=True, nogil=True)
def _load_background(frame: Frame, memory: TileMemory, tile: Indices) -> None:
    """Set the counts of what is not signal, for a tile and its surroundings."""
    n_rows, n = frame.pixels.shape
    first, last, left, right, _ = tile
    begin, end = max(left - MARGIN, 0), min(right + MARGIN, n)
    width = right - left + 2 * MARGIN
    is_whole = end - begin == width
    for k in range(last - first + 1 + 2 * MARGIN):
        j = first - MARGIN + k
        if not (is_whole and 0 <= j < n_rows):
            memory.counts[k, :width] = 0.0
        if 0 <= j < n_rows:
            to, n_columns = _u(begin - (left - MARGIN)), end - begin
            _load_not_signal(frame, _u(j), _u(begin), n_columns, memory, _u(k), to)


@njit(cache=True, nogil=True)
def _load_not_signal(
    frame: Frame,
    j: np.uintp,
    begin: np.uintp,
    columns: int,
    memory: TileMemory,
    k: np.uintp,
    to: np.uintp,
) -> None:
    """Set counts in row k of a patch, from detector row j without signal."""
    pixels, usable = frame.pixels, frame.usable
    counts, signal = memory.counts, memory.signal
    lowest, span = frame.limits[0], frame.limits[1]
    for i in range(columns):
        at, value = begin + _u(i), pixels[j, begin + _u(i)]
        in_range = pixels.dtype.type(value - lowest) <= span
        is_counted = in_range & usable[j, at] & (value < COUNT_LIMIT)
        is_counted &= not signal[j, at]
        counts[k, to + _u(i)] = np.float64(value) + _ONE if is_counted else 0.0


@njit(cache=True, nogil=True)
def _start_sums(
    values: Doubles,
    first: np.uintp,
    n_rows: int,
    columns: int,
    sums: Doubles,
    part: np.uintp,
) -> None:
    """Set the sums over `n_rows` rows of `values` from row `first` on."""
    for i in range(columns):
        sums[part, _u(i)] = values[first, _u(i)]
    for k in range(1, n_rows):
        row = first + _u(k)
        for i in range(columns):
            sums[part, _u(i)] += values[row, _u(i)]


@njit(cache=True, nogil=True)
def _slide_sums(
    values: Doubles,
    first: np.uintp,
    n_rows: int,
    columns: int,
    sums: Doubles,
    part: np.uintp,
) -> None:
    """Move the sums over `n_rows` rows from row `first` one row on."""
    new = first + _u(n_rows)
    for i in range(columns):
        sums[part, _u(i)] += values[new, _u(i)] - values[first, _u(i)]


@njit(cache=True, nogil=True)
def _test_windows(
    threshold: Threshold, memory: TileMemory, tile: Indices, top: int, bottom: int
) -> None:
    """Set `memory.windows` for detector rows `top` to `bottom` (included).

    Its first row is the one REACH above the tile, its first column the one REACH to the
    left. What is not in the image counts as signal.
    """
    n_rows, n = memory.signal.shape
    first, left, right = tile[0], tile[2], tile[3]
    columns, height = right - left + 2 * REACH, 2 * HALF + 1
    width, sums, windows = columns + 2 * HALF, memory.sums, memory.windows
    for j in range(top, bottom + 1):
        patch_row, k = j - HALF - (first - MARGIN), _u(j - first + REACH)
        if j == top:
            _start_sums(memory.counts, _u(patch_row), height, width, sums, _u(0))
            _start_sums(memory.squares, _u(patch_row), height, width, sums, _u(1))
        else:
            above = _u(patch_row - 1)
            _slide_sums(memory.counts, above, height, width, sums, _u(0))
            _slide_sums(memory.squares, above, height, width, sums, _u(1))
        _test_sums(sums, threshold, windows, k, columns)
        closed = not threshold.masked_pixels_block_erosion
        _overrule_unusable(memory.usable, closed, windows, k, columns)
        for i in range(columns):
            column = left - REACH + i
            if not (0 <= j < n_rows and 0 <= column < n):
                windows[k, _u(i)] = True


@njit(cache=True, nogil=True)
def _overrule_unusable(
    usable: Mask, value: bool, windows: Mask, k: np.uintp, columns: int
) -> None:
    """Set a row of windows to `value` where their pixels are not usable."""
    for i in range(columns):
        is_open = usable[k + _u(HALF), _u(i) + _u(HALF)]
        windows[k, _u(i)] = windows[k, _u(i)] if is_open else value


@njit(cache=True, nogil=True)
def _test_sums(
    sums: Doubles, threshold: Threshold, windows: Mask, k: np.uintp, columns: int
) -> None:
    """Set which windows of a row are signal, as DIALS tests them."""
    sigma, min_count = threshold.sigma_background, np.float64(threshold.min_count)
    for i in range(columns):
        both, squares = _sum_7(sums, _u(0), _u(i)), _sum_7(sums, _u(1), _u(i))
        m = np.floor(both * (1 / _ONE))
        x = both - m * _ONE
        excess = m * squares - x * x - x * (m - 1)
        limit = x * sigma * sqrt(2 * (m - 1))
        windows[k, _u(i)] = (m >= min_count) & (excess > limit)


@njit(cache=True, nogil=True)
def _sum_7(sums: Doubles, part: np.uintp, at: np.uintp) -> float:
    """Return the sum of 7 neighbouring sums."""
    left = sums[part, at] + sums[part, at + _u(1)] + sums[part, at + _u(2)]
    right = sums[part, at + _u(4)] + sums[part, at + _u(5)] + sums[part, at + _u(6)]
    return float(left + sums[part, at + _u(3)] + right)
