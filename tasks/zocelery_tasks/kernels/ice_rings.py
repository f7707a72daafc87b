"""Which spots lie on the powder rings of hexagonal ice."""

import functools
import math

import numpy as np
import numpy.typing as npt

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


def on_ice_ring(
    s: npt.NDArray[np.float64], width: float = 0.004
) -> npt.NDArray[np.bool_]:
    """Tell for each spot whether it lies on a ring of hexagonal ice.

    Args:
        s: 1/d² of the spots in Å⁻².
        width: full width of a ring in Å⁻²; a spot counts as ice if it is nearer
            than half of it to any allowed reflection.

    Returns:
        A flag for each spot. Beyond 0.1 Å no spot is flagged.
    """
    if not len(s):
        return np.zeros(0, dtype=bool)
    # the limit is rounded up so that the images of a scan share few cached tables
    wanted = min(float(s.max()) + width / 2, _MAX_RING_S)
    rings = _rings(2.0 ** math.ceil(math.log2(max(wanted, 1.0))))
    above = np.searchsorted(rings, s)
    nearest = np.minimum(
        np.abs(s - rings[np.minimum(above, len(rings) - 1)]),
        np.abs(s - rings[np.maximum(above - 1, 0)]),
    )
    return np.asarray(nearest < width / 2)
