"""The tests of `screen.py` for brighter images, which mostly settle the matter.

Each test weighs a window in single precision and knows by how much it may be wrong: the
answer is yes, no, or unsure. Only for the last, a few in a million, sums are formed
again and tested as DIALS does.

Codes have 32 bits: `2**26 + count` for usable pixels, 0 for others. Their sum over a
window is exact: the number of pixels and, up to counts of 1369568, the sum of counts.
Squares are in single precision, and 1e30 for higher counts: then so is their sum, and
all is unsure.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.inner import inner
from zocelery_tasks.kernels.mask_runs import fill_runs
from zocelery_tasks.kernels.threshold import Threshold

Bytes = npt.NDArray[np.uint8]
Singles = npt.NDArray[np.float32]
Words = npt.NDArray[np.uint32]

YES, UNSURE = 1, 2
"""Answers; else 0."""
_HALF = 3
RING = 8
"""Rows that are kept; behind them is one of zeros."""
_u, _u1, _u4, _i4, _f4 = np.uintp, np.uint8, np.uint32, np.int32, np.float32
_ONE = 1 << 26
_CAP = (_ONE - 1) // 49
_FLAG = _f4(1e30)
BELOW, ABOVE = _f4(1 - 3e-6), _f4(1 + 3e-6)
"""Twice as much as two dozen roundings come to."""
_NOTHING, _SINGLE = _f4(0), _f4(1)


class WideRows(NamedTuple):
    """The numbers of the tests, and memory for a few rows of one image width.

    Rows have 3 columns of zeros on either side.
    """

    sigma_signal: np.float32
    """sqrt(2) sigma_background."""
    sigma_strong: np.float32
    """sigma_strong."""
    min_count: np.float32
    """Pixels that a window needs."""
    lowest: np.float32
    """A strong pixel has more counts."""
    codes: Words
    """The last 8 rows, and a row of zeros."""
    squares: Singles
    """The same."""
    sums: Words
    """Of codes over 7 rows."""
    square_sums: Singles
    """Of squares over 7 rows."""


def make_wide_rows(threshold: Threshold, width: int) -> WideRows:
    """Prepare the tests of a threshold (kernel (3, 3), no gain) for a row width."""
    size = width + 2 * _HALF
    with np.errstate(over="ignore"):
        return WideRows(
            sigma_signal=_f4(sqrt(2) * threshold.sigma_background),
            sigma_strong=_f4(threshold.sigma_strong),
            min_count=_f4(threshold.min_count),
            lowest=_f4(min(np.floor(threshold.global_threshold), 2.0**24)),
            codes=np.zeros((RING + 1, size), np.uint32),
            squares=np.zeros((RING + 1, size), np.float32),
            sums=np.zeros(size, np.uint32),
            square_sums=np.zeros(size, np.float32),
        )


@inner
def take_in_wide(frame: Frame, wide: WideRows, j: int) -> None:
    """Encode detector row j, and move the sums of codes one row on to end with it.

    The ring holds the 7 rows before, or zeros.
    """
    n_rows = frame.pixels.shape[0]
    new = j % RING if j < n_rows else RING
    if j < n_rows:
        encode_wide(frame, wide, j)
    slide_wide(wide, new, (j - 7) % RING if j >= 7 else RING)


@inner
def encode_wide(frame: Frame, wide: WideRows, j: int) -> None:
    """Set codes and squares of detector row j in the ring; and its highest count."""
    pixels = frame.pixels
    row = pixels[j]
    codes = wide.codes[j % RING, _HALF:-_HALF]
    squares = wide.squares[j % RING, _HALF:-_HALF]
    lowest, span = frame.limits[0], frame.limits[1]
    top = pixels.dtype.type(0)
    for i in range(row.size):
        usable = pixels.dtype.type(row[i] - lowest) <= span
        count = row[i] if usable else pixels.dtype.type(0)
        top = max(top, count)
        capped = _u4(count) if count <= _CAP else _u4(_CAP)
        codes[i] = _u4(capped + _u4(_ONE)) if usable else _u4(0)
        value = _f4(_i4(capped))
        squares[i] = _f4(value * value) if count <= _CAP else _FLAG
    fill_runs(codes, frame.runs, j, 0)
    fill_runs(squares, frame.runs, j, 0)
    frame.tops[j] = top


@inner
def slide_wide(wide: WideRows, new: int, old: int) -> None:
    """Add one row of the ring to the sums of codes, and take one out."""
    added, removed, sums = wide.codes[new], wide.codes[old], wide.sums
    for i in range(sums.size):
        sums[i] = _u4(sums[i] + added[i] - removed[i])


@inner
def sum_squares(wide: WideRows, j: int, n_rows: int) -> None:
    """Set the sums of squares over the 7 rows around j, of n_rows in the image."""
    squares, sums = wide.squares, wide.square_sums
    r0, r1, r2, r3 = (
        squares[(j - 3) % RING if j >= 3 else RING],
        squares[(j - 2) % RING if j >= 2 else RING],
        squares[(j - 1) % RING if j >= 1 else RING],
        squares[j % RING],
    )
    r4, r5, r6 = (
        squares[(j + 1) % RING if j + 1 < n_rows else RING],
        squares[(j + 2) % RING if j + 2 < n_rows else RING],
        squares[(j + 3) % RING if j + 3 < n_rows else RING],
    )
    for i in range(sums.size):
        first = (r0[i] + r1[i]) + (r2[i] + r3[i])
        sums[i] = first + (r4[i] + r5[i]) + r6[i]


@inner
def _sum_7_codes(row: Words, at: np.uintp) -> np.uint32:
    left = _u4(row[at] + row[at + _u(1)] + row[at + _u(2)] + row[at + _u(3)])
    return _u4(left + row[at + _u(4)] + row[at + _u(5)] + row[at + _u(6)])


@inner
def _sum_7_squares(row: Singles, at: np.uintp) -> np.float32:
    left = (row[at] + row[at + _u(1)]) + (row[at + _u(2)] + row[at + _u(3)])
    return _f4(left + (row[at + _u(4)] + row[at + _u(5)]) + row[at + _u(6)])


@inner
def _weigh_signal(
    m: np.float32, x: np.float32, y: np.float32, sigma: np.float32
) -> tuple[np.float32, np.float32]:
    """Return both sides of m y > x (x + m - 1 + sqrt(m - 1) sigma)."""
    freedom = m - _SINGLE
    return m * y, x * (x + (freedom + _f4(sqrt(freedom)) * sigma))


@inner
def decide_strong(wide: WideRows, centre: Words, answers: Bytes) -> None:
    """Set the answers whether pixels are strong, where no count is too high for it.

    Args:
        wide: with the sums over the 7 rows around the row.
        centre: codes of the row, with margins.
        answers: one for each pixel.
    """
    codes, squares, values = wide.sums, wide.square_sums, centre[_HALF:]
    sigma_signal, sigma_strong = wide.sigma_signal, wide.sigma_strong
    min_count, lowest = wide.min_count, wide.lowest
    for i in range(codes.size - 2 * _HALF):
        at = _u(i)
        code, y = _sum_7_codes(codes, at), _sum_7_squares(squares, at)
        m, x = _f4(_i4(code >> _u4(26))), _f4(_i4(code & _u4(_ONE - 1)))
        value = _f4(_i4(values[at] & _u4(_ONE - 1)))
        spread, even = _weigh_signal(m, x, y, sigma_signal)
        height, ground = m * value, x + sigma_strong * _f4(sqrt(m * x))
        allowed = (m >= min_count) & (value > lowest)
        maybe = (spread >= even * BELOW) & (height >= ground * BELOW) & allowed
        yes = (spread > even * ABOVE) & (height > ground * ABOVE) & allowed
        answers[i] = _u1(_u1(maybe) + _u1(maybe ^ yes))


@inner
def decide_signal(wide: WideRows, answers: Bytes) -> None:
    """Set the answers whether windows are signal; unsure where counts are too high."""
    codes, squares, min_count = wide.sums, wide.square_sums, wide.min_count
    sigma = wide.sigma_signal
    for i in range(codes.size - 2 * _HALF):
        at = _u(i)
        code, y = _sum_7_codes(codes, at), _sum_7_squares(squares, at)
        m, x = _f4(_i4(code >> _u4(26))), _f4(_i4(code & _u4(_ONE - 1)))
        spread, even = _weigh_signal(m, x, y, sigma)
        maybe = (spread >= even * BELOW) & (m >= min_count)
        yes = (spread > even * ABOVE) & (m >= min_count)
        answers[i] = _u1(_u1(maybe) + _u1(maybe ^ yes))


@inner
def doubt(frame: Frame, wide: WideRows, j: int, answers: Bytes) -> None:
    """Make answers of row j unsure in whose windows a count is too high, if any is."""
    tops, squares, values = frame.tops, wide.square_sums, wide.codes[j % RING, _HALF:]
    highest = 0
    for k in range(max(j - _HALF, 0), min(j + _HALF + 1, tops.size)):
        highest = max(highest, tops[k])
    if highest > _CAP:
        for i in range(squares.size - 2 * _HALF):
            if _sum_7_squares(squares, _u(i)) >= _FLAG and values[i] != 0:
                answers[i] = UNSURE
