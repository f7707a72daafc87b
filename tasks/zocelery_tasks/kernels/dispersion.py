"""DIALS's threshold "dispersion" for the window of 7 × 7, without a gain.

Rows are screened (`screen.py`); the few pixels that pass are tested as DIALS tests
every pixel, while their surroundings are still in the processor's cache. Where too many
pass, a test in single precision settles nearly all (`wide_screen.py`). Identical to
`summed_area.py`, and many times faster.
"""

from math import sqrt

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.inner import inner
from zocelery_tasks.kernels.screen import (
    HALF,
    MARGIN,
    Screen,
    encode_narrow,
    list_passed,
    pass_strong_narrow,
    slide_narrow,
    sum_rows_narrow,
)
from zocelery_tasks.kernels.segments import count_active, next_bright, note_bright
from zocelery_tasks.kernels.threshold import Threshold
from zocelery_tasks.kernels.wide_screen import (
    RING,
    UNSURE,
    decide_strong,
    doubt,
    sum_squares,
    take_in_wide,
)
from zocelery_tasks.kernels.window_sums import sum_window

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]

_STRIP = 128
"""Rows of a strip, within which the screen stays the same."""
_NARROW_SHARE = 64
"""Where more than one in so many pixels pass the narrow screen, the wide is taken."""
_WIDE_STRIPS = 8
"""After how many strips the narrow screen is tried again."""
_MANY, _FEW = 2, 4
"""Where more than one in so many segments are active, sums over rows slide; until not
even one in so many are."""
_LOOK_AGAIN = 64
"""After how many rows that is looked at."""
_NOTHING = 8
"""Row of zeros behind the ring of codes."""
_UNSURE_WORD = np.uint64(0x0101010101010101 * UNSURE)
_u = np.uintp


@njit(cache=True, nogil=True)
def find_dispersion(
    frame: Frame, threshold: Threshold, screen: Screen, found: Indices
) -> int:
    """List the strong pixels of an image.

    Args:
        frame: the image.
        threshold: the parameters.
        screen: the tests and their memory.
        found: set to flat indices, in raster order; has room for all pixels and 8 more.

    Returns:
        How many there are.
    """
    n_rows = frame.pixels.shape[0]
    n_found, wide_until = 0, 0
    for first in range(0, n_rows, _STRIP):
        last = min(first + _STRIP, n_rows)
        room, count = found[n_found:], -1
        if first >= wide_until:
            count = _search_narrow(frame, threshold, screen, first, last, room)
        if count < 0:
            if first >= wide_until:
                wide_until = first + _STRIP * _WIDE_STRIPS
            count = _search_wide(frame, threshold, screen, first, last, room)
        n_found += count
    return n_found


@inner
def _search_narrow(
    frame: Frame,
    threshold: Threshold,
    screen: Screen,
    first: int,
    last: int,
    found: Indices,
) -> int:
    """List strong pixels of rows `first` to `last` (excluded).

    Returns:
        How many there are; -1 if too many had to be tested.
    """
    n_found, n_tested, slid = 0, 0, -9
    most = (last - first) * frame.pixels.shape[1] // _NARROW_SHARE
    screen.narrow[:] = 0
    screen.bright[:] = -9
    for new in range(max(first - HALF, 0), last + HALF):
        room = found[n_found:]
        slid, n_passed = _screen_narrow(frame, screen, new, first, slid, room)
        n_tested += n_passed
        if n_tested > most:
            return -1
        n_found += _keep_strong(frame, threshold, room[:n_passed])
    return n_found


@inner
def _search_wide(
    frame: Frame,
    threshold: Threshold,
    screen: Screen,
    first: int,
    last: int,
    found: Indices,
) -> int:
    """List strong pixels as `_search_narrow` does; return how many there are."""
    wide, answers = screen.wide, screen.passed[MARGIN:]
    n_rows, n = frame.pixels.shape
    n_found = 0
    wide.codes[:] = 0
    wide.sums[:] = 0
    for new in range(max(first - HALF, 0), last + HALF):
        take_in_wide(frame, wide, new)
        j = new - HALF
        if j >= first:
            sum_squares(wide, j, n_rows)
            decide_strong(wide, wide.codes[j % RING], answers)
            doubt(frame, wide, j, answers)
            _settle(frame, threshold, j, answers)
            n_found = list_passed(screen, j * n, found, n_found, 0, n)
    return n_found


@inner
def _settle(frame: Frame, threshold: Threshold, j: int, answers: Bytes) -> None:
    """Replace the answers of row j that are unsure."""
    n, words = frame.pixels.shape[1], answers.view(np.uint64)
    for k in range((n + 7) // 8):
        if words[_u(k)] & _UNSURE_WORD:
            for i in range(8 * k, min(8 * k + 8, n)):
                if answers[_u(i)] == UNSURE:
                    answers[_u(i)] = _test_pixel(frame, threshold, j, i)


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
    n, centre = frame.pixels.shape[1], screen.narrow[(new - HALF) % RING]
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
    codes = screen.narrow[new % RING]
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
            slide_narrow(codes[j % RING], codes[_NOTHING], sums)
    slide_narrow(codes[new % RING], codes[(new - 7) % RING], sums)


@inner
def _screen_segments(screen: Screen, new: int, width: int, found: Indices) -> int:
    """Screen the row HALF above `new` around bright pixels; return how many pass."""
    codes, j, top = screen.narrow, new - HALF, new - 2 * HALF
    n_passed = 0
    begin, end = next_bright(screen.bright, top, width, 0)
    while begin < end:
        sum_rows_narrow(codes, j, screen.narrow_sums, begin, end)
        pass_strong_narrow(screen, codes[j % RING], begin, end)
        n_passed = list_passed(screen, j * width, found, n_passed, begin, end)
        begin, end = next_bright(screen.bright, top, width, end)
    return n_passed


@inner
def _keep_strong(frame: Frame, threshold: Threshold, found: Indices) -> int:
    """Move the strong pixels to the beginning of `found`; return how many there are."""
    n, n_strong = frame.pixels.shape[1], 0
    for k in range(found.size):
        j = found[k] // n
        i = found[k] - j * n
        found[n_strong] = found[k]
        n_strong += int(_test_pixel(frame, threshold, j, i))
    return n_strong


@inner
def _test_pixel(frame: Frame, threshold: Threshold, j: int, i: int) -> np.uint8:
    """Return 1 if a pixel is strong."""
    pixels, lowest, span = frame.pixels, frame.limits[0], frame.limits[1]
    count = pixels[_u(j), _u(i)]
    is_usable = pixels.dtype.type(count - lowest) <= span
    m, x, y = sum_window(frame, j, i)
    strong = _is_strong(np.float64(count), float(m), float(x), float(y), threshold)
    return np.uint8(is_usable & frame.usable[_u(j), _u(i)] & strong)


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
