"""Exact sums over windows within a small part of an image.

A patch is that part and its surroundings, as double-precision numbers. Its rows lie one
after the other, a multiple of 16 pixels apart, so that whatever is done to all pixels
is one long loop: compilers turn it into vector instructions, whatever the patch's
shape. What then comes out at the ends of rows, where windows reach into the next row,
means nothing.

Numbers for counts hold the number of pixels as well, so that one sum serves: 2**33 +
count for a pixel that is counted, 0 for one that is not. Sums of 121 such numbers are
exact, and so are sums of squares as long as DIALS's own are.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.inner import inner
from zocelery_tasks.kernels.mask_runs import REACH, MaskRuns
from zocelery_tasks.kernels.screen import HALF, WINDOW
from zocelery_tasks.kernels.threshold import COUNT_LIMIT, Threshold

Bytes = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.integer]

TILE_ROWS = 2 * REACH + 1
"""Most rows of a part, without its surroundings."""
TILE_COLUMNS = 150
"""Most columns."""
ONE = 2.0**33
"""What stands for a pixel in the sums of counts."""
MOST_AROUND = 5
"""Most pixels around a part that are taken in, on each side."""
_LANES = 16
_MANY_RUNS = 16
_LONG = 64
"""Rows of so many pixels are worth a loop each."""
_u = np.uintp
"""Indices without a sign: numba need not look whether they count from the end."""


class Patch(NamedTuple):
    """Memory for one patch after the other, all flat."""

    counts: Doubles
    """Counts, see above; -0.0 for a usable pixel that is not counted."""
    squares: Doubles
    """Their squares."""
    count_sums: Doubles
    """Sums of counts over the rows of a window."""
    square_sums: Doubles
    """The same of squares."""
    windows: Bytes
    """Which windows are signal."""
    marks: Bytes
    """Which pixels a caller marked."""
    missing: Indices
    """How many pixels of each row are not counted."""


class Bounds(NamedTuple):
    """Which counts are usable, all ends included."""

    lowest: float
    counted: float
    """Highest that is counted."""
    highest: float


class Place(NamedTuple):
    """Where a patch lies."""

    top: int
    """Detector row of its first row; negative for one above the image."""
    left: int
    """Detector column of its first pixel; negative for one left of the image."""
    stride: int
    """Pixels from row to row."""


def make_patch() -> Patch:
    """Make memory for a part and its surroundings."""
    rows = TILE_ROWS + 2 * MOST_AROUND
    size = rows * (TILE_COLUMNS + 2 * _LANES) + 4 * _LANES
    return Patch(
        counts=np.zeros(size),
        squares=np.zeros(size),
        count_sums=np.zeros(size),
        square_sums=np.zeros(size),
        windows=np.zeros(size, np.uint8),
        marks=np.zeros(size, np.uint8),
        missing=np.zeros(rows, np.int64),
    )


@inner
def bounds_of(frame: Frame) -> Bounds:
    """Return which counts of an image are usable."""
    lowest = np.float64(frame.limits[0])
    highest = lowest + np.float64(frame.limits[1])
    return Bounds(lowest, min(highest, COUNT_LIMIT - 1.0), highest)


@inner
def to_stride(columns: int) -> int:
    """Return how far apart rows of so many pixels are."""
    return (columns + _LANES - 1) // _LANES * _LANES


@inner
def load_counts(
    pixels: Pixels,
    runs: MaskRuns,
    bounds: Bounds,
    place: Place,
    rows: tuple[int, int],
    counts: Doubles,
) -> None:
    """Set the counts of a patch.

    Args:
        pixels: the image.
        runs: its masked pixels.
        bounds: which counts are usable.
        place: where the patch lies.
        rows: which rows of it, end excluded.
        counts: of the patch.
    """
    n_rows, n = pixels.shape
    top, left, stride = place
    lowest, counted, highest = bounds
    begin, end = max(left, 0), min(left + stride, n)
    first, last = max(rows[0], -top), min(rows[1], n_rows - top)
    if end - begin < stride or last - first < rows[1] - rows[0]:
        counts[rows[0] * stride : rows[1] * stride] = 0.0
    for k in range(first, last):
        j, to = _u(top + k), _u(k * stride + begin - left)
        for i in range(end - begin):
            value = np.float64(pixels[j, _u(begin) + _u(i)])
            other = -0.0 if (value >= lowest) & (value <= highest) else 0.0
            is_counted = (value >= lowest) & (value <= counted)
            counts[to + _u(i)] = value + ONE if is_counted else other
        _hide_masked(runs, top + k, begin, end, k * stride - left, counts)


@inner
def _hide_masked(
    runs: MaskRuns, j: int, begin: int, end: int, offset: int, counts: Doubles
) -> None:
    """Take the masked pixels of detector row j from column `begin` to `end` out.

    Column i is at `offset` + i.
    """
    run, last = runs.of_row[j], runs.of_row[j + 1]
    if last - run > _MANY_RUNS:
        run += np.searchsorted(runs.stop[run:last], begin, side="right")
    while run < last and runs.start[run] < end:
        for i in range(max(runs.start[run], begin), min(runs.stop[run], end)):
            counts[_u(offset + i)] = 0.0
        run += 1


@inner
def sum_7_rows(values: Doubles, begin: int, stride: int, sums: Doubles, n: int) -> None:
    """Set n `sums` to those over 7 rows, the first starting at `begin`.

    Args:
        values: what is added up.
        begin: the first of them.
        stride: how far rows are apart.
        sums: what is set.
        n: how many; whole rows.
    """
    if stride < _LONG:
        _sum_7_at_once(values, begin, stride, sums, n)
        return
    _sum_7_at_once(values, begin, stride, sums, stride)
    for at in range(stride, n, stride):
        before, now = sums[at - stride : at], sums[at : at + stride]
        top = begin + at - stride
        out, new = values[top : top + stride], values[top + 7 * stride :]
        for i in range(stride):
            now[i] = before[i] + (new[i] - out[i])


@inner
def _sum_7_at_once(
    values: Doubles, begin: int, stride: int, sums: Doubles, n: int
) -> None:
    """Set n sums in one loop."""
    r0, r1, r2, r3 = (
        _u(begin),
        _u(begin + stride),
        _u(begin + 2 * stride),
        _u(begin + 3 * stride),
    )
    r4, r5, r6 = (
        _u(begin + 4 * stride),
        _u(begin + 5 * stride),
        _u(begin + 6 * stride),
    )
    for k in range(n):
        i = _u(k)
        top = (values[r0 + i] + values[r1 + i]) + (values[r2 + i] + values[r3 + i])
        sums[i] = top + (values[r4 + i] + values[r5 + i]) + values[r6 + i]


@inner
def add_4_rows(values: Doubles, begin: int, stride: int, sums: Doubles, n: int) -> None:
    """Add the sums over 4 rows, the first starting at `begin`, to n `sums`."""
    r0, r1 = _u(begin), _u(begin + stride)
    r2, r3 = _u(begin + 2 * stride), _u(begin + 3 * stride)
    for k in range(n):
        i = _u(k)
        more = (values[r0 + i] + values[r1 + i]) + (values[r2 + i] + values[r3 + i])
        sums[i] += more


@inner
def sum_7(sums: Doubles, at: np.uintp) -> float:
    """Return the sum of 7 neighbouring sums."""
    left = (sums[at] + sums[at + _u(1)]) + (sums[at + _u(2)] + sums[at + _u(3)])
    return float(left + (sums[at + _u(4)] + sums[at + _u(5)]) + sums[at + _u(6)])


@inner
def test_windows(
    threshold: Threshold,
    patch: Patch,
    stride: int,
    rows: tuple[int, int],
    otherwise: bool,
) -> None:
    """Set `windows` where windows are signal, from the counts.

    The window around row k + HALF and column i + HALF of the patch goes to row k and
    column i. Sets squares and sums of counts and squares over 7 rows, too; those of
    the first row come first.

    Args:
        threshold: the parameters.
        patch: with the counts.
        stride: pixels from row to row.
        rows: first and end of the rows of windows.
        otherwise: what windows around unusable pixels are.
    """
    at, size = rows[0] * stride, (rows[1] - rows[0]) * stride
    for k in range(rows[0], rows[1] + 2 * HALF):
        patch.missing[k] = _set_squares(patch, k * stride, stride)
    sum_7_rows(patch.counts, at, stride, patch.count_sums, size)
    sum_7_rows(patch.squares, at, stride, patch.square_sums, size)
    first = rows[0]
    while first < rows[1]:
        is_full = _is_full(patch.missing, first)
        end = first + 1
        while end < rows[1] and _is_full(patch.missing, end) == is_full:
            end += 1
        begin, size = (first - rows[0]) * stride, (end - first) * stride
        if is_full:
            _test_full_windows(threshold, patch, begin, at, size)
        else:
            centre = HALF * stride + HALF
            _test_all_windows(threshold, patch, begin, at, centre, size, otherwise)
        first = end


@inner
def _set_squares(patch: Patch, begin: int, size: int) -> int:
    """Set the squares of `size` pixels; return how many of these are not counted."""
    counts, squares = patch.counts, patch.squares
    n_missing = np.int32(0)
    for k in range(begin, begin + size):
        i = _u(k)
        is_counted = counts[i] > 0.0
        n_missing += np.int32(not is_counted)
        value = counts[i] - ONE if is_counted else 0.0
        squares[i] = value * value
    return int(n_missing)


@inner
def _is_full(missing: Indices, k: int) -> bool:
    """Return whether all pixels of 7 rows are counted."""
    total = 0
    for row in range(k, k + 2 * HALF + 1):
        total += missing[row]
    return total == 0


@inner
def _test_full_windows(
    threshold: Threshold, patch: Patch, begin: int, at: int, size: int
) -> None:
    """Set windows all of whose pixels are counted.

    Args:
        threshold: the parameters.
        patch: with the sums.
        begin: first of the sums.
        at: how much further on the windows are.
        size: how many there are.
    """
    sums, squares, windows = patch.count_sums, patch.square_sums, patch.windows
    sigma, m = threshold.sigma_background, np.float64(WINDOW)
    root = sqrt(2 * (m - 1))
    for k in range(begin, begin + size):
        i = _u(k)
        x = sum_7(sums, i) - m * ONE
        windows[i + _u(at)] = np.uint8(_is_signal(m, x, sum_7(squares, i), sigma, root))


@inner
def _test_all_windows(
    threshold: Threshold,
    patch: Patch,
    begin: int,
    at: int,
    centre: int,
    size: int,
    otherwise: bool,
) -> None:
    """Set windows as `_test_full_windows` does, whatever pixels are counted.

    Args:
        threshold: the parameters.
        patch: with the sums.
        begin: first of the sums.
        at: how much further on the windows are.
        centre: how much further on, from there, the windows' pixels are.
        size: how many windows there are.
        otherwise: what those around unusable pixels are.
    """
    sums, squares, windows = patch.count_sums, patch.square_sums, patch.windows
    bits = patch.counts.view(np.int64)  # of an unusable pixel they are 0
    sigma, min_count = threshold.sigma_background, np.float64(threshold.min_count)
    for k in range(begin, begin + size):
        i = _u(k)
        both, y = sum_7(sums, i), sum_7(squares, i)
        m = np.floor(both * (1 / ONE))
        root = sqrt(2 * (m - 1))
        signal = _is_signal(m, both - m * ONE, y, sigma, root) & (m >= min_count)
        is_usable = bits[i + _u(at + centre)] != 0
        value = (signal & is_usable) | (otherwise & (not is_usable))
        windows[i + _u(at)] = np.uint8(value)


@inner
def _is_signal(m: float, x: float, y: float, sigma: float, root: float) -> bool:
    """Test a window for signal, as DIALS does.

    Args:
        m: its number of pixels.
        x: the sum of their counts.
        y: the sum of their squares.
        sigma: sigma_background.
        root: sqrt(2 (m - 1)).
    """
    return bool(m * y - x * x - x * (m - 1) > x * sigma * root)


@inner
def any_set(flags: Bytes, begin: int, n: int) -> bool:
    """Return whether any of n flags is set."""
    result = np.uint8(0)
    for i in range(n):
        result |= flags[_u(begin) + _u(i)]
    return bool(result)


@inner
def list_span(
    marks: Bytes, k: int, span: tuple[int, int], first: int, found: Indices, n: int
) -> int:
    """Append the marked pixels of a part of a row to `found`.

    Args:
        marks: shape (rows, columns).
        k: the row in it.
        span: first column, and the end.
        first: flat index of the row's first pixel.
        found: flat indices; with room for all there are, and one more.
        n: how many there are already.

    Returns:
        How many there are now.
    """
    is_long = span[1] - span[0] >= _LONG
    for begin in range(span[0], span[1], _LONG):
        end = min(begin + _LONG, span[1])
        if not is_long or any_set(marks[k], begin, end - begin):
            for i in range(begin, end):
                found[_u(n)] = first + i
                n += marks[_u(k), _u(i)]
    return n
