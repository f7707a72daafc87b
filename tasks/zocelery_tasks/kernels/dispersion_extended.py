"""DIALS's threshold "dispersion_extended" for the window of 7 × 7, without a gain.

A pixel can be strong only if the windows of all pixels within 2 of it are signal
(those outside of the image do not count; unusable ones are not signal up to DIALS 3.23,
and signal from 3.24 on). So of 5 rows one is screened (`screen.py`), for 5 windows in a
row that may be signal; and only around these are pixels tested as DIALS tests them all
(`signal_tiles.py`), while they are still in the processor's cache. Where the screen
lets too much pass, all pixels of the next rows are tested without it. Identical to
`summed_area.py`, and many times faster.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.inner import inner
from zocelery_tasks.kernels.patch import TILE_COLUMNS
from zocelery_tasks.kernels.screen import (
    HALF,
    Screen,
    encode_narrow,
    keep_runs,
    next_span,
    pass_signal_narrow,
    pass_unusable,
    sum_rows_narrow,
)
from zocelery_tasks.kernels.screen import (
    MARGIN as SCREEN_MARGIN,
)
from zocelery_tasks.kernels.segments import count_active, next_bright, note_bright
from zocelery_tasks.kernels.signal_tiles import (
    MARGIN,
    MOST_ROWS,
    TileMemory,
    list_strong,
    mark_signal,
    mark_strong,
)
from zocelery_tasks.kernels.threshold import Threshold
from zocelery_tasks.kernels.wide_screen import (
    RING,
    decide_signal,
    encode_wide,
    slide_wide,
    sum_squares,
)

Indices = npt.NDArray[np.int64]

_NARROW_SHARE = 16
"""Where more than one in so many pixels pass the narrow screen, the wide is taken."""
_WIDE_BANDS = 32
"""After how many bands the narrow screen is tried again, at most: after twice as many
each time that it fails."""
_DENSE_BANDS = 48
"""After how many bands a screen is tried again."""
_GAP = 8
"""Columns between spans that are worth two tiles instead of one."""
_TILE_COST, _COLUMN_COST = 55, 3.75
"""What a tile costs, and a column of one: as much as so many columns of dense rows."""


_WIDE, _DENSE, _PATIENCE = 0, 1, 2
_MARKED, _LISTED, _FOUND = 0, 1, 2
"""What is counted while bands are gone through, see below."""


@njit(cache=True, nogil=True)
def find_dispersion_extended(
    frame: Frame,
    threshold: Threshold,
    screen: Screen,
    memory: TileMemory,
    found: Indices,
) -> int:
    """List the strong pixels of an image.

    Args:
        frame: the image.
        threshold: the parameters.
        screen: the tests and their memory.
        memory: for the tiles.
        found: set to flat indices, in raster order; has room for all pixels and 8 more.

    Returns:
        How many there are.
    """
    runs, groups, tiles = frame.runs, memory.groups, memory.tiles
    until, done = np.zeros(3, np.int64), np.zeros(3, np.int64)
    until[_PATIENCE] = 1
    screen.bright[:] = -9
    in_ring = np.full((2, 8), -9)
    memory.row_of_signal[:] = -1
    n_tiles, n_groups, band = 0, 0, 0
    while band < runs.first.size:
        begin, n_before = band, n_tiles
        if band < until[_DENSE]:
            band = _end_of_strip(frame, begin)
            n_tiles = _cut_all(frame, begin, band, tiles, n_before)
        else:
            band += 1
            if _choose_columns(frame, threshold, screen, begin, until, in_ring) > 0:
                n_tiles = _cut_tiles(frame, screen, begin, tiles, n_before)
            if n_tiles < 0:
                until[_DENSE] = band + _DENSE_BANDS
                n_tiles = _cut_all(frame, begin, band, tiles, n_before)
        # a band later, the rows around the tiles are in the cache
        _work_on(frame, threshold, memory, n_groups, runs.first[begin], done, found)
        if n_tiles > n_before:
            groups[n_groups] = n_before, n_tiles, runs.first[begin], runs.last[band - 1]
            n_groups += 1
    end = frame.pixels.shape[0] + MARGIN
    _work_on(frame, threshold, memory, n_groups, end, done, found)
    return int(done[_FOUND])


@inner
def _work_on(
    frame: Frame,
    threshold: Threshold,
    memory: TileMemory,
    n_groups: int,
    end: int,
    done: Indices,
    found: Indices,
) -> None:
    """Mark the signal of all groups; list the strong pixels of those that are ready.

    Args:
        frame: the image.
        threshold: the parameters.
        memory: with the groups and their tiles.
        n_groups: how many there are.
        end: the first detector row whose signal is not marked then.
        done: how many groups are marked, how many listed, and how many pixels found.
        found: flat indices.
    """
    groups = memory.groups
    for group in range(done[_MARKED], n_groups):
        first, last = groups[group, 0], groups[group, 1]
        mark_signal(frame, threshold, memory, first, last)
    done[_MARKED] = n_groups
    while done[_LISTED] < n_groups and groups[done[_LISTED], 3] + MARGIN < end:
        first, last = groups[done[_LISTED], 0], groups[done[_LISTED], 1]
        mark_strong(frame, threshold, memory, first, last)
        done[_FOUND] = list_strong(memory, first, last, found, done[_FOUND])
        done[_LISTED] += 1


@inner
def _choose_columns(
    frame: Frame,
    threshold: Threshold,
    screen: Screen,
    band: int,
    until: Indices,
    in_ring: Indices,
) -> int:
    """Set `screen.kept` for a band by the narrow screen, or the wide where that fails.

    Args:
        frame: the image.
        threshold: the parameters.
        screen: the tests and their memory.
        band: its number in the frame's runs.
        until: first, until which band only the wide screen is tried; last, for how
            many it is next.
        in_ring: the rows whose codes the screens hold, kept from call to call.

    Returns:
        How many columns are kept, roughly.
    """
    n_kept = 0
    if band >= until[_WIDE]:
        n_kept = _screen_band(frame, threshold, screen, band, False, in_ring[0])
        if n_kept > frame.pixels.shape[1] // _NARROW_SHARE:
            until[_WIDE] = band + until[_PATIENCE]
            until[_PATIENCE] = min(2 * until[_PATIENCE], _WIDE_BANDS)
        else:
            until[_PATIENCE] = 1
    if band < until[_WIDE]:
        n_kept = _screen_band(frame, threshold, screen, band, True, in_ring[1])
    return n_kept


@inner
def _end_of_strip(frame: Frame, band: int) -> int:
    """Return the end of the bands that fit into MOST_ROWS from `band` on."""
    runs = frame.runs
    end = band + 1
    while end < runs.first.size and runs.last[end] - runs.first[band] < MOST_ROWS:
        end += 1
    return end


@inner
def _cut_all(frame: Frame, begin: int, end: int, tiles: Indices, count: int) -> int:
    """Append a tile of all columns of bands `begin` to `end` (excluded) to others.

    Returns:
        How many tiles there are.
    """
    first, last = frame.runs.first[begin], frame.runs.last[end - 1]
    tiles[count] = first, last, 0, frame.pixels.shape[1], 1
    return count + 1


@inner
def _screen_band(
    frame: Frame,
    threshold: Threshold,
    screen: Screen,
    band: int,
    wide: bool,
    in_ring: Indices,
) -> int:
    """Screen the lattice row of a band; return how many columns it keeps, roughly.

    Args:
        frame: the image.
        threshold: the parameters.
        screen: the tests and their memory.
        band: its number in the frame's runs.
        wide: which test.
        in_ring: the rows whose codes the screen holds, kept from call to call.
    """
    lattice = frame.runs.lattice[band]
    if wide:
        _screen_wide(frame, screen, lattice, in_ring)
    else:
        _screen_narrow(frame, screen, lattice, in_ring)
    if threshold.masked_pixels_block_erosion:
        return keep_runs(screen)
    pass_unusable(frame, lattice, screen)
    keep_runs(screen)
    return _drop_dead_columns(frame, screen, band)


@inner
def _screen_narrow(
    frame: Frame, screen: Screen, lattice: int, in_ring: Indices
) -> None:
    """Screen a row by the narrow test."""
    codes = screen.narrow
    for j in range(lattice - HALF, lattice + HALF + 1):
        slot = j % 8
        if in_ring[slot] != j:
            in_ring[slot] = j
            if 0 <= j < frame.pixels.shape[0]:
                encode_narrow(frame, j, codes[slot])
                note_bright(codes[slot], j, screen.dull, screen.bright)
            else:
                codes[slot] = 0
    screen.passed[SCREEN_MARGIN:] = 0
    bright, top, n = screen.bright, lattice - HALF, frame.pixels.shape[1]
    begin, end = 0, n
    if 2 * count_active(bright, top) < bright.size:
        begin, end = next_bright(bright, top, n, 0)
    while begin < end:
        sum_rows_narrow(codes, lattice, screen.narrow_sums, begin, end)
        pass_signal_narrow(screen, begin, end)
        begin, end = next_bright(bright, top, n, end)


@inner
def _screen_wide(frame: Frame, screen: Screen, lattice: int, in_ring: Indices) -> None:
    """Screen a row by the wide test."""
    wide, n_rows = screen.wide, frame.pixels.shape[0]
    wide.sums[:] = 0
    for j in range(max(lattice - HALF, 0), min(lattice + HALF + 1, n_rows)):
        slot = j % RING
        if in_ring[slot] != j:
            in_ring[slot] = j
            encode_wide(frame, wide, j)
        slide_wide(wide, slot, RING)
    sum_squares(wide, lattice, n_rows)
    passed = screen.passed[SCREEN_MARGIN:]
    decide_signal(wide, passed)
    for i in range(passed.size):  # an unsure window passes like any other
        passed[i] = np.uint8(passed[i] != 0)


@inner
def _drop_dead_columns(frame: Frame, screen: Screen, band: int) -> int:
    """Keep no column without a usable pixel in the band; return how many are kept."""
    runs, lattice = frame.runs, frame.runs.lattice[band]
    first, last = runs.first[band], runs.last[band]
    for k in range(runs.of_row[lattice], runs.of_row[lattice + 1]):
        for i in range(runs.start[k], runs.stop[k]):
            if screen.kept[i]:
                screen.kept[i] = frame.usable[first : last + 1, i].any()
    n_kept = 0
    for word in screen.kept.view(np.uint64):
        n_kept += 8 if word else 0
    return n_kept


@inner
def _cut_tiles(
    frame: Frame, screen: Screen, band: int, tiles: Indices, count: int
) -> int:
    """Append tiles of what was kept of a lattice row, to `count` others.

    Returns:
        How many tiles there are; -1 if all columns cost less.
    """
    n, runs, cost = frame.pixels.shape[1], frame.runs, 0.0
    first, last = runs.first[band], runs.last[band]
    left, end = next_span(screen.kept, 0, _GAP)
    while left < n and cost <= n:
        right = min(end, left + TILE_COLUMNS)
        tiles[count] = first, last, left, right, 0
        count += 1
        cost += _TILE_COST + _COLUMN_COST * (right - left)
        left = right
        if right == end:
            left, end = next_span(screen.kept, end, _GAP)
    return count if cost <= n else -1
