"""The nine per-image statistics of a list of spots."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.ice_rings import ice_rings, is_on_ring
from zocelery_tasks.kernels.inner import inner
from zocelery_tasks.kernels.resolution_limits import (
    NOT_COMPUTED,
    ResolutionLimits,
    resolution_limits,
)

Doubles = npt.NDArray[np.float64]

MIN_SPOTS_FOR_RESOLUTION = 11
"""Resolution limits are estimated from so many spots off the ice rings upwards."""

_SMALLEST = 1e-30
"""What is smaller is zero with rounding errors. Values between it and its inverse
neither overflow nor vanish in the sums."""

_UNUSABLE, _USABLE, _ICE = 0, 1, 2
"""Kinds of spots, as far as resolution limits care."""
_OFF_ICE = 1
"""Where `_count` says how many spots are off the ice rings."""


@dataclass(frozen=True, slots=True)
class SpotStatistics:
    """What one image is judged by; d_min in Å, -1 where not computed."""

    n_spots_4A: int  # noqa: N815 (the name that all readers of these results know)
    """Spots with d > 4 Å, ice included."""
    n_spots_no_ice: int
    """Spots off the ice rings."""
    n_spots_total: int
    """All spots with d finite."""
    total_intensity: float
    """Sum of the intensities of the spots off the ice rings."""
    d_min_distl_method_1: float = NOT_COMPUTED
    d_min_distl_method_2: float = NOT_COMPUTED
    estimated_d_min: float = NOT_COMPUTED
    noisiness_method_1: float = NOT_COMPUTED
    noisiness_method_2: float = NOT_COMPUTED


def spot_statistics(
    q: npt.ArrayLike,
    intensity: npt.ArrayLike,
    variance: npt.ArrayLike | None = None,
    *,
    filter_ice: bool = True,
    ice_rings_width: float = 0.004,
) -> SpotStatistics:
    """Compute the nine statistics of one image's spots, as DIALS 3.12 does.

    Never fails on any list of spots: what cannot be computed is -1 (where DIALS stops
    with an error, too: all spots at one d-spacing). Spots at q <= 0 do not count;
    spots without positive intensity and variance count, but no resolution limit is
    estimated from them.

    Args:
        q: length of the spots' reciprocal-space positions, 1/d in 1/Å, shape (n,).
        intensity: in counts, shape (n,).
        variance: shape (n,); the intensity itself if not given (summed counts).
        filter_ice: leave spots on rings of hexagonal ice out of `n_spots_no_ice`,
            `total_intensity` and `estimated_d_min`.
        ice_rings_width: full width of an ice ring in 1/d², Å⁻².

    Raises:
        ValueError: if the arrays differ in length.
    """
    if variance is None:
        variance = intensity
    columns = (q, intensity, variance)
    qs, counts, variances = (np.ascontiguousarray(c, np.float64) for c in columns)
    if not qs.shape == counts.shape == variances.shape or qs.ndim != 1:
        raise ValueError(
            f"q, intensity and variance must be lists of one length, not of shapes "
            f"{qs.shape}, {counts.shape}, {variances.shape}"
        )
    if not filter_ice:
        ice_rings_width = -1.0  # nothing is as near to a ring
    highest = float(np.fmax.reduce(qs, initial=0.0))
    rings = ice_rings(highest * highest + max(ice_rings_width, 0.0))
    kinds = np.empty(len(qs), np.uint8)
    first = _count(qs, counts, variances, rings, float(ice_rings_width), kinds)
    limits = ResolutionLimits()
    if first[_OFF_ICE] >= MIN_SPOTS_FOR_RESOLUTION:
        usable = kinds != _UNUSABLE
        if not usable.all():
            qs, counts, variances = qs[usable], counts[usable], variances[usable]
            kinds = kinds[usable]
        limits = resolution_limits(np.sort(qs), qs, counts, variances, kinds == _ICE)
    return SpotStatistics(*first, *limits)


@njit(cache=True, nogil=True)
def _count(
    q: Doubles,
    intensity: Doubles,
    variance: Doubles,
    rings: Doubles,
    ring_width: float,
    kinds: npt.NDArray[np.uint8],
) -> tuple[int, int, int, float]:
    """Return the first four statistics; say of each spot what it is good for."""
    beyond_4, off_ice, total, total_intensity = 0, 0, 0, 0.0
    for k in range(q.size):
        kinds[k] = _UNUSABLE
        if not _is_positive(q[k]):
            continue
        d = 1 / np.sqrt(q[k] * q[k])
        is_ice = is_on_ring(1 / (d * d), rings, ring_width)
        total += 1
        beyond_4 += d > 4
        if not is_ice:
            off_ice += 1
            total_intensity += intensity[k]
        if _is_positive(intensity[k]) and _is_positive(variance[k]):
            kinds[k] = _ICE if is_ice else _USABLE
    return beyond_4, off_ice, total, total_intensity


@inner
def _is_positive(value: float) -> bool:
    return _SMALLEST < value < 1 / _SMALLEST
