"""dispersion_extended for all pixels of some rows, one row after the other.

For images of which a screen rejects too little. As in `wide_screen.py`, tests are made
in single precision and answer yes, no, or unsure; what is unsure is tested as DIALS
does. First all windows of the rows are searched for signal; then pixels are compared
with the background, once the signal of all rows around is known.

Codes of the background are `2**25 + count`, 0 for a pixel that is no part of it. Their
sum over a window of 11 × 11 is exact up to counts of 277309; windows with higher ones
are unsure.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.inner import inner
from zocelery_tasks.kernels.mask_runs import REACH, fill_runs
from zocelery_tasks.kernels.threshold import COUNT_LIMIT, Threshold
from zocelery_tasks.kernels.wide_screen import (
    ABOVE,
    BELOW,
    UNSURE,
    WideRows,
    decide_signal,
    doubt,
    make_wide_rows,
    sum_squares,
    take_in_wide,
)
from zocelery_tasks.kernels.window_sums import sum_window

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]

_HALF = 3
_FAR = _HALF + REACH
"""Half size of the window for the background's mean."""
_BACKGROUND_RING = 2 * _FAR + 2
_WINDOW_RING = 2 * REACH + 1
_u, _u1, _u4, _i4, _f4 = np.uintp, np.uint8, np.uint32, np.int32, np.float32
_ONE = 1 << 25
_CAP = (_ONE - 1) // (2 * _FAR + 1) ** 2
_TWO, _NOTHING = _f4(2), _f4(0)


class Signal(NamedTuple):
    """Which pixels of the last rows are signal."""

    rows: Bytes
    """A ring of rows with margins."""
    row_of: Indices
    """Which detector row each of them is; others have no signal."""
    pad: int
    """Columns of the margins."""


class DenseRows(NamedTuple):
    """Memory for rows of images of one width."""

    wide: WideRows
    windows: Bytes
    """Which windows of a row are signal, with margins of REACH."""
    kept: Bytes
    """A ring of rows: where all windows within REACH in the row are."""
    background: Words
    """A ring of rows of codes, with margins."""
    sums: Words
    """Of these, over 11 rows."""
    hot: Bytes
    """Columns with a count too high for codes, with margins."""


def make_dense_rows(threshold: Threshold, width: int) -> DenseRows:
    """Prepare the tests of a threshold (kernel (3, 3), no gain) for a row width."""
    return DenseRows(
        wide=make_wide_rows(threshold, width),
        windows=np.zeros(width + 2 * REACH, np.uint8),
        kept=np.zeros((_WINDOW_RING, width), np.uint8),
        background=np.zeros((_BACKGROUND_RING, width + 2 * _FAR), np.uint32),
        sums=np.zeros(width + 2 * _FAR, np.uint32),
        hot=np.zeros(width + 2 * _FAR, np.uint8),
    )


@inner
def mark_signal_in_rows(
    frame: Frame,
    threshold: Threshold,
    dense: DenseRows,
    signal: Signal,
    first: int,
    last: int,
) -> None:
    """Set the signal of detector rows `first` to `last` (included)."""
    wide, n_rows = dense.wide, frame.pixels.shape[0]
    wide.codes[:] = 0
    wide.sums[:] = 0
    for new in range(first - _FAR, last + _FAR + 1):
        if new >= 0:
            take_in_wide(frame, wide, new)
        j = new - _HALF
        if j >= first - REACH:
            kept = dense.kept[j % _WINDOW_RING]
            if 0 <= j < n_rows:
                sum_squares(wide, j, n_rows)
                _set_windows(frame, threshold, dense, j)
                _keep_runs(dense.windows, kept)
            else:
                kept[:] = 1
        if j - REACH >= first:
            _set_signal(frame, threshold, dense.kept, signal, j - REACH)


@inner
def _set_windows(frame: Frame, threshold: Threshold, dense: DenseRows, j: int) -> None:
    """Set which windows of row j are signal, once the sums are those around it."""
    dense.windows[:] = 1
    windows = dense.windows[REACH:-REACH]
    decide_signal(dense.wide, windows)
    doubt(frame, dense.wide, j, windows)
    if _any_unsure(windows):
        for i in range(windows.size):
            if windows[_u(i)] == UNSURE:
                windows[_u(i)] = _test_window(frame, threshold, j, i)
    value = _u1(not threshold.masked_pixels_block_erosion)
    row, lowest, span = frame.pixels[j], frame.limits[0], frame.limits[1]
    for i in range(windows.size):
        is_usable = row.dtype.type(row[i] - lowest) <= span
        windows[i] = windows[i] if is_usable else value
    fill_runs(windows, frame.runs, j, int(value))


@inner
def _any_unsure(answers: Bytes) -> bool:
    """Return whether any answer is unsure."""
    all_of_them = _u1(0)
    for i in range(answers.size):
        all_of_them |= answers[i]
    return bool(all_of_them & _u1(UNSURE))


@inner
def _test_window(frame: Frame, threshold: Threshold, j: int, i: int) -> np.uint8:
    """Return 1 if the window around a pixel is signal, as DIALS finds it."""
    m, x, y = sum_window(frame, j, i)
    mm, xx, yy = float(m), float(x), float(y)
    if mm < threshold.min_count:
        return _u1(0)
    excess = mm * yy - xx * xx - xx * (mm - 1)
    return _u1(excess > xx * threshold.sigma_background * sqrt(2 * (mm - 1)))


@inner
def _keep_runs(windows: Bytes, kept: Bytes) -> None:
    """Set where all within REACH in the row are signal."""
    for k in range(kept.size):
        i = _u(k)
        left = windows[i] & windows[i + _u(1)] & windows[i + _u(2)]
        kept[i] = left & windows[i + _u(3)] & windows[i + _u(4)]


@inner
def _set_signal(
    frame: Frame, threshold: Threshold, kept: Bytes, signal: Signal, j: int
) -> None:
    """Set the signal of row j from the 5 rows around it."""
    slot, n = j % signal.row_of.size, frame.pixels.shape[1]
    signal.row_of[slot] = j
    row = signal.rows[slot]
    row[:] = 0
    inside = row[signal.pad : signal.pad + n]
    k0, k1, k2, k3, k4 = kept[0], kept[1], kept[2], kept[3], kept[4]
    for i in range(n):
        inside[i] = k0[i] & k1[i] & k2[i] & k3[i] & k4[i]
    if not threshold.masked_pixels_block_erosion:
        pixels, lowest, span = frame.pixels[j], frame.limits[0], frame.limits[1]
        for i in range(n):
            is_usable = pixels.dtype.type(pixels[i] - lowest) <= span
            inside[i] = inside[i] if is_usable else _u1(0)
        fill_runs(inside, frame.runs, j, 0)


@inner
def mark_strong_in_rows(
    frame: Frame,
    threshold: Threshold,
    dense: DenseRows,
    signal: Signal,
    first: int,
    last: int,
    strong: Bytes,
) -> None:
    """Set the strong pixels of detector rows `first` to `last` (included).

    The signal of all rows within 5 must be known; `strong` is (rows, columns).
    """
    dense.background[:] = 0
    dense.sums[:] = 0
    for new in range(first - _FAR, last + _FAR + 1):
        _take_in_background(frame, dense, signal, new)
        j = new - _FAR
        if j >= first:
            row = strong[j - first]
            _decide_above(frame, threshold, dense, signal, j, row)
            _doubt_hot(frame, dense, j, row)
            if _any_unsure(row):
                for i in range(row.size):
                    if row[_u(i)] == UNSURE:
                        row[_u(i)] = _test_above(frame, threshold, signal, j, i)


@inner
def _take_in_background(
    frame: Frame, dense: DenseRows, signal: Signal, new: int
) -> None:
    """Encode detector row `new`, if there is one; move the sums one row on."""
    codes, sums, slot = dense.background, dense.sums, new % _BACKGROUND_RING
    if 0 <= new < frame.pixels.shape[0]:
        _encode_background(frame, signal, new, codes[slot])
    else:
        codes[slot] = 0
    added, removed = codes[slot], codes[(new + 1) % _BACKGROUND_RING]
    for i in range(sums.size):
        sums[i] = _u4(sums[i] + added[i] - removed[i])


@inner
def _encode_background(frame: Frame, signal: Signal, j: int, codes: Words) -> None:
    """Set the codes of detector row j."""
    pixels = frame.pixels
    row, inside = pixels[j], codes[_FAR:-_FAR]
    lowest, span = frame.limits[0], frame.limits[1]
    slot = j % signal.row_of.size
    has_signal = signal.row_of[slot] == j
    if not has_signal:
        slot = signal.row_of.size
    marks = signal.rows[slot, signal.pad : signal.pad + row.size]
    for i in range(row.size):
        usable = pixels.dtype.type(row[i] - lowest) <= span
        is_background = usable & (marks[i] == 0) & (row[i] < COUNT_LIMIT)
        capped = _u4(row[i]) if row[i] <= _CAP else _u4(_CAP)
        inside[i] = _u4(capped + _u4(_ONE)) if is_background else _u4(0)
    fill_runs(inside, frame.runs, j, 0)


@inner
def _sum_11(row: Words, at: np.uintp) -> np.uint32:
    left = _u4(row[at] + row[at + _u(1)] + row[at + _u(2)] + row[at + _u(3)])
    middle = _u4(row[at + _u(4)] + row[at + _u(5)] + row[at + _u(6)] + row[at + _u(7)])
    return _u4(left + middle + row[at + _u(8)] + row[at + _u(9)] + row[at + _u(10)])


@inner
def _decide_above(
    frame: Frame,
    threshold: Threshold,
    dense: DenseRows,
    signal: Signal,
    j: int,
    answers: Bytes,
) -> None:
    """Set the answers whether pixels of row j are signal and above the background."""
    sums, row, n = dense.sums, frame.pixels[j], answers.size
    marks = signal.rows[j % signal.row_of.size, signal.pad : signal.pad + n]
    sigma, lowest = dense.wide.sigma_strong, dense.wide.lowest
    for i in range(n):
        code = _sum_11(sums, _u(i))
        m, x = _f4(_i4(code >> _u4(25))), _f4(_i4(code & _u4(_ONE - 1)))
        x = x if m >= _TWO else _NOTHING
        limit = x + sigma * _f4(sqrt(m * x))
        capped = _u4(row[i]) if row[i] <= _CAP else _u4(_CAP)
        value = _f4(_i4(capped))
        allowed = (marks[i] != 0) & (value > lowest)
        maybe = (m * value >= limit * BELOW) & allowed
        yes = (m * value >= limit * ABOVE) & allowed
        answers[i] = _u1(_u1(maybe) + _u1(maybe ^ yes))


@inner
def _doubt_hot(frame: Frame, dense: DenseRows, j: int, answers: Bytes) -> None:
    """Make answers of row j unsure in whose windows a count is too high for codes."""
    tops, hot, n_rows, n = frame.tops, dense.hot, frame.pixels.shape[0], answers.size
    begin, end = max(j - _FAR, 0), min(j + _FAR + 1, n_rows)
    highest = 0
    for k in range(begin, end):
        highest = max(highest, tops[k])
    if highest <= _CAP:
        return
    hot[:] = 0
    for k in range(begin, end):
        if tops[k] > _CAP:
            for i in range(n):
                hot[_FAR + i] |= frame.pixels[k, i] > _CAP
    for i in range(n):
        if hot[i : i + 2 * _FAR + 1].any():
            answers[i] = UNSURE


@inner
def _test_above(
    frame: Frame, threshold: Threshold, signal: Signal, j: int, i: int
) -> np.uint8:
    """Return 1 if a pixel is signal and above its background, as DIALS finds it."""
    pixels, lowest, span = frame.pixels, frame.limits[0], frame.limits[1]
    n_rows, n = pixels.shape
    size, pad = signal.row_of.size, signal.pad
    value = np.float64(pixels[j, i])
    if not signal.rows[j % size, pad + i] or value <= threshold.global_threshold:
        return _u1(0)
    m, x = 0, 0
    for k in range(max(j - _FAR, 0), min(j + _FAR + 1, n_rows)):
        has_signal = signal.row_of[k % size] == k
        for column in range(max(i - _FAR, 0), min(i + _FAR + 1, n)):
            count = pixels[_u(k), _u(column)]
            counted = pixels.dtype.type(count - lowest) <= span
            counted &= frame.usable[_u(k), _u(column)] & (count < COUNT_LIMIT)
            if counted and not (has_signal and signal.rows[k % size, pad + column]):
                m += 1
                x += int(count)
    mean = x / m if m >= 2 else 0.0
    return _u1(value >= mean + threshold.sigma_strong * sqrt(mean))
