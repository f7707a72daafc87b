"""DIALS's threshold "dispersion" for the window of 7 × 7, without a gain.

Rows are screened (`screen.py`); the few pixels that pass are tested as DIALS tests
every pixel, while their surroundings are still in the processor's cache. Where too many
pass, all are tested (`dense_blocks.py`). Identical to `summed_area.py`, and many times
faster.
"""

from math import sqrt

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.dense_blocks import BlockMemory, list_strong_in_rows
from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.inner import inner
from zocelery_tasks.kernels.screen import (
    HALF,
    Screen,
    encode_narrow,
    list_passed,
    pass_strong_narrow,
    slide_narrow,
    sum_rows_narrow,
)
from zocelery_tasks.kernels.segments import count_active, next_bright, note_bright
from zocelery_tasks.kernels.threshold import COUNT_LIMIT, Threshold
from zocelery_tasks.kernels.wide_screen import (
    count_flagged,
    encode_wide,
    pass_strong_wide,
    slide_wide,
    sum_windows,
    window_sums,
)

Indices = npt.NDArray[np.int64]

_STRIP = 128
"""Rows of a strip, within which the screen stays the same."""
_NARROW_SHARE = 64
"""Where more than one in so many pixels pass the narrow screen, the wide is taken."""
_WIDE_STRIPS = 8
"""After how many strips the narrow screen is tried again."""
_WIDE_SHARE = 6
"""Where more than one in so many pixels pass the wide one, all are tested."""
_FLAG_COST = 24
"""Windows whose sums are known cost so many times less to test than others."""
_DENSE_STRIPS = 16
"""After how many strips without a screen it is tried again."""
_MANY, _FEW = 2, 4
"""Where more than one in so many segments are active, sums over rows slide; until not
even one in so many are."""
_LOOK_AGAIN = 64
"""After how many rows that is looked at."""
_RING = 8
_NOTHING = 8
"""Row of zeros behind the ring of codes."""
_u = np.uintp
_ROW, _COUNT, _SUM, _SQUARES = _u(0), _u(1), _u(2), _u(3)
"""What is kept of columns, see `_keep_strong`."""


@njit(cache=True, nogil=True)
def find_dispersion(
    frame: Frame,
    threshold: Threshold,
    screen: Screen,
    memory: BlockMemory,
    found: Indices,
) -> int:
    """List the strong pixels of an image.

    Args:
        frame: the image.
        threshold: the parameters.
        screen: the tests and their memory.
        memory: for where a screen is of no use.
        found: set to flat indices, in raster order; has room for all pixels and 8 more.

    Returns:
        How many there are.
    """
    n_rows, n = frame.pixels.shape
    columns = np.empty((4, n), np.int64)
    n_found, wide_until, dense_until = 0, 0, 0
    for first in range(0, n_rows, _STRIP):
        last = min(first + _STRIP, n_rows)
        size = (last - first) * n
        count = -1
        for wide in (False, True):
            if count < 0 and first >= (dense_until if wide else wide_until):
                most = size // (_WIDE_SHARE if wide else _NARROW_SHARE)
                columns[0] = -1
                room = found[n_found:]
                count = _search_strip(
                    frame, threshold, screen, wide, first, last, most, columns, room
                )
                if count < 0 and not wide:
                    wide_until = first + _STRIP * _WIDE_STRIPS
        if count < 0:
            if first >= dense_until:
                dense_until = wide_until = first + _STRIP * _DENSE_STRIPS
            n_found = list_strong_in_rows(
                frame, threshold, memory, first, last, found, n_found
            )
        else:
            n_found += count
    return n_found


@inner
def _search_strip(
    frame: Frame,
    threshold: Threshold,
    screen: Screen,
    wide: bool,
    first: int,
    last: int,
    most: int,
    columns: Indices,
    found: Indices,
) -> int:
    """List strong pixels of rows `first` to `last` (excluded).

    Returns:
        How many there are; -1 if more than `most` had to be tested.
    """
    n_found, n_tested, slid = 0, 0, -9
    screen.narrow[:] = 0
    screen.bright[:] = -9
    screen.wide_sums[:] = 0
    for new in range(max(first - HALF, 0), last + HALF):
        room = found[n_found:]
        if wide:
            passed = room[: _screen_wide(frame, screen, new, first, room)]
            first_of_row = (new - HALF) * frame.pixels.shape[1]
            n_tested += _FLAG_COST * count_flagged(screen, passed, first_of_row)
        else:
            slid, n_passed = _screen_narrow(frame, screen, new, first, slid, room)
            passed = room[:n_passed]
        n_tested += passed.size
        if n_tested > most:
            return -1
        n_found += _keep_strong(frame, threshold, screen, wide, columns, passed)
    return n_found


@inner
def _screen_narrow(
    frame: Frame, screen: Screen, new: int, first: int, slid: int, found: Indices
) -> tuple[int, int]:
    """Take row `new` in and screen the row HALF above, if not above row `first`.

    Only around bright pixels where these are few; else sums slide from row to row.

    Args:
        frame: the image.
        screen: with the codes of the rows above.
        new: the row.
        first: of the strip.
        slid: the last row that has been added to sliding sums.
        found: set to the flat indices of pixels that passed.

    Returns:
        `slid` for the next row, and how many pixels passed.
    """
    n, centre = frame.pixels.shape[1], screen.narrow[(new - HALF) % _RING]
    is_sliding, turn = slid == new - 1, new % _LOOK_AGAIN
    _take_in(frame, screen, new, not is_sliding or turn >= _LOOK_AGAIN - 7)
    if new - HALF < first:
        return slid, 0
    slides = is_sliding and turn < _LOOK_AGAIN - 1
    if not slides:
        share = _FEW if is_sliding else _MANY
        n_active = count_active(screen.bright, new - 2 * HALF)
        slides = n_active * share > screen.bright.size
    if slides:
        _slide(screen, new, is_sliding)
        pass_strong_narrow(screen, centre, 0, n)
        return new, list_passed(screen, (new - HALF) * n, found, 0, 0, n)
    return slid, _screen_segments(screen, new, n, found)


@inner
def _take_in(frame: Frame, screen: Screen, new: int, looks: bool) -> None:
    """Set the codes of row `new`; note where it is bright if that is looked at."""
    codes = screen.narrow[new % _RING]
    if new >= frame.pixels.shape[0]:
        codes[:] = 0
        return
    encode_narrow(frame, new, codes)
    if looks:
        note_bright(codes, new, screen.dull, screen.bright)


@inner
def _slide(screen: Screen, new: int, is_sliding: bool) -> None:
    """Set the sums over the 7 rows up to `new`, from those before if there are any."""
    codes, sums = screen.narrow, screen.narrow_sums
    if not is_sliding:
        sums[:] = 0
        for j in range(new - 7, new):
            slide_narrow(codes[j % _RING], codes[_NOTHING], sums)
    slide_narrow(codes[new % _RING], codes[(new - 7) % _RING], sums)


@inner
def _screen_segments(screen: Screen, new: int, width: int, found: Indices) -> int:
    """Screen the row HALF above `new` around bright pixels; return how many pass."""
    codes, j, top = screen.narrow, new - HALF, new - 2 * HALF
    n_passed = 0
    begin, end = next_bright(screen.bright, top, width, 0)
    while begin < end:
        sum_rows_narrow(codes, j, screen.narrow_sums, begin, end)
        pass_strong_narrow(screen, codes[j % _RING], begin, end)
        n_passed = list_passed(screen, j * width, found, n_passed, begin, end)
        begin, end = next_bright(screen.bright, top, width, end)
    return n_passed


@inner
def _screen_wide(
    frame: Frame, screen: Screen, new: int, first: int, found: Indices
) -> int:
    """Screen a row as `_screen_narrow` does, by the wide test; return how many pass."""
    codes, n = screen.wide, frame.pixels.shape[1]
    incoming, outgoing = codes[_NOTHING], codes[_NOTHING]
    if new < frame.pixels.shape[0]:
        incoming = codes[new % _RING]
        encode_wide(frame, new, incoming)
    if new - 7 >= max(first - HALF, 0):
        outgoing = codes[(new - 7) % _RING]
    slide_wide(incoming, outgoing, screen.wide_sums)
    if new - HALF < first:
        return 0
    sum_windows(screen.wide_sums)
    pass_strong_wide(screen, codes[(new - HALF) % _RING])
    return list_passed(screen, (new - HALF) * n, found, 0, 0, n)


@inner
def _keep_strong(
    frame: Frame,
    threshold: Threshold,
    screen: Screen,
    wide: bool,
    columns: Indices,
    found: Indices,
) -> int:
    """Move the strong pixels to the beginning of `found`, all of one row.

    Args:
        frame: the image.
        threshold: the parameters.
        screen: after the test of this row.
        wide: whether that was the wide one.
        columns: see `_sum_window`.
        found: flat indices.

    Returns:
        How many are strong.
    """
    pixels, usable, n = frame.pixels, frame.usable, frame.pixels.shape[1]
    lowest, span = frame.limits[0], frame.limits[1]
    n_strong = 0
    for k in range(found.size):
        j = found[k] // n
        i = found[k] - j * n
        m, x, y = -1, 0, 0
        if wide:
            m, x, y = window_sums(screen, i)
        if m < 0:
            m, x, y = _sum_window(frame, j, i, columns)
        count = pixels[_u(j), _u(i)]
        is_usable = pixels.dtype.type(count - lowest) <= span
        value = np.float64(count)
        if is_usable and _is_strong(value, float(m), float(x), float(y), threshold):
            found[n_strong] = found[k]
            n_strong += usable[_u(j), _u(i)]
    return n_strong


@inner
def _sum_window(frame: Frame, j: int, i: int, columns: Indices) -> tuple[int, int, int]:
    """Return the sums over a window: of usable pixels, their counts, and squares.

    Args:
        frame: the image.
        j: row of the window's pixel.
        i: its column.
        columns: for each column, a row, and the sums over the 7 rows around that: for
            windows that share columns.
    """
    m, x, y = 0, 0, 0
    for column in range(max(i - HALF, 0), min(i + HALF + 1, frame.pixels.shape[1])):
        at = _u(column)
        if columns[_ROW, at] != j:
            _sum_column(frame, j, at, columns)
        m += columns[_COUNT, at]
        x += columns[_SUM, at]
        y += columns[_SQUARES, at]
    return m, x, y


@inner
def _sum_column(frame: Frame, j: int, column: np.uintp, columns: Indices) -> None:
    """Set the sums over the 7 rows around row j of one column."""
    pixels, usable = frame.pixels, frame.usable
    lowest, span = frame.limits[0], frame.limits[1]
    m, x, y = 0, 0, 0
    for k in range(max(j - HALF, 0), min(j + HALF + 1, pixels.shape[0])):
        count = pixels[_u(k), column]
        counted = pixels.dtype.type(count - lowest) <= span
        counted &= usable[_u(k), column] & (count < COUNT_LIMIT)
        value = int(count) if counted else 0
        m += counted
        x += value
        y += value * value
    columns[_ROW, column] = j
    columns[_COUNT, column] = m
    columns[_SUM, column] = x
    columns[_SQUARES, column] = y


@inner
def _is_strong(
    value: float, m: float, x: float, y: float, threshold: Threshold
) -> bool:
    """Test a pixel, with the sums over its window, as DIALS does."""
    if m < threshold.min_count or value <= threshold.global_threshold:
        return False
    excess = m * y - x * x - x * (m - 1)
    limit = x * threshold.sigma_background * sqrt(2 * (m - 1))
    above = m * value - x > threshold.sigma_strong * sqrt(x * m)
    return bool(above and excess > limit)
