"""Which spots lie on the powder rings of hexagonal ice."""

import functools
import math

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.inner import inner

ICE_CELL_A_ANGSTROM = 4.498
"""Edge a = b of the hexagonal cell of ice Ih, space group P6₃/mmc (no. 194)."""
ICE_CELL_C_ANGSTROM = 7.338

_MAX_RING_S = 100.0
"""Rings are listed to 1/d² = 100 Å⁻², far beyond what any detector records."""


def _is_absent(h: int, k: int, l_index: int) -> bool:
    """Whether P6₃/mmc forbids the reflection: (h h l) and (0 0 l) with l odd."""
    return l_index % 2 == 1 and h == k


@functools.lru_cache(maxsize=16)
def _rings(s_limit: float) -> npt.NDArray[np.float64]:
    """Return the rings' 1/d², ascending, at least up to `s_limit`."""
    per_hk = 4 / (3 * ICE_CELL_A_ANGSTROM**2)
    per_l = 1 / ICE_CELL_C_ANGSTROM**2
    max_h = math.ceil(math.sqrt(s_limit / per_hk))
    max_l = math.ceil(math.sqrt(s_limit / per_l))
    hk_allowed: dict[int, bool] = {}
    for h in range(max_h + 1):
        for k in range(h + 1):
            squared = h * h + h * k + k * k
            odd_l_allowed = not _is_absent(h, k, 1)
            hk_allowed[squared] = hk_allowed.get(squared, False) or odd_l_allowed
    rings = [
        per_hk * squared + per_l * l_index**2
        for squared, odd_l_allowed in hk_allowed.items()
        for l_index in range(max_l + 1)
        if (l_index % 2 == 0 or odd_l_allowed) and (squared or l_index)
    ]
    return np.unique(np.array(rings))


def ice_rings(highest_s: float) -> npt.NDArray[np.float64]:
    """Return the 1/d² of the rings of hexagonal ice, ascending, in Å⁻².

    Args:
        highest_s: up to which rings are wanted; 100 Å⁻² at most.
    """
    # the limit is rounded up so that the images of a scan share few cached tables
    wanted = max(1.0, min(_MAX_RING_S, highest_s))
    return _rings(2.0 ** math.ceil(math.log2(wanted)))


@inner
def is_on_ring(s: float, rings: npt.NDArray[np.float64], width: float) -> bool:
    """Return whether 1/d² is nearer than half of `width` to any ring."""
    low, high = 0, rings.size  # of the first ring that is not below
    while low < high:
        middle = (low + high) // 2
        if rings[middle] < s:
            low = middle + 1
        else:
            high = middle
    nearest = abs(s - rings[min(low, rings.size - 1)])
    nearest = min(nearest, abs(s - rings[max(low - 1, 0)]))
    return bool(nearest < width / 2)
