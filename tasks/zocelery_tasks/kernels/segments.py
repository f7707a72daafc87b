"""Segments of rows that cannot hold anything strong, known from their highest counts.

Where no count is above c, a sum of squares y is at most c times the sum of counts x.
Signal has y > x² / m + c x for the c of `make_screen`; so there must be a brighter
pixel in the window. In images of few counts, most segments have none nearby.
"""

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.inner import inner
from zocelery_tasks.kernels.mask_runs import SEGMENT
from zocelery_tasks.kernels.vector_copies import any_above_70

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]

_LOOK = SEGMENT + 6
"""Columns that are looked at for one: windows reach 3 further on either side."""
_u = np.uintp


def count_segments(width: int) -> int:
    """Return how many segments a row has."""
    return -(-width // SEGMENT)


@inner
def note_bright(codes: Bytes, j: int, dull: np.uint8, last: Indices) -> None:
    """Note the segments around which a row has a bright pixel.

    Args:
        codes: of the row, with margins of 3 columns.
        j: the row.
        dull: the highest code that is not bright.
        last: for each segment, set to the last row that had a bright pixel.
    """
    n_whole = (codes.size - _LOOK) // SEGMENT + 1 if codes.size >= _LOOK else 0
    for k in range(n_whole):
        if any_above_70(codes, _u(k * SEGMENT), dull):
            last[_u(k)] = j
    for k in range(n_whole, last.size):
        part = codes[k * SEGMENT : k * SEGMENT + _LOOK]
        if _highest(part, part.size) > dull:
            last[k] = j


@inner
def _highest(codes: Bytes, n: int) -> np.uint8:
    """Return the highest of the first n codes."""
    top = np.uint8(0)
    for i in range(n):
        top = max(top, codes[_u(i)])
    return top


@inner
def count_active(last: Indices, first: int) -> int:
    """Return how many segments had a bright pixel in row `first` or later."""
    count = 0
    for k in range(last.size):
        count += last[_u(k)] >= first
    return count


@inner
def next_bright(last: Indices, first: int, width: int, begin: int) -> tuple[int, int]:
    """Return the columns of the next segments in a row that are active.

    Args:
        last: the last row of each with a bright pixel.
        first: row from which on that counts.
        width: of the row.
        begin: the first column that is looked at: 0, or what was the end.

    Returns:
        The first column, and the end; both `width` without any.
    """
    k = -(-begin // SEGMENT)
    while k < last.size and last[_u(k)] < first:
        k += 1
    left = min(k * SEGMENT, width)
    while k < last.size and last[_u(k)] >= first:
        k += 1
    return left, min(k * SEGMENT, width)
