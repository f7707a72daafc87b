"""The tests of `screen.py` in 32 bits, for brighter images.

Codes are `flag * 2**25 + 2**19 + count` for usable pixels, 0 for others, and counts go
up to 9362. Where no flag is up, the sums over a window are exact: of counts in the low
bits, then the number of pixels; and of squares, as 49 * 9362² is below 2**32.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.inner import inner
from zocelery_tasks.kernels.mask_runs import fill_runs
from zocelery_tasks.kernels.screen import HALF, MARGIN, Screen, sum_7_codes
from zocelery_tasks.kernels.threshold import COUNT_LIMIT

Indices = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]

_u, _u1, _u4, _i4 = np.uintp, np.uint8, np.uint32, np.int32
_CAP = 9362
"""49 times its square is just below 2**32."""
_BITS = (1 << 14) - 1
"""Of a count in a code."""
_ONE = 1 << 19
_FLAG = 1 << 25
_NOTHING = np.float32(0)
_CANCELLATION = np.float32(1e-6)
"""Rounding error of m y - x², relative to its terms, with a margin."""


@inner
def encode_wide(frame: Frame, j: int, code: Words) -> None:
    """Set the wide codes of detector row j in `code`, a row with its margins."""
    pixels = frame.pixels
    row, inner = pixels[j], code[HALF:-HALF]
    lowest, span = frame.limits[0], frame.limits[1]
    top = pixels.dtype.type(0)
    for i in range(row.size):
        usable = pixels.dtype.type(row[i] - lowest) <= span
        count = row[i] if usable else pixels.dtype.type(0)
        top = max(top, count)
        above = _u4(_FLAG + _ONE + _CAP)
        if count >= COUNT_LIMIT:
            above = _u4(_FLAG)
        low = _u4(_u4(count) + _u4(_ONE))
        inner[i] = (low if count <= _CAP else above) if usable else _u4(0)
    fill_runs(inner, frame.runs, j, 0)
    frame.tops[j] = top


@inner
def slide_wide(new: Words, old: Words, sums: Words) -> None:
    """Move the sums over 7 rows of wide codes one row on."""
    codes, squares = sums[0], sums[1]
    for i in range(new.size):
        codes[i] = _u4(codes[i] + new[i] - old[i])
        a, b = _u4(new[i] & _u4(_BITS)), _u4(old[i] & _u4(_BITS))
        squares[i] = _u4(squares[i] + _u4(a * a) - _u4(b * b))


@inner
def sum_windows(sums: Words) -> None:
    """Add 7 neighbours of `sums[0]` and `sums[1]` into `sums[2]` and `sums[3]`.

    The sum around column i goes to i, no longer to i + HALF.
    """
    for k in range(2):
        row, total = sums[k], sums[k + 2]
        for i in range(row.size - 2 * HALF):
            total[i] = _u4(sum_7_codes(row, _u(i)))


@inner
def _split_wide(code: np.uint32) -> tuple[np.float32, np.float32]:
    """Return the number of pixels and the sum of counts in a window."""
    m = _i4((code >> _u4(19)) & _u4(63))
    return np.float32(m), np.float32(_i4(code & _u4(_ONE - 1)))


@inner
def _to_single(squares: np.uint32) -> np.float32:
    """Return a sum of squares, rounded up to odd: signed integers convert faster."""
    return np.float32(_i4(squares >> _u4(1))) * np.float32(2) + np.float32(1)


@inner
def _signal_wide(
    m: np.float32, x: np.float32, y: np.float32, variance: np.float32
) -> bool:
    """Test m y - x² - x (m - 1) > x sqrt(2 (m - 1) variance), favouring a pass."""
    freedom = np.float32(m - np.float32(1))
    terms = np.float32(m * y + x * x)
    excess = np.float32(m * y - x * x - x * freedom) + terms * _CANCELLATION
    limit = np.float32(x * x * freedom * variance)
    return bool((excess > _NOTHING) & (excess * excess > limit))


@njit(cache=True, nogil=True)
def pass_signal_wide(screen: Screen) -> None:
    """Set `passed` as `pass_signal_narrow` does, from wide sums."""
    passed = screen.passed[MARGIN:]
    codes, squares = screen.wide_sums[2], screen.wide_sums[3]
    variance = screen.signal_variance
    for i in range(codes.size - 2 * HALF):
        m, x = _split_wide(codes[i])
        signal = _signal_wide(m, x, _to_single(squares[i]), variance)
        passed[i] = _u1(signal | (codes[i] >= _u4(_FLAG)))


@njit(cache=True, nogil=True)
def pass_strong_wide(screen: Screen, centre: Words) -> None:
    """Set `passed` as `pass_strong_narrow` does, from wide sums and codes."""
    passed = screen.passed[MARGIN:]
    codes, squares = screen.wide_sums[2], screen.wide_sums[3]
    signal_variance, strong_variance = screen.signal_variance, screen.strong_variance
    values = centre[HALF:]
    for i in range(codes.size - 2 * HALF):
        m, x = _split_wide(codes[i])
        signal = _signal_wide(m, x, _to_single(squares[i]), signal_variance)
        signal |= codes[i] >= _u4(_FLAG)
        value = np.float32(_i4(values[i] & _u4(_BITS)))
        over = np.float32(m * value - x)
        above = (over > _NOTHING) & (over * over > strong_variance * x * m)
        passed[i] = _u1(signal & (above | (values[i] >= _u4(_FLAG))))


@njit(cache=True, nogil=True)
def window_sums(screen: Screen, i: int) -> tuple[int, int, int]:
    """Return number of pixels, sum of counts and of squares of the window at column i.

    After `sum_windows`. The number is -1 where a flag is up: the others mean nothing.
    """
    code = screen.wide_sums[2, _u(i)]
    if code >= _u4(_FLAG):
        return -1, 0, 0
    squares = screen.wide_sums[3, _u(i)]
    return int(code >> _u4(19)), int(code & _u4(_ONE - 1)), int(squares)


@inner
def count_flagged(screen: Screen, found: Indices, first: int) -> int:
    """Return of how many pixels the windows have a flag up.

    Args:
        screen: after `sum_windows`.
        found: flat indices of pixels in the tested row.
        first: that of the row's first pixel.
    """
    count = 0
    for k in found:
        count += screen.wide_sums[2, _u(k - first)] >= _u4(_FLAG)
    return count
