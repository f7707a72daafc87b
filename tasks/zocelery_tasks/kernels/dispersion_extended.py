"""DIALS's threshold "dispersion_extended" for the window of 7 × 7, without a gain.

A pixel can be strong only if the windows of all pixels within 2 of it are signal
(those outside of the image do not count; unusable ones are not signal up to DIALS 3.23,
and signal from 3.24 on). So of 5 rows one is screened (`screen.py`), for 5 windows in a
row that may be signal; and only around these are pixels tested as DIALS tests them all
(`signal_tiles.py`), while they are still in the processor's cache. Identical to
`summed_area.py`, and many times faster.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.screen import (
    HALF,
    Screen,
    encode_narrow,
    encode_wide,
    keep_runs,
    next_span,
    pass_signal_narrow,
    pass_signal_wide,
    pass_unusable,
    slide_wide,
    sum_rows_narrow,
    sum_windows,
)
from zocelery_tasks.kernels.signal_tiles import (
    MARGIN,
    TileMemory,
    list_strong,
    make_tile_memory,
    mark_signal,
)
from zocelery_tasks.kernels.threshold import Threshold

Indices = npt.NDArray[np.int64]

_NARROW_SHARE = 16
"""Where more than one in so many pixels pass the narrow screen, the wide is taken."""
_WIDE_BANDS = 32
"""After how many bands the narrow screen is tried again."""
_TILE_SHARE = 4
"""Tiles may take up to one in so many pixels; beyond, a screen is of no use."""
_GAP = 8
"""Columns between spans that are worth two tiles instead of one."""


def make_room(shape: tuple[int, int]) -> tuple[TileMemory, Indices]:
    """Make memory and room for the results of `find_dispersion_extended`."""
    n_found = shape[0] * shape[1] // _TILE_SHARE + 8 * shape[1]
    return make_tile_memory(shape), np.empty(n_found, np.int64)


@njit(cache=True, nogil=True)
def find_dispersion_extended(
    frame: Frame,
    threshold: Threshold,
    screen: Screen,
    memory: TileMemory,
    found: Indices,
) -> int:
    """List the strong pixels of an image, in no order.

    Args:
        frame: the image.
        threshold: the parameters.
        screen: the tests and their memory.
        memory: for the tiles; see `make_room`.
        found: set to flat indices; see `make_room`.

    Returns:
        How many there are, or -1 if the image is not for this way.
    """
    n_found, n_cut, n_marked, n_listed, area, wide_until = 0, 0, 0, 0, 0, 0
    n, first = frame.pixels.shape[1], frame.runs.first
    in_ring = np.full((2, 8), -9)
    for band in range(first.size):
        n_before, n_kept = n_cut, n
        if band >= wide_until:
            n_kept = _screen_band(frame, threshold, screen, band, False, in_ring[0])
            if n_kept > n // _NARROW_SHARE:
                wide_until = band + _WIDE_BANDS
        if band < wide_until:
            n_kept = _screen_band(frame, threshold, screen, band, True, in_ring[1])
        if n_kept > 0:
            n_more, more = _cut_tiles(frame, screen, band, memory.tiles[n_cut:])
            n_cut, area = n_cut + n_more, area + more
            if area > frame.pixels.size // _TILE_SHARE or n_cut > len(memory.tiles) - n:
                _forget(memory, n_marked)
                return -1
        _mark(frame, threshold, memory, n_marked, n_before)
        n_marked = n_before
        n_ready = _count_ready(memory, n_listed, n_marked, first[band])
        n_found = _list(frame, threshold, memory, n_listed, n_ready, found, n_found)
        n_listed = n_ready
    _mark(frame, threshold, memory, n_marked, n_cut)
    n_found = _list(frame, threshold, memory, n_listed, n_cut, found, n_found)
    _forget(memory, n_cut)
    return n_found


@njit(cache=True, nogil=True)
def _mark(
    frame: Frame, threshold: Threshold, memory: TileMemory, begin: int, end: int
) -> None:
    """Mark the signal of tiles `begin` to `end` (excluded)."""
    for k in range(begin, end):
        mark_signal(frame, threshold, memory, memory.tiles[k])


@njit(cache=True, nogil=True)
def _count_ready(memory: TileMemory, n_listed: int, n_marked: int, row: int) -> int:
    """Return how many tiles have no background in row `row` or below, from the first.

    Args:
        memory: with the tiles.
        n_listed: how many certainly are ready.
        n_marked: how many can be.
        row: the first detector row whose signal has not been marked.
    """
    while n_listed < n_marked and memory.tiles[n_listed, 1] + MARGIN < row:
        n_listed += 1
    return n_listed


@njit(cache=True, nogil=True)
def _list(
    frame: Frame,
    threshold: Threshold,
    memory: TileMemory,
    begin: int,
    end: int,
    found: Indices,
    n_found: int,
) -> int:
    """Append the strong pixels of tiles to `found`; return how many there are then."""
    for k in range(begin, end):
        tile = memory.tiles[k]
        n_found = list_strong(frame, threshold, memory, tile, found, n_found)
    return n_found


@njit(cache=True, nogil=True)
def _forget(memory: TileMemory, n_tiles: int) -> None:
    """Clear the signal of the first `n_tiles` tiles."""
    for k in range(n_tiles):
        tile = memory.tiles[k]
        memory.signal[tile[0] : tile[1] + 1, tile[2] : tile[3]] = False


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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
            else:
                codes[slot] = 0
    sum_rows_narrow(codes, lattice, screen.narrow_sums)
    sum_windows(screen.narrow_sums)
    pass_signal_narrow(screen)


@njit(cache=True, nogil=True)
def _screen_wide(frame: Frame, screen: Screen, lattice: int, in_ring: Indices) -> None:
    """Screen a row by the wide test."""
    codes, nothing = screen.wide, screen.wide[8]
    screen.wide_sums[:2] = 0
    for j in range(lattice - HALF, lattice + HALF + 1):
        slot = j % 8
        if 0 <= j < frame.pixels.shape[0]:
            if in_ring[slot] != j:
                in_ring[slot] = j
                encode_wide(frame, j, codes[slot])
            slide_wide(codes[slot], nothing, screen.wide_sums)
    sum_windows(screen.wide_sums)
    pass_signal_wide(screen)


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _cut_tiles(
    frame: Frame, screen: Screen, band: int, tiles: Indices
) -> tuple[int, int]:
    """Make tiles of what was kept of a lattice row.

    Returns:
        How many tiles were made, and their area.
    """
    n, runs = frame.pixels.shape[1], frame.runs
    first, last, lattice = runs.first[band], runs.last[band], runs.lattice[band]
    count, area = 0, 0
    left, right = next_span(screen.kept, 0, _GAP)
    while left < n:
        tile = tiles[count]
        tile[0], tile[1], tile[2], tile[3], tile[4] = first, last, left, right, lattice
        count += 1
        area += (last + 1 - first) * (right - left)
        left, right = next_span(screen.kept, right, _GAP)
    return count, area
