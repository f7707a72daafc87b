"""dispersion_extended, exactly, within small tiles of an image.

For the window of 7 × 7, without a gain. A tile is some rows of the image by the columns
that passed the screen, or all columns (`dense_rows.py`). Outside of tiles nothing is
signal, so that tiles can be worked on one by one: first all are searched for signal
(a window is signal by the dispersion test; a pixel is kept as signal if the windows of
all pixels within 2 are), then, once the signal of all rows around them is known, that
of each is compared with the mean of what is not signal around it.

Both steps work on a patch (`patch.py`): the tile and the 5 pixels around it.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.dense_rows import (
    DenseRows,
    Signal,
    make_dense_rows,
    mark_signal_in_rows,
    mark_strong_in_rows,
)
from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.inner import inner
from zocelery_tasks.kernels.mask_runs import REACH
from zocelery_tasks.kernels.patch import (
    ONE,
    TILE_COLUMNS,
    Patch,
    Place,
    add_4_rows,
    any_set,
    bounds_of,
    list_span,
    load_counts,
    make_patch,
    sum_7,
    sum_7_rows,
    test_windows,
    to_stride,
)
from zocelery_tasks.kernels.screen import HALF
from zocelery_tasks.kernels.threshold import Threshold

Bytes = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.integer]

MARGIN = HALF + REACH
"""Pixels around a tile: also half the size of the window for the background's mean."""
MOST_ROWS = 48
"""Most rows of a tile."""
_RING = 128
"""Rows of signal that are kept: more than two tiles and the margins around them."""
_PAD = 64
"""Columns to either side of the rows of signal, never signal."""
_u = np.uintp


class TileMemory(NamedTuple):
    """Memory for the tiles of images of one shape."""

    signal: Bytes
    """Signal of the last rows, with margins; then a row without any."""
    row_of_signal: Indices
    """Which detector row each of them is."""
    strong: Bytes
    """Shape (MOST_ROWS, columns): strong pixels of one group of tiles."""
    tiles: Indices
    """Shape (n, 5): first and last row (included), first and end column (excluded),
    1 for all columns of rows, else 0."""
    groups: Indices
    """Shape (n, 4): tiles of the same rows: the first, the end, and these rows."""
    patch: Patch
    dense: DenseRows


def make_tile_memory(threshold: Threshold, shape: tuple[int, int]) -> TileMemory:
    """Make the memory for a threshold and images of a shape (slow, fast)."""
    rows, width = shape
    return TileMemory(
        signal=np.zeros((_RING + 1, width + 2 * _PAD + TILE_COLUMNS), np.uint8),
        row_of_signal=np.full(_RING, -1),
        strong=np.zeros((MOST_ROWS, width), np.uint8),
        tiles=np.empty((rows * (width // 32 + 8), 5), np.int64),
        groups=np.empty((rows, 4), np.int64),
        patch=make_patch(),
        dense=make_dense_rows(threshold, width),
    )


@inner
def mark_signal(
    frame: Frame, threshold: Threshold, memory: TileMemory, begin: int, end: int
) -> None:
    """Set `memory.signal` in tiles; leave no columns to a tile that has none.

    Args:
        frame: the image.
        threshold: the parameters.
        memory: with the signal and the tiles.
        begin: the first tile.
        end: one past the last.
    """
    pixels, runs, bounds = frame.pixels, frame.runs, bounds_of(frame)
    tiles, patch = memory.tiles, memory.patch
    signal = Signal(memory.signal, memory.row_of_signal, _PAD)
    for k in range(begin, end):
        if tiles[k, 4]:
            first, last = tiles[k, 0], tiles[k, 1]
            mark_signal_in_rows(frame, threshold, memory.dense, signal, first, last)
            continue
        rows, columns = tiles[k, 1] - tiles[k, 0] + 1, tiles[k, 3] - tiles[k, 2]
        place, around = _place_of(tiles, k), (0, rows + 2 * MARGIN)
        load_counts(pixels, runs, bounds, place, around, patch.counts)
        _test_windows(pixels.shape, threshold, patch, place, (0, rows + 2 * REACH))
        _and_neighbours(patch, rows, place.stride)
        if not threshold.masked_pixels_block_erosion:
            _clear_unusable(patch, rows, place.stride)
        if _any_left(patch.windows, rows, columns, place.stride):
            _store_signal(memory, k, rows, columns, place.stride)
        else:
            tiles[k, 3] = tiles[k, 2]


@inner
def _place_of(tiles: Indices, k: int) -> Place:
    """Return where the patch of tile k lies."""
    stride = to_stride(tiles[k, 3] - tiles[k, 2] + 2 * MARGIN)
    return Place(tiles[k, 0] - MARGIN, tiles[k, 2] - MARGIN, stride)


@inner
def _test_windows(
    shape: tuple[int, int],
    threshold: Threshold,
    patch: Patch,
    place: Place,
    rows: tuple[int, int],
) -> None:
    """Set `windows` in some rows of a patch, end excluded.

    The window around row k + HALF and column i + HALF of the patch goes to row k and
    column i. What is not in the image counts as signal.
    """
    otherwise = not threshold.masked_pixels_block_erosion
    test_windows(threshold, patch, place.stride, rows, otherwise)
    stride, top, left = place.stride, place.top + HALF, place.left + HALF
    right = shape[1] - left
    if left < 0 or right < stride or top < 0 or top + rows[1] > shape[0]:
        for k in range(rows[0], rows[1]):
            outside = not 0 <= top + k < shape[0]
            for i in range(stride):
                if outside or left + i < 0 or i >= right:
                    patch.windows[k * stride + i] = 1


@inner
def _and_neighbours(patch: Patch, rows: int, stride: int) -> None:
    """Narrow `windows` for a tile to where all within REACH are signal."""
    windows, marks = patch.windows, patch.marks
    for k in range((rows + 2 * REACH) * stride):
        i = _u(k)
        inner = windows[i] & windows[i + _u(1)] & windows[i + _u(2)]
        marks[i] = inner & windows[i + _u(3)] & windows[i + _u(4)]
    r1, r2, r3, r4 = _u(stride), _u(2 * stride), _u(3 * stride), _u(4 * stride)
    for k in range(rows * stride):
        i = _u(k)
        inner = marks[i] & marks[i + r1] & marks[i + r2]
        windows[i] = inner & marks[i + r3] & marks[i + r4]


@inner
def _clear_unusable(patch: Patch, rows: int, stride: int) -> None:
    """Clear the windows of a tile where pixels are not usable."""
    windows, bits = patch.windows, patch.counts.view(np.int64)
    centre = _u(MARGIN * stride + MARGIN)
    for i in range(rows * stride):
        windows[_u(i)] &= np.uint8(bits[_u(i) + centre] != 0)


@inner
def _any_left(windows: Bytes, rows: int, columns: int, stride: int) -> bool:
    """Return whether a window of a tile is signal."""
    result = False
    for k in range(rows):
        result |= any_set(windows, k * stride, columns)
    return result


@inner
def _store_signal(
    memory: TileMemory, tile: int, rows: int, columns: int, stride: int
) -> None:
    """Keep what is left of the windows of a tile, until no row needs it any more."""
    signal, windows = memory.signal, memory.patch.windows
    first, left = memory.tiles[tile, 0], _u(_PAD + memory.tiles[tile, 2])
    for k in range(rows):
        slot = (first + k) % _RING
        if memory.row_of_signal[slot] != first + k:
            memory.row_of_signal[slot] = first + k
            signal[slot] = 0
        for i in range(columns):
            signal[_u(slot), left + _u(i)] = windows[_u(k * stride) + _u(i)]


@inner
def mark_strong(
    frame: Frame, threshold: Threshold, memory: TileMemory, begin: int, end: int
) -> None:
    """Set `memory.strong` in tiles: the signal that is above its background.

    Args:
        frame: the image.
        threshold: the parameters.
        memory: with the signal of these tiles and all around.
        begin: the first tile, after `mark_signal`.
        end: one past the last.
    """
    tiles, patch, bounds = memory.tiles, memory.patch, bounds_of(frame)
    dense, signal = memory.dense, Signal(memory.signal, memory.row_of_signal, _PAD)
    strong = memory.strong
    for k in range(begin, end):
        if tiles[k, 4]:
            first, last = tiles[k, 0], tiles[k, 1]
            mark_strong_in_rows(frame, threshold, dense, signal, first, last, strong)
        elif tiles[k, 2] < tiles[k, 3]:
            place, rows = _place_of(tiles, k), tiles[k, 1] - tiles[k, 0] + 1
            around, stride = (0, rows + 2 * MARGIN), place.stride
            load_counts(frame.pixels, frame.runs, bounds, place, around, patch.counts)
            _remove_signal(memory, place, around[1])
            size = rows * stride
            sum_7_rows(patch.counts, 0, stride, patch.count_sums, size)
            add_4_rows(patch.counts, 7 * stride, stride, patch.count_sums, size)
            _set_limits(threshold, patch, size)
            _compare(frame.pixels, threshold, memory, k, stride)


@inner
def _remove_signal(memory: TileMemory, place: Place, rows: int) -> None:
    """Take what is signal out of the counts of a patch."""
    signal, counts = memory.signal, memory.patch.counts
    for k in range(rows):
        j = place.top + k
        slot = j % _RING
        if memory.row_of_signal[slot] == j:
            left, at = _u(_PAD + place.left), _u(k * place.stride)
            for i in range(place.stride):
                is_signal = signal[_u(slot), left + _u(i)] != 0
                counts[at + _u(i)] = 0.0 if is_signal else counts[at + _u(i)]


@inner
def _set_limits(threshold: Threshold, patch: Patch, size: int) -> None:
    """Set `squares` to what strong pixels must reach, from the sums of counts."""
    sums, limits, sigma = patch.count_sums, patch.squares, threshold.sigma_strong
    for i in range(size):
        at = _u(i)
        total = sum_7(sums, at) + (sums[at + _u(7)] + sums[at + _u(8)])
        total += sums[at + _u(9)] + sums[at + _u(10)]
        m = np.floor(total * (1 / ONE))
        mean = (total - m * ONE) / max(m, 1.0) if m >= 2 else 0.0
        limits[at] = mean + sigma * sqrt(mean)


@inner
def _compare(
    pixels: Pixels, threshold: Threshold, memory: TileMemory, tile: int, stride: int
) -> None:
    """Set `memory.strong` for a tile from the limits."""
    signal, strong, limits = memory.signal, memory.strong, memory.patch.squares
    first, left = memory.tiles[tile, 0], _u(memory.tiles[tile, 2])
    lowest = threshold.global_threshold
    for k in range(memory.tiles[tile, 1] - first + 1):
        j, slot = _u(first + k), _u((first + k) % _RING)
        for i in range(memory.tiles[tile, 3] - memory.tiles[tile, 2]):
            at = left + _u(i)
            value = np.float64(pixels[j, at])
            is_strong = (value > lowest) & (value >= limits[_u(k * stride) + _u(i)])
            strong[_u(k), at] = signal[slot, at + _u(_PAD)] & np.uint8(is_strong)


@inner
def list_strong(
    memory: TileMemory, begin: int, end: int, found: Indices, n_found: int
) -> int:
    """Append the strong pixels of a group of tiles to `found`, in raster order.

    Args:
        memory: with the strong pixels.
        begin: the group's first tile.
        end: one past its last.
        found: flat indices; with room for all there are, and one more.
        n_found: how many there are already.

    Returns:
        How many there are now.
    """
    strong, tiles, n = memory.strong, memory.tiles, memory.strong.shape[1]
    first, last = tiles[begin, 0], tiles[begin, 1]
    for j in range(first, last + 1):
        for k in range(begin, end):
            span = tiles[k, 2], tiles[k, 3]
            n_found = list_span(strong, j - first, span, j * n, found, n_found)
    return n_found
