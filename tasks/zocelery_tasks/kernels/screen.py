"""Cheap tests of whole rows that no strong pixel fails, for the window of 7 × 7.

Exact tests are needed for few pixels only; which, is found here in integers so small
that a vector register holds many. The tests err on the side of passing:

* Counts above a cap raise a flag in the sums, and a flagged window passes.
* A window that holds fewer than 49 usable pixels needs more excess, relative to its
  sums, than a full one; so the narrow test takes all windows for full.

Each usable pixel becomes one code, and codes are added up over the window:

    narrow (16 bit)   flag * 1024 + count                   counts up to 20
    wide (32 bit)     flag * 2**25 + 2**19 + count          counts up to 8191

so that a sum has the sum of counts in its low bits, then (wide) the number of pixels,
and the number of flags on top. Unusable pixels are 0. Sums of squares are taken of the
codes, modulo the word; they are right where no flag is up.

The conditions (`threshold.py`), with m = 49 pixels, sum x, sum of squares y, value v:

    signal   y > x² / m + x (m - 1 + sigma_b sqrt(2 (m - 1))) / m
    strong   m v - x > sigma_s sqrt(m x)
"""

from math import floor, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.mask_runs import REACH, fill_runs
from zocelery_tasks.kernels.threshold import COUNT_LIMIT, Threshold

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Shorts = npt.NDArray[np.uint16]
Words = npt.NDArray[np.uint32]

HALF = 3
"""Half size of the window."""
WINDOW = 49

_MARGIN = 8
"""Bytes before `Screen.passed`."""
_u1, _u2, _u4, _i4 = np.uint8, np.uint16, np.uint32, np.int32
_NARROW_CAP = 20
_NARROW_FLAG = 1024
_WIDE_CAP = 8191
_WIDE_ONE = 1 << 19
_WIDE_FLAG = 1 << 25

_SLACK = 0.998
"""Single precision is good to 1e-6 here; more room lets hardly more pixels pass."""
_NOTHING = np.float32(0)
_CANCELLATION = np.float32(1e-6)
"""Rounding error of m y - x², relative to its terms, with a margin."""


class Screen(NamedTuple):
    """The numbers of the tests, and memory for a few rows of one image width.

    Rows of codes have HALF columns of zeros on either side.
    """

    signal: np.uint16
    """Sixteenths of counts by which y must at least exceed x² / 49, for each count."""
    strong: np.uint16
    """(49 v - x)² must exceed 16 times this, for each count of x."""
    signal_variance: np.float32
    """2 sigma_background²."""
    strong_variance: np.float32
    """sigma_strong²."""
    narrow: Shorts
    """The last 8 rows of codes, and a row of zeros."""
    narrow_sums: Shorts
    """Sums over 7 rows: codes, squares; then the windows' sums of both."""
    wide: Words
    wide_sums: Words
    passed: Bytes
    """1 where a pixel passed, behind 8 bytes of margin; a whole number of 8 bytes."""
    kept: Bytes
    """What is left of it, without the margin; for dispersion_extended."""


def make_screen(threshold: Threshold, width: int) -> Screen:
    """Prepare the tests of a threshold (kernel (3, 3), no gain) for a row width."""
    margin = 1e-6
    excess = min(
        (m - 1 + threshold.sigma_background * sqrt(2 * (m - 1))) / m
        for m in range(threshold.min_count, WINDOW + 1)
    )
    strong = threshold.sigma_strong**2 * WINDOW / 16
    n_words = (width + 7) // 8
    return Screen(
        # 66 is the most that keeps the products below 2**16
        signal=_u2(min(floor(16 * excess - margin), 66)),
        strong=_u2(min(max(floor(strong - margin), 0), 66)),
        signal_variance=np.float32(_SLACK * 2 * threshold.sigma_background**2),
        strong_variance=np.float32(_SLACK * threshold.sigma_strong**2),
        narrow=np.zeros((9, width + 2 * HALF), np.uint16),
        narrow_sums=np.zeros((4, width + 2 * HALF), np.uint16),
        wide=np.zeros((9, width + 2 * HALF), np.uint32),
        wide_sums=np.zeros((4, width + 2 * HALF), np.uint32),
        passed=np.zeros(8 * (n_words + 2), np.uint8),
        kept=np.zeros(8 * n_words, np.uint8),
    )


@njit(cache=True, nogil=True)
def encode_narrow(frame: Frame, j: int, code: Shorts) -> None:
    """Set the narrow codes of detector row j in `code`, a row with its margins."""
    pixels = frame.pixels
    row, inner = pixels[j], code[HALF:-HALF]
    lowest, span = frame.limits[0], frame.limits[1]
    top = pixels.dtype.type(0)
    for i in range(row.size):
        usable = pixels.dtype.type(row[i] - lowest) <= span
        count = row[i] if usable else pixels.dtype.type(0)
        top = max(top, count)
        above = _u2(_NARROW_FLAG + _NARROW_CAP)
        if count >= COUNT_LIMIT:
            above = _u2(_NARROW_FLAG)
        inner[i] = _u2(count) if count <= _NARROW_CAP else above
    fill_runs(inner, frame.runs, j, 0)
    frame.tops[j] = top


@njit(cache=True, nogil=True)
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
        above = _u4(_WIDE_FLAG + _WIDE_ONE + _WIDE_CAP)
        if count >= COUNT_LIMIT:
            above = _u4(_WIDE_FLAG)
        low = _u4(_u4(count) + _u4(_WIDE_ONE))
        inner[i] = (low if count <= _WIDE_CAP else above) if usable else _u4(0)
    fill_runs(inner, frame.runs, j, 0)
    frame.tops[j] = top


@njit(cache=True, nogil=True)
def slide_narrow(new: Shorts, old: Shorts, sums: Shorts) -> None:
    """Move the sums over 7 rows of narrow codes one row on."""
    codes, squares = sums[0], sums[1]
    for i in range(new.size):
        codes[i] = _u2(codes[i] + new[i] - old[i])
        squares[i] = _u2(squares[i] + _u2(new[i] * new[i]) - _u2(old[i] * old[i]))


@njit(cache=True, nogil=True)
def slide_wide(new: Words, old: Words, sums: Words) -> None:
    """Move the sums over 7 rows of wide codes one row on."""
    codes, squares = sums[0], sums[1]
    for i in range(new.size):
        codes[i] = _u4(codes[i] + new[i] - old[i])
        a, b = _u4(new[i] & _u4(_WIDE_CAP)), _u4(old[i] & _u4(_WIDE_CAP))
        squares[i] = _u4(squares[i] + _u4(a * a) - _u4(b * b))


@njit(cache=True, nogil=True)
def sum_rows_narrow(codes: Shorts, j: int, sums: Shorts) -> None:
    """Set the sums over rows j - 3 to j + 3 of a ring of 8 rows of narrow codes."""
    r0, r1, r2, r3 = (
        codes[(j - 3) % 8],
        codes[(j - 2) % 8],
        codes[(j - 1) % 8],
        codes[j % 8],
    )
    r4, r5, r6 = codes[(j + 1) % 8], codes[(j + 2) % 8], codes[(j + 3) % 8]
    total = sums[0]
    for i in range(total.size):
        total[i] = _u2(r0[i] + r1[i] + r2[i] + r3[i] + r4[i] + r5[i] + r6[i])
    total = sums[1]
    for i in range(total.size):
        first = _u2(_u2(r0[i] * r0[i]) + _u2(r1[i] * r1[i]) + _u2(r2[i] * r2[i]))
        last = _u2(_u2(r4[i] * r4[i]) + _u2(r5[i] * r5[i]) + _u2(r6[i] * r6[i]))
        total[i] = _u2(first + last + _u2(r3[i] * r3[i]))


@njit(cache=True, nogil=True)
def sum_windows(sums: npt.NDArray[np.unsignedinteger]) -> None:
    """Add 7 neighbours of `sums[0]` and `sums[1]` into `sums[2]` and `sums[3]`.

    The sum around column i goes to i, no longer to i + HALF.
    """
    n = sums.shape[1] - 2 * HALF
    for k in range(2):
        s0, s1, s2, s3 = sums[k, :n], sums[k, 1:], sums[k, 2:], sums[k, 3:]
        s4, s5, s6 = sums[k, 4:], sums[k, 5:], sums[k, 6:]
        total = sums[k + 2]
        for i in range(n):
            total[i] = sums.dtype.type(
                s0[i] + s1[i] + s2[i] + s3[i] + s4[i] + s5[i] + s6[i]
            )


@njit(cache=True, nogil=True)
def _signal_narrow(x: np.uint16, squares: np.uint16, per_count: np.uint16) -> bool:
    """Test a full window without flags: y > x² / 49 + x * per_count / 16."""
    quarter = _u2(x >> _u2(2))
    square = _u2(quarter * quarter)  # 0.32 x²/16 = x² / 49.9
    limit = (square >> _u2(2)) + (square >> _u2(4)) + (square >> _u2(7))
    return bool(squares > _u2(limit + (_u2(x * per_count) >> _u2(4))))


@njit(cache=True, nogil=True)
def _split_wide(code: np.uint32) -> tuple[np.float32, np.float32]:
    """Return the number of pixels and the sum of counts in a window."""
    m = _i4((code >> _u4(19)) & _u4(63))
    return np.float32(m), np.float32(_i4(code & _u4(_WIDE_ONE - 1)))


@njit(cache=True, nogil=True)
def _to_single(squares: np.uint32) -> np.float32:
    """Return a sum of squares, rounded up to odd: signed integers convert faster."""
    return np.float32(_i4(squares >> _u4(1))) * np.float32(2) + np.float32(1)


@njit(cache=True, nogil=True)
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
def pass_signal_narrow(screen: Screen) -> None:
    """Set `passed` to 1 where the window may be signal, from the windows' sums."""
    passed = screen.passed[_MARGIN:]
    codes, squares = screen.narrow_sums[2], screen.narrow_sums[3]
    per_count, flag = screen.signal, _u2(_NARROW_FLAG)
    for i in range(codes.size - 2 * HALF):
        x = codes[i]
        signal = _signal_narrow(x, squares[i], per_count)
        passed[i] = _u1(signal | (x >= flag))


@njit(cache=True, nogil=True)
def pass_signal_wide(screen: Screen) -> None:
    """Set `passed` as `pass_signal_narrow` does, from wide sums."""
    passed = screen.passed[_MARGIN:]
    codes, squares = screen.wide_sums[2], screen.wide_sums[3]
    variance = screen.signal_variance
    for i in range(codes.size - 2 * HALF):
        m, x = _split_wide(codes[i])
        signal = _signal_wide(m, x, _to_single(squares[i]), variance)
        passed[i] = _u1(signal | (codes[i] >= _u4(_WIDE_FLAG)))


@njit(cache=True, nogil=True)
def pass_strong_narrow(screen: Screen, centre: Shorts) -> None:
    """Set `passed` to 1 where a pixel may be strong, from the windows' sums.

    Args:
        screen: what is tested and where the result goes.
        centre: codes of the tested row, with their margins.
    """
    passed = screen.passed[_MARGIN:]
    codes, squares = screen.narrow_sums[2], screen.narrow_sums[3]
    per_count, strong, flag = screen.signal, screen.strong, _u2(_NARROW_FLAG)
    values = centre[HALF:]
    for i in range(codes.size - 2 * HALF):
        x = _u2(codes[i] & _u2(_NARROW_FLAG - 1))
        signal = _signal_narrow(x, squares[i], per_count) | (codes[i] >= flag)
        scaled = _u2(values[i] * _u2(WINDOW))
        over = _u2((_u2(scaled - x) >> _u2(2)) + _u2(1))
        above = (scaled > x) & (_u2(over * over) > _u2(x * strong))
        passed[i] = _u1(signal & (above | (values[i] >= flag)))


@njit(cache=True, nogil=True)
def pass_strong_wide(screen: Screen, centre: Words) -> None:
    """Set `passed` as `pass_strong_narrow` does, from wide sums and codes."""
    passed = screen.passed[_MARGIN:]
    codes, squares = screen.wide_sums[2], screen.wide_sums[3]
    signal_variance, strong_variance = screen.signal_variance, screen.strong_variance
    values = centre[HALF:]
    for i in range(codes.size - 2 * HALF):
        m, x = _split_wide(codes[i])
        signal = _signal_wide(m, x, _to_single(squares[i]), signal_variance)
        signal |= codes[i] >= _u4(_WIDE_FLAG)
        value = np.float32(_i4(values[i] & _u4(_WIDE_CAP)))
        over = np.float32(m * value - x)
        above = (over > _NOTHING) & (over * over > strong_variance * x * m)
        passed[i] = _u1(signal & (above | (values[i] >= _u4(_WIDE_FLAG))))


@njit(cache=True, nogil=True)
def list_passed(screen: Screen, first: int, found: Indices, n_found: int) -> int:
    """Append the passed pixels of a row to `found`, which must have room for them.

    Args:
        screen: the row that was tested.
        first: flat index of the row's first pixel.
        found: flat indices.
        n_found: how many there are already.

    Returns:
        How many there are now.
    """
    passed = screen.passed[_MARGIN:]
    words = passed.view(np.uint64)
    for k in range(words.size):
        if words[k] != 0:
            for i in range(8 * k, 8 * k + 8):
                if passed[i]:
                    found[n_found] = first + i
                    n_found += 1
    return n_found


@njit(cache=True, nogil=True)
def pass_unusable(frame: Frame, j: int, screen: Screen) -> None:
    """Let the unusable pixels of detector row j pass, whatever their windows."""
    row, passed = frame.pixels[j], screen.passed[_MARGIN:]
    lowest, span = frame.limits[0], frame.limits[1]
    for i in range(row.size):
        passed[i] |= _u1(row.dtype.type(row[i] - lowest) > span)
    fill_runs(passed, frame.runs, j, 1)


@njit(cache=True, nogil=True)
def keep_runs(screen: Screen) -> int:
    """Set `kept` where all within REACH in the row passed; return how many those are.

    What is outside of the image counts as passed.
    """
    n = screen.narrow.shape[1] - 2 * HALF
    passed, kept = screen.passed, screen.kept
    passed[_MARGIN - REACH : _MARGIN] = 1
    passed[_MARGIN + n : _MARGIN + n + REACH] = 1
    p0, p1, p2 = passed[_MARGIN - 2 :], passed[_MARGIN - 1 :], passed[_MARGIN:]
    p3, p4 = passed[_MARGIN + 1 :], passed[_MARGIN + 2 :]
    for i in range(n):
        kept[i] = p0[i] & p1[i] & p2[i] & p3[i] & p4[i]
    n_kept = 0
    for word in kept.view(np.uint64):
        n_kept += 8 if word else 0
    return n_kept


@njit(cache=True, nogil=True)
def next_span(kept: Bytes, begin: int, gap: int) -> tuple[int, int]:
    """Return the first column from `begin` on that is kept, and the end of its span.

    A span goes on over up to `gap` columns that are not kept. Without a kept column,
    both are `kept.size`.
    """
    n, words = kept.size, kept.view(np.uint64)
    first = begin
    while first < n and not kept[first]:
        first += 1 if first % 8 or words[first // 8] else 8
    at = end = first
    while at < n and at <= end + gap:
        at += 1
        if kept[at - 1]:
            end = at
    return first, end
