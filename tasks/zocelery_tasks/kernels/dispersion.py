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
from zocelery_tasks.kernels.screen import (
    HALF,
    Screen,
    encode_narrow,
    list_passed,
    pass_strong_narrow,
    slide_narrow,
)
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


@njit(cache=True, nogil=True)
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
    n = frame.pixels.shape[1]
    n_found, n_tested = 0, 0
    screen.narrow_sums[:] = 0
    screen.wide_sums[:] = 0
    for new in range(max(first - HALF, 0), last + HALF):
        if wide:
            _screen_wide(frame, screen, new, first)
        else:
            _screen_narrow(frame, screen, new, first)
        j = new - HALF
        if j >= first:
            end = list_passed(screen, j * n, found, n_found)
            passed = found[n_found:end]
            n_tested += passed.size
            if wide:
                n_tested += _FLAG_COST * count_flagged(screen, passed, j * n)
            if n_tested > most:
                return -1
            n_found += _keep_strong(frame, threshold, screen, wide, columns, passed)
    return n_found


@njit(cache=True, nogil=True)
def _screen_narrow(frame: Frame, screen: Screen, new: int, first: int) -> None:
    """Take row `new` in and screen the row HALF above, if not above row `first`."""
    codes = screen.narrow
    incoming, outgoing = codes[_NOTHING], codes[_NOTHING]
    if new < frame.pixels.shape[0]:
        incoming = codes[new % _RING]
        encode_narrow(frame, new, incoming)
    if new - 7 >= max(first - HALF, 0):
        outgoing = codes[(new - 7) % _RING]
    slide_narrow(incoming, outgoing, screen.narrow_sums)
    if new - HALF >= first:
        pass_strong_narrow(screen, codes[(new - HALF) % _RING])


@njit(cache=True, nogil=True)
def _screen_wide(frame: Frame, screen: Screen, new: int, first: int) -> None:
    """Screen a row as `_screen_narrow` does, by the wide test."""
    codes = screen.wide
    incoming, outgoing = codes[_NOTHING], codes[_NOTHING]
    if new < frame.pixels.shape[0]:
        incoming = codes[new % _RING]
        encode_wide(frame, new, incoming)
    if new - 7 >= max(first - HALF, 0):
        outgoing = codes[(new - 7) % _RING]
    slide_wide(incoming, outgoing, screen.wide_sums)
    if new - HALF >= first:
        sum_windows(screen.wide_sums)
        pass_strong_wide(screen, codes[(new - HALF) % _RING])


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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
