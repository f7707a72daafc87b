"""A detector mask as runs of unusable pixels, made once and used for many images."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.inner import inner

Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

REACH = 2
"""Pixels of dispersion_extended's erosion for the window of 7 × 7: a pixel can only be
strong when all those around it, up to this distance, are signal."""
SEGMENT = 64
"""Columns of a segment."""
_HALF = 3
"""Half size of the window."""
_BLOCK = 64
"""Pixels of a row that are looked at together while searching for a run's end."""


class MaskRuns(NamedTuple):
    """Where a mask is False, and which rows are worth a look.

    Rows are gathered into bands of up to 2 REACH + 1. Every usable pixel of a band is
    within REACH rows of the band's `lattice` row, so that what the lattice row does not
    allow, none of the band's pixels can be. Rows without usable pixels are in no band.
    """

    start: Indices
    """First column of each run, rows one after the other."""
    stop: Indices
    """One past the last column of each run."""
    of_row: Indices
    """Shape (rows + 1,): row j has the runs of_row[j] to of_row[j + 1]."""
    lattice: Indices
    """The row of each band that is screened."""
    first: Indices
    """First row of each band."""
    last: Indices
    """Last row of each band, included."""
    clear: Mask
    """Shape (rows, segments): where all windows around pixels are usable pixels."""
    all_usable: Mask
    """Shape (7, 8): True, as the mask of such a window."""


def find_mask_runs(usable: Mask) -> MaskRuns:
    """Find the runs of a mask (slow, fast), True where pixels are usable."""
    of_row = np.zeros(usable.shape[0] + 1, np.int64)
    _count_runs(usable, of_row)
    start = np.empty(of_row[-1], np.int64)
    stop = np.empty(of_row[-1], np.int64)
    _list_runs(usable, of_row, start, stop)
    clear = np.ones((usable.shape[0], -(-usable.shape[1] // SEGMENT)), np.bool_)
    _note_clear(start, stop, of_row, clear)
    all_usable = np.ones((2 * _HALF + 1, 2 * _HALF + 2), np.bool_)
    for array in (clear, all_usable):
        array.flags.writeable = False
    bands = _find_bands(usable)
    return MaskRuns(start, stop, of_row, *bands, clear, all_usable)


@njit(cache=True, nogil=True)
def _count_runs(usable: Mask, of_row: Indices) -> None:
    """Set `of_row` (rows + 1,) of `MaskRuns`."""
    n_rows, n = usable.shape
    for j in range(n_rows):
        row, later = usable[j], usable[j, 1:]
        count = np.int64(not row[0])
        for i in range(n - 1):
            count += row[i] & (not later[i])
        of_row[j + 1] = of_row[j] + count


@njit(cache=True, nogil=True)
def _list_runs(usable: Mask, of_row: Indices, start: Indices, stop: Indices) -> None:
    """Set `start` and `stop` of `MaskRuns`."""
    for j in range(usable.shape[0]):
        at = 0
        for k in range(of_row[j], of_row[j + 1]):
            start[k] = _end_of_run(usable[j], at, True)
            stop[k] = at = _end_of_run(usable[j], start[k], False)


@njit(cache=True, nogil=True)
def _note_clear(start: Indices, stop: Indices, of_row: Indices, clear: Mask) -> None:
    """Take from `clear` the segments that have an unusable pixel in a window."""
    n_rows, n_segments = clear.shape
    for j in range(n_rows):
        top, end = max(j - _HALF, 0), min(j + _HALF + 1, n_rows)
        for k in range(of_row[j], of_row[j + 1]):
            left = max(start[k] - _HALF, 0) // SEGMENT
            right = min((stop[k] - 1 + _HALF) // SEGMENT + 1, n_segments)
            clear[top:end, left:right] = False


@inner
def _end_of_run(row: Mask, begin: int, value: bool) -> int:
    """Return the first column from `begin` on where `row` is not `value`."""
    n, at = row.size, begin
    while at + _BLOCK <= n:
        same = True
        for i in range(_BLOCK):
            same &= row[np.uintp(at) + np.uintp(i)] == value
        if not same:
            break
        at += _BLOCK
    while at < n and row[at] == value:
        at += 1
    return at


@njit(cache=True, nogil=True)
def _find_bands(usable: Mask) -> tuple[Indices, Indices, Indices]:
    """Cover the rows that have usable pixels by bands, from the first row on."""
    n = usable.shape[0]
    alive = np.empty(n, np.bool_)
    for j in range(n):
        alive[j] = usable[j].any()
    bands = np.empty((3, n), np.int64)
    count = 0
    row = 0
    while row < n:
        if alive[row]:
            lattice = _last_alive(alive, row)
            last = _last_alive(alive, lattice)
            bands[0, count], bands[1, count], bands[2, count] = lattice, row, last
            count += 1
            row = last
        row += 1
    return bands[0, :count].copy(), bands[1, :count].copy(), bands[2, :count].copy()


@inner
def _last_alive(alive: Mask, row: int) -> int:
    """Return the last alive row within REACH rows after `row`, itself included."""
    last = min(row + REACH, alive.size - 1)
    while not alive[last]:
        last -= 1
    return last


@inner
def fill_runs(
    row: npt.NDArray[np.generic], runs: MaskRuns, slow: int, value: int
) -> None:
    """Set the unusable pixels of detector row `slow` in `row` (fast,) to `value`."""
    for k in range(runs.of_row[slow], runs.of_row[slow + 1]):
        row[runs.start[k] : runs.stop[k]] = value
