"""DIALS's threshold "dispersion" for the window of 7 × 7, without a gain.

Rows are screened (`screen.py`); the few pixels that pass are tested as DIALS tests
every pixel, while their surroundings are still in the processor's cache. Identical to
`summed_area.py`, and many times faster.
"""

from math import sqrt

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.screen import (
    HALF,
    Screen,
    encode_narrow,
    encode_wide,
    list_passed,
    pass_strong_narrow,
    pass_strong_wide,
    slide_narrow,
    slide_wide,
    sum_windows,
)
from zocelery_tasks.kernels.threshold import COUNT_LIMIT, Threshold

Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.integer]

_STRIP = 128
"""Rows of a strip, within which the screen stays the same."""
_NARROW_SHARE = 64
"""Where more than one in so many pixels pass the narrow screen, the wide is taken."""
_WIDE_STRIPS = 8
"""After how many strips the narrow screen is tried again."""
_TESTED_SHARE = 16
"""With more than one in so many pixels to test exactly, a screen is of no use."""
_RING = 8
_NOTHING = 8
"""Row of zeros behind the ring of codes."""
_u = np.uintp
_ROW, _COUNT, _SUM, _SQUARES = _u(0), _u(1), _u(2), _u(3)
"""What is kept of columns, see `_keep_strong`."""


def make_room(shape: tuple[int, int]) -> Indices:
    """Make room for the results of `find_dispersion` in images of a shape."""
    return np.empty(shape[0] * shape[1] // _TESTED_SHARE + 4 * shape[1], np.int64)


@njit(cache=True, nogil=True)
def find_dispersion(
    frame: Frame, threshold: Threshold, screen: Screen, found: Indices
) -> int:
    """List the strong pixels of an image.

    Args:
        frame: the image.
        threshold: the parameters.
        screen: the tests and their memory.
        found: set to flat indices, in raster order; see `make_room`.

    Returns:
        How many there are, or -1 if the image is not for this way.
    """
    n_rows, n = frame.pixels.shape
    columns = np.empty((4, n), np.int64)
    n_found, n_tested, wide_until = 0, 0, 0
    for first in range(0, n_rows, _STRIP):
        last = min(first + _STRIP, n_rows)
        room, tested = found[n_found:], -1
        most = (last - first) * n // _NARROW_SHARE
        columns[0] = -1
        if first >= wide_until:
            count, tested = _search_strip(
                frame, threshold, screen, False, first, last, most, columns, room
            )
        if tested < 0:
            wide_until = max(wide_until, first + _STRIP * _WIDE_STRIPS)
            most = frame.pixels.size // _TESTED_SHARE - n_tested
            columns[0] = -1
            count, tested = _search_strip(
                frame, threshold, screen, True, first, last, most, columns, room
            )
        n_found, n_tested = n_found + count, n_tested + tested
        if tested < 0 or n_tested > frame.pixels.size // _TESTED_SHARE:
            return -1
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
) -> tuple[int, int]:
    """List strong pixels of rows `first` to `last` (excluded).

    Returns:
        How many there are, and how many were tested; -1 if more than `most` would be.
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
            n_tested += end - n_found
            if n_tested > most:
                return 0, -1
            n_found += _keep_strong(frame, threshold, columns, found[n_found:end])
    return n_found, n_tested


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
        sum_windows(screen.narrow_sums)
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
    frame: Frame, threshold: Threshold, columns: Indices, found: Indices
) -> int:
    """Move the strong pixels to the beginning of `found`, all of one row.

    Args:
        frame: the image.
        threshold: the parameters.
        columns: for each column, a row, and the number of usable pixels, their counts
            and squares in the 7 rows around that: for pixels that share columns.
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
        m, x, y = 0, 0, 0
        for column in range(max(i - HALF, 0), min(i + HALF + 1, n)):
            at = _u(column)
            if columns[_ROW, at] != j:
                _sum_column(pixels, usable, lowest, span, j, at, columns)
            m += columns[_COUNT, at]
            x += columns[_SUM, at]
            y += columns[_SQUARES, at]
        count = pixels[_u(j), _u(i)]
        is_usable = pixels.dtype.type(count - lowest) <= span
        is_usable &= usable[_u(j), _u(i)]
        value = np.float64(count)
        if is_usable and _is_strong(value, float(m), float(x), float(y), threshold):
            found[n_strong] = found[k]
            n_strong += 1
    return n_strong


@njit(cache=True, nogil=True)
def _sum_column(
    pixels: Pixels,
    usable: Mask,
    lowest: np.integer,
    span: np.integer,
    j: int,
    column: np.uintp,
    columns: Indices,
) -> None:
    """Set the sums over the 7 rows around row j of one column."""
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
