"""Cheap tests of whole rows that no strong pixel fails, for the window of 7 × 7.

Exact tests are needed for few pixels only; which, is found here in integers so small
that a vector register holds many. The tests err on the side of passing:

* Counts above a cap raise a flag in the sums, and a flagged window passes.
* A window that holds fewer than 49 usable pixels needs more excess, relative to its
  sums, than a full one; so the narrow test takes all windows for full.

Each usable pixel becomes one code, and codes are added up over the window. Here, codes
have 8 bits: a count up to 32, or 255 as a flag; `wide_screen.py` does the same for
brighter images. Unusable pixels are 0. Sums of squares are taken of the codes, modulo
the word; they are right where no flag is up. Sums have 16 bits; columns of 7 rows with
a flag become 4096 + 33 (the sum is more), so that a sum over a window has its flags
from bit 12 on.

The conditions (`threshold.py`), with m = 49 pixels, sum x, sum of squares y, value v:

    signal   y > x² / m + x (m - 1 + sigma_b sqrt(2 (m - 1))) / m
    strong   m v - x > sigma_s sqrt(m x)
"""

from math import floor, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.inner import inner
from zocelery_tasks.kernels.mask_runs import REACH, fill_runs
from zocelery_tasks.kernels.segments import count_segments
from zocelery_tasks.kernels.threshold import Threshold
from zocelery_tasks.kernels.wide_screen import WideRows, make_wide_rows

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Shorts = npt.NDArray[np.uint16]

HALF = 3
"""Half size of the window."""
WINDOW = 49

MARGIN = 8
"""Bytes before `Screen.passed`."""
_u, _u1, _u2, _u4, _i4 = np.uintp, np.uint8, np.uint16, np.uint32, np.int32
_NARROW_CAP = 32
_NARROW_FLAG = 255
_NARROW_MOST = 7 * _NARROW_CAP
"""Most that a column of 7 rows adds up to without a flag."""
_FLAGGED = 4096
_FLAGGED_COLUMN = _FLAGGED + _NARROW_CAP + 1
_BY_49 = 41
"""(41 x) (32 x) / 2**16 = x² / 49.95, and both factors have 16 bits up to x = 1568."""

_TOP = 1 << 16


class Screen(NamedTuple):
    """The numbers of the tests, and memory for a few rows of one image width.

    Rows of codes have HALF columns of zeros on either side.
    """

    signal: np.uint16
    """y must exceed x² / 49 by 41 / 2**16 times this, for each count of x."""
    dull: np.uint8
    """Where no count is above this, no window is signal; see `segments.py`."""
    bright: Indices
    """The last row of each segment that had a count above it, in narrow codes."""
    strong: np.uint16
    """41 * 40 / 2**16 (49 v - x)² must exceed this, for each count of x."""
    narrow: Bytes
    """The last 8 rows of codes, and a row of zeros."""
    narrow_sums: Shorts
    """Sums over 7 rows: codes with flags as above, squares, codes as they are."""
    wide: WideRows
    """The same for brighter images."""
    passed: Bytes
    """1 where a pixel passed, behind 8 bytes of margin; a whole number of 8 bytes."""
    kept: Bytes
    """What is left of it, without the margin; for dispersion_extended."""


def make_screen(threshold: Threshold, width: int) -> Screen:
    """Prepare the tests of a threshold (kernel (3, 3), no gain) for a row width."""
    excess = min(
        (m - 1 + threshold.sigma_background * sqrt(2 * (m - 1))) / m
        for m in range(threshold.min_count, WINDOW + 1)
    )
    strong = threshold.sigma_strong**2 * WINDOW * _BY_49 * 40 / _TOP
    most = WINDOW * _NARROW_CAP
    n_words = (width + 7) // 8
    return Screen(
        # as much as keeps the products below 2**16
        signal=_u2(min(floor(excess * _TOP / _BY_49), _TOP - 1 - 32 * most)),
        dull=_u1(min(max(floor(excess - 1e-6), 0), _NARROW_CAP)),
        bright=np.full(count_segments(width), -1),
        strong=_u2(min(max(floor(strong - 1e-6), 0), _TOP // most)),
        narrow=np.zeros((9, width + 2 * HALF), np.uint8),
        narrow_sums=np.zeros((3, width + 2 * HALF), np.uint16),
        wide=make_wide_rows(threshold, width),
        passed=np.zeros(8 * (n_words + 2), np.uint8),
        kept=np.zeros(8 * n_words, np.uint8),
    )


@inner
def encode_narrow(frame: Frame, j: int, code: Bytes) -> None:
    """Set the narrow codes of detector row j in `code`, a row with its margins."""
    pixels = frame.pixels
    row, inner = pixels[j], code[HALF:-HALF]
    lowest, span = frame.limits[0], frame.limits[1]
    top = pixels.dtype.type(0)
    for i in range(row.size):
        usable = pixels.dtype.type(row[i] - lowest) <= span
        count = row[i] if usable else pixels.dtype.type(0)
        top = max(top, count)
        inner[i] = _u1(count) if count <= _NARROW_CAP else _u1(_NARROW_FLAG)
    fill_runs(inner, frame.runs, j, 0)
    frame.tops[j] = top


@inner
def slide_narrow(new: Bytes, old: Bytes, sums: Shorts) -> None:
    """Move the sums over 7 rows of narrow codes one row on."""
    flagged, squares, codes = sums[0], sums[1], sums[2]
    for i in range(new.size):
        a, b = _u2(new[i]), _u2(old[i])
        total = _u2(codes[i] + a - b)
        codes[i] = total
        flagged[i] = total if total <= _u2(_NARROW_MOST) else _u2(_FLAGGED_COLUMN)
        squares[i] = _u2(squares[i] + _u2(a * a) - _u2(b * b))


@inner
def sum_rows_narrow(codes: Bytes, j: int, sums: Shorts, begin: int, end: int) -> None:
    """Set the sums over rows j - 3 to j + 3 of a ring of 8 rows of narrow codes.

    For the windows around columns `begin` to `end` (excluded).
    """
    end += 2 * HALF
    r0, r1, r2, r3 = (
        codes[(j - 3) % 8, begin:end],
        codes[(j - 2) % 8, begin:end],
        codes[(j - 1) % 8, begin:end],
        codes[j % 8, begin:end],
    )
    r4, r5, r6 = (
        codes[(j + 1) % 8, begin:end],
        codes[(j + 2) % 8, begin:end],
        codes[(j + 3) % 8, begin:end],
    )
    flagged, squares = sums[0, begin:end], sums[1, begin:end]
    for i in range(flagged.size):
        first = _u2(_u2(_u2(r0[i]) + _u2(r1[i])) + _u2(_u2(r2[i]) + _u2(r3[i])))
        total = _u2(first + _u2(_u2(r4[i]) + _u2(r5[i])) + _u2(r6[i]))
        flagged[i] = total if total <= _u2(_NARROW_MOST) else _u2(_FLAGGED_COLUMN)
    for i in range(squares.size):  # compilers keep track of so many arrays, not more
        a, b, c, d = _u2(r0[i]), _u2(r1[i]), _u2(r2[i]), _u2(r3[i])
        e, f, g = _u2(r4[i]), _u2(r5[i]), _u2(r6[i])
        first = _u2(_u2(_u2(a * a) + _u2(b * b)) + _u2(_u2(c * c) + _u2(d * d)))
        squares[i] = _u2(first + _u2(_u2(e * e) + _u2(f * f)) + _u2(g * g))


@inner
def sum_7_codes(row: Shorts, at: np.uintp) -> int:
    """Return the sum of 7 neighbours; the caller cuts it to the row's type."""
    left = row[at] + row[at + _u(1)] + row[at + _u(2)] + row[at + _u(3)]
    return int(left + row[at + _u(4)] + row[at + _u(5)] + row[at + _u(6)])


@inner
def _high(a: np.uint16, b: np.uint16) -> np.uint16:
    """Return a b / 2**16."""
    return _u2(_u4(_u4(a) * _u4(b)) >> _u4(16))


@inner
def _signal_narrow(x: np.uint16, squares: np.uint16, per_count: np.uint16) -> bool:
    """Test a full window: y > x² / 49 + x * per_count * 41 / 2**16, or a flag."""
    limit = _high(_u2(x * _u2(_BY_49)), _u2(_u2(x << _u2(5)) + per_count))
    return bool((squares > limit) | (x >= _u2(_FLAGGED)))


@inner
def pass_signal_narrow(screen: Screen, begin: int, end: int) -> None:
    """Set `passed` to 1 where the window may be signal, from the sums over 7 rows.

    For columns `begin` to `end` (excluded).
    """
    passed, last = screen.passed[MARGIN + begin :], end + 2 * HALF
    codes, squares = (
        screen.narrow_sums[0, begin:last],
        screen.narrow_sums[1, begin:last],
    )
    per_count = screen.signal
    for i in range(codes.size - 2 * HALF):
        x, y = _u2(sum_7_codes(codes, _u(i))), _u2(sum_7_codes(squares, _u(i)))
        passed[i] = _u1(_signal_narrow(x, y, per_count))


@inner
def pass_strong_narrow(screen: Screen, centre: Bytes, begin: int, end: int) -> None:
    """Set `passed` to 1 where a pixel may be strong, from the sums over 7 rows.

    Args:
        screen: what is tested and where the result goes.
        centre: codes of the tested row, with their margins.
        begin: the first column.
        end: one past the last.
    """
    passed, last = screen.passed[MARGIN + begin :], end + 2 * HALF
    codes, squares = (
        screen.narrow_sums[0, begin:last],
        screen.narrow_sums[1, begin:last],
    )
    values = centre[begin + HALF : end + HALF]
    per_count, strong, flag = screen.signal, screen.strong, _u2(_NARROW_FLAG)
    for i in range(codes.size - 2 * HALF):
        x, y = _u2(sum_7_codes(codes, _u(i))), _u2(sum_7_codes(squares, _u(i)))
        signal = _signal_narrow(x, y, per_count)
        value, least = _u2(values[_u(i)]), _u2(x & _u2(_FLAGGED - 1))
        scaled = _u2(value * _u2(WINDOW))
        over = _u2(scaled - least) if scaled > least else _u2(0)
        squared = _high(_u2(over * _u2(_BY_49)), _u2(over * _u2(40)))
        above = (squared >= _u2(least * strong)) | (value == flag)
        passed[i] = _u1(signal & above)


@inner
def list_passed(
    screen: Screen, first: int, found: Indices, n_found: int, begin: int, end: int
) -> int:
    """Append the passed pixels of a row to `found`, with room for them and one more.

    Args:
        screen: the row that was tested.
        first: flat index of the row's first pixel.
        found: flat indices.
        n_found: how many there are already.
        begin: the first column that is looked at, a multiple of 8.
        end: one past the last.

    Returns:
        How many there are now.
    """
    passed = screen.passed[MARGIN:]
    words = passed.view(np.uint64)
    for k in range(begin // 8, end // 8):
        if words[_u(k)] != 0:
            for i in range(8 * k, 8 * k + 8):
                found[_u(n_found)] = first + i
                n_found += passed[_u(i)]
    for i in range(max(end // 8 * 8, begin), end):
        found[_u(n_found)] = first + i
        n_found += passed[_u(i)]
    return n_found


@inner
def pass_unusable(frame: Frame, j: int, screen: Screen) -> None:
    """Let the unusable pixels of detector row j pass, whatever their windows."""
    row, passed = frame.pixels[j], screen.passed[MARGIN:]
    lowest, span = frame.limits[0], frame.limits[1]
    for i in range(row.size):
        passed[i] |= _u1(row.dtype.type(row[i] - lowest) > span)
    fill_runs(passed, frame.runs, j, 1)


@inner
def keep_runs(screen: Screen) -> int:
    """Set `kept` where all within REACH in the row passed; return how many those are.

    What is outside of the image counts as passed.
    """
    n = screen.narrow.shape[1] - 2 * HALF
    passed, kept = screen.passed, screen.kept
    passed[MARGIN - REACH : MARGIN] = 1
    passed[MARGIN + n : MARGIN + n + REACH] = 1
    p0, p1, p2 = passed[MARGIN - 2 :], passed[MARGIN - 1 :], passed[MARGIN:]
    p3, p4 = passed[MARGIN + 1 :], passed[MARGIN + 2 :]
    for i in range(n):
        kept[i] = p0[i] & p1[i] & p2[i] & p3[i] & p4[i]
    n_kept = 0
    for word in kept.view(np.uint64):
        n_kept += 8 if word else 0
    return n_kept


@inner
def next_span(kept: Bytes, begin: int, gap: int) -> tuple[int, int]:
    """Return the first column from `begin` on that is kept, and the end of its span.

    A span goes on over up to `gap` columns that are not kept. Without a kept column,
    both are `kept.size`.
    """
    n, words, first = kept.size, kept.view(np.uint64), begin
    while first < n and first % 8 and not kept[_u(first)]:
        first += 1
    if first % 8 == 0:
        word = first // 8
        while word < words.size and words[_u(word)] == 0:
            word += 1
        first = 8 * word
    while first < n and not kept[_u(first)]:
        first += 1
    at = end = first
    while at < n and at <= end + gap:
        at += 1
        if kept[at - 1]:
            end = at
    return first, end
