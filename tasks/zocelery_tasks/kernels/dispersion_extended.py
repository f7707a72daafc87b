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
_LAG = 2
"""Bands that lie between a tile and the last one that can touch its background."""


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
    n_bands = frame.runs.lattice.size
    in_narrow, in_wide = np.full(8, -9), np.full(8, -9)
    tiles = memory.tiles
    area, wide_until, n_found = 0, 0, 0
    n_cut, n_marked, n_listed = 0, 0, 0
    for band in range(n_bands):
        ...
    return n_found


@njit(cache=True, nogil=True)
def _screen_narrow(
    pixels: Pixels,
    runs: MaskRuns,
    limits: Pixels,
    screen: Screen,
    tops: Indices,
    band: int,
    in_ring: Indices,
) -> None:
    """Screen the lattice row of a band; `in_ring` says which rows have codes."""
    lattice, codes = runs.lattice[band], screen.narrow
    for j in range(lattice - HALF, lattice + HALF + 1):
        slot = j % 8
        if in_ring[slot] != j:
            in_ring[slot] = j
            if 0 <= j < pixels.shape[0]:
                tops[j] = encode_narrow(pixels, runs, limits, j, codes[slot])
            else:
                codes[slot] = 0
    sum_rows_narrow(codes, lattice, screen.narrow_sums)
    sum_windows(screen.narrow_sums)
    pass_signal_narrow(screen)


@njit(cache=True, nogil=True)
def _screen_wide(
    pixels: Pixels,
    runs: MaskRuns,
    limits: Pixels,
    screen: Screen,
    tops: Indices,
    band: int,
    in_ring: Indices,
) -> None:
    """Screen the lattice row of a band by the wide test."""
    lattice, codes = runs.lattice[band], screen.wide
    nothing = codes[8]
    screen.wide_sums[:2] = 0
    for j in range(lattice - HALF, lattice + HALF + 1):
        slot = j % 8
        if 0 <= j < pixels.shape[0]:
            if in_ring[slot] != j:
                in_ring[slot] = j
                tops[j] = encode_wide(pixels, runs, limits, j, codes[slot])
            slide_wide(codes[slot], nothing, screen.wide_sums)
    sum_windows(screen.wide_sums)
    pass_signal_wide(screen)


@njit(cache=True, nogil=True)
def _shrink(
    pixels: Pixels,
    usable: Mask,
    runs: MaskRuns,
    limits: Pixels,
    threshold: Threshold,
    screen: Screen,
    band: int,
) -> int:
    """Keep columns with enough passed neighbours; return how many, roughly."""
    if threshold.masked_pixels_block_erosion:
        return keep_runs(screen)
    lattice = runs.lattice[band]
    pass_unusable(pixels, runs, limits, lattice, screen)
    keep_runs(screen)
    n_kept = 0
    first, last = runs.first[band], runs.last[band]
    for k in range(runs.of_row[lattice], runs.of_row[lattice + 1]):
        for i in range(runs.start[k], runs.stop[k]):
            screen.kept[i] &= usable[first : last + 1, i].any()
    for word in screen.kept.view(np.uint64):
        n_kept += 8 if word else 0
    return n_kept


@njit(cache=True, nogil=True)
def _cut_tiles(
    screen: Screen, runs: MaskRuns, band: int, tiles: Indices
) -> tuple[int, int]:
    """Make tiles of what was kept of a lattice row.

    Returns:
        How many tiles were made, and their area.
    """
    n = screen.narrow.shape[1] - 2 * HALF
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


@njit(cache=True, nogil=True)
def search_tiles(
    pixels: Pixels,
    usable: Mask,
    limits: Pixels,
    threshold: Threshold,
    memory: TileMemory,
    n_tiles: int,
    found: Indices,
) -> int:
    """List the strong pixels of the tiles, in no order.

    Args:
        pixels: counts (slow, fast), unsigned, C-contiguous.
        usable: mask (slow, fast).
        limits: see `find_tiles`.
        threshold: the parameters.
        memory: with the tiles.
        n_tiles: how many there are.
        found: flat indices; must have room for all pixels of all tiles.

    Returns:
        How many strong pixels there are.
    """
    n_found = 0
    for k in range(n_tiles):
        mark_signal(pixels, usable, limits, threshold, memory, memory.tiles[k])
    for k in range(n_tiles):
        room = found[n_found:]
        tile = memory.tiles[k]
        n_found += list_strong(pixels, usable, limits, threshold, memory, tile, room)
    for k in range(n_tiles):
        tile = memory.tiles[k]
        memory.signal[tile[0] : tile[1] + 1, tile[2] : tile[3]] = False
    return n_found
