"""DIALS's threshold "dispersion" for the window of 7 × 7, without a gain.

Strips of rows are screened (`screen.py`); the few pixels that pass are tested as DIALS
tests every pixel. Identical to `summed_area.py`, and many times faster.
"""

from math import sqrt

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.mask_runs import MaskRuns
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
Tops = npt.NDArray[np.int64]

_STRIP = 128
"""Rows of a strip, within which the screen stays the same."""
_NARROW_SHARE = 64
"""Where more than one in so many pixels pass the narrow screen, the wide is taken."""
_WIDE_STRIPS = 8
"""After how many strips the narrow screen is tried again."""
_RING = 8
_NOTHING = 8
"""Row of zeros behind the ring of codes."""


@njit(cache=True, nogil=True)
def screen_dispersion(
    pixels: Pixels,
    runs: MaskRuns,
    limits: Pixels,
    screen: Screen,
    tops: Tops,
    found: Indices,
) -> int:
    """List the pixels that may be strong.

    Args:
        pixels: counts (slow, fast), unsigned, C-contiguous.
        runs: unusable pixels.
        limits: lowest usable count, and the highest above that; of the pixels' type.
        screen: the tests and their memory.
        tops: set to the highest usable count of each row, or more.
        found: flat indices of the pixels found, in raster order.

    Returns:
        How many were found, or -1 when `found` is too small for them.
    """
    n_rows, n = pixels.shape
    n_found, wide_until = 0, 0
    for first in range(0, n_rows, _STRIP):
        last = min(first + _STRIP, n_rows)
        if found.size - n_found < (last - first) * n // _NARROW_SHARE + n:
            return -1
        room = found[n_found : n_found + (last - first) * n // _NARROW_SHARE + n]
        count = -1
        if first >= wide_until:
            count = _screen_narrow(
                pixels, runs, limits, screen, tops, first, last, room
            )
            if count < 0:
                wide_until = first + _STRIP * _WIDE_STRIPS
        if count < 0:
            room = found[n_found:]
            count = _screen_wide(pixels, runs, limits, screen, tops, first, last, room)
        if count < 0:
            return -1
        n_found += count
    return n_found


@njit(cache=True, nogil=True)
def _screen_narrow(
    pixels: Pixels,
    runs: MaskRuns,
    limits: Pixels,
    screen: Screen,
    tops: Tops,
    first: int,
    last: int,
    found: Indices,
) -> int:
    """List pixels of rows `first` to `last` (excluded); -1 if `found` is too small."""
    n_rows, n = pixels.shape
    codes, n_found = screen.narrow, 0
    screen.narrow_sums[:] = 0
    start = max(first - HALF, 0)
    for new in range(start, last + HALF):
        incoming, outgoing = codes[_NOTHING], codes[_NOTHING]
        if new < n_rows:
            incoming = codes[new % _RING]
            tops[new] = encode_narrow(pixels, runs, limits, new, incoming)
        if new - 7 >= start:
            outgoing = codes[(new - 7) % _RING]
        slide_narrow(incoming, outgoing, screen.narrow_sums)
        j = new - HALF
        if j >= first:
            if found.size - n_found < n:
                return -1
            sum_windows(screen.narrow_sums)
            pass_strong_narrow(screen, codes[j % _RING])
            n_found = list_passed(screen, j * n, found, n_found)
    return n_found


@njit(cache=True, nogil=True)
def _screen_wide(
    pixels: Pixels,
    runs: MaskRuns,
    limits: Pixels,
    screen: Screen,
    tops: Tops,
    first: int,
    last: int,
    found: Indices,
) -> int:
    """List pixels as `_screen_narrow` does, by the wide screen."""
    n_rows, n = pixels.shape
    codes, n_found = screen.wide, 0
    screen.wide_sums[:] = 0
    start = max(first - HALF, 0)
    for new in range(start, last + HALF):
        incoming, outgoing = codes[_NOTHING], codes[_NOTHING]
        if new < n_rows:
            incoming = codes[new % _RING]
            tops[new] = encode_wide(pixels, runs, limits, new, incoming)
        if new - 7 >= start:
            outgoing = codes[(new - 7) % _RING]
        slide_wide(incoming, outgoing, screen.wide_sums)
        j = new - HALF
        if j >= first:
            if found.size - n_found < n:
                return -1
            sum_windows(screen.wide_sums)
            pass_strong_wide(screen, codes[j % _RING])
            n_found = list_passed(screen, j * n, found, n_found)
    return n_found


@njit(cache=True, nogil=True)
def keep_strong(
    pixels: Pixels,
    usable: Mask,
    limits: Pixels,
    threshold: Threshold,
    found: Indices,
) -> int:
    """Keep the strong ones of the pixels found, at the beginning of `found`.

    Args:
        pixels: counts (slow, fast), unsigned.
        usable: mask (slow, fast).
        limits: see `screen_dispersion`.
        threshold: the parameters.
        found: flat indices, in raster order.

    Returns:
        How many are strong.
    """
    n = pixels.shape[1]
    columns = np.zeros((4, n), np.int64)
    columns[0] = -2 * HALF
    n_strong = 0
    for k in range(found.size):
        j = found[k] // n
        i = found[k] - j * n
        value = np.float64(pixels[j, i])
        if not (usable[j, i] and value > threshold.global_threshold):
            continue
        left, right = max(i - HALF, 0), min(i + HALF + 1, n)
        m, x, y = 0, 0, 0
        for column in range(left, right):
            if columns[0, column] != j:
                _move_column(pixels, usable, limits, column, j, columns)
            m += columns[1, column]
            x += columns[2, column]
            y += columns[3, column]
        is_usable = pixels.dtype.type(pixels[j, i] - limits[0]) <= limits[1]
        if is_usable and _is_strong(value, float(m), float(x), float(y), threshold):
            found[n_strong] = found[k]
            n_strong += 1
    return n_strong


@njit(cache=True, nogil=True)
def _move_column(
    pixels: Pixels,
    usable: Mask,
    limits: Pixels,
    column: int,
    j: int,
    columns: Indices,
) -> None:
    """Set the sums over the 7 rows around row j of one column.

    Args:
        pixels: counts (slow, fast), unsigned.
        usable: mask (slow, fast).
        limits: see `screen_dispersion`.
        column: the column.
        j: the row.
        columns: for each column, the row it has sums for, and these: number of usable
            pixels, their counts and squares. Those of the row before are used.
    """
    n_rows = pixels.shape[0]
    first, stop = max(j - HALF, 0), min(j + HALF + 1, n_rows)
    if columns[0, column] == j - 1:
        first = j + HALF
        if j > HALF:
            _add_pixel(pixels, usable, limits, column, j - HALF - 1, -1, columns)
    else:
        columns[1:, column] = 0
    for row in range(first, stop):
        _add_pixel(pixels, usable, limits, column, row, 1, columns)
    columns[0, column] = j


@njit(cache=True, nogil=True)
def _add_pixel(
    pixels: Pixels,
    usable: Mask,
    limits: Pixels,
    column: int,
    row: int,
    sign: int,
    columns: Indices,
) -> None:
    """Add `sign` times a pixel, if it counts, to the sums of its column."""
    value = np.int64(pixels[row, column])
    counts = pixels.dtype.type(pixels[row, column] - limits[0]) <= limits[1]
    if counts and value < COUNT_LIMIT and usable[row, column]:
        columns[1, column] += sign
        columns[2, column] += sign * value
        columns[3, column] += sign * value * value


@njit(cache=True, nogil=True)
def _is_strong(
    value: float, m: float, x: float, y: float, threshold: Threshold
) -> bool:
    """Test a pixel, with the sums over its window, as DIALS does."""
    if m < threshold.min_count:
        return False
    excess = m * y - x * x - x * (m - 1)
    limit = x * threshold.sigma_background * sqrt(2 * (m - 1))
    above = m * value - x > threshold.sigma_strong * sqrt(x * m)
    return bool(above and excess > limit)
