"""The nine per-image statistics of a list of spots."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.ice_rings import on_ice_ring
from zocelery_tasks.kernels.resolution_limits import (
    NOT_COMPUTED,
    distl_method_1,
    distl_method_2,
    estimate_d_min,
)

MIN_SPOTS_FOR_RESOLUTION = 11
"""Resolution limits are estimated from so many spots off the ice rings upwards."""

_SMALLEST = 1e-30
"""What is smaller is zero with rounding errors. Values between it and its inverse
neither overflow nor vanish in the sums."""


def _is_positive(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray((values > _SMALLEST) & (values < 1 / _SMALLEST))


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
    q = np.asarray(q, dtype=np.float64)
    intensity = np.asarray(intensity, dtype=np.float64)
    variance = intensity if variance is None else np.asarray(variance, np.float64)
    if not q.shape == intensity.shape == variance.shape or q.ndim != 1:
        raise ValueError(
            f"q, intensity and variance must be lists of one length, not of shapes "
            f"{q.shape}, {intensity.shape}, {variance.shape}"
        )
    counted = _is_positive(q)
    q, intensity, variance = q[counted], intensity[counted], variance[counted]
    d = 1 / np.sqrt(q * q)
    is_ice = (
        on_ice_ring(1 / (d * d), ice_rings_width)
        if filter_ice
        else np.zeros(len(q), dtype=bool)
    )
    n_spots_no_ice = len(q) - int(np.count_nonzero(is_ice))
    limits: dict[str, float] = {}
    if n_spots_no_ice >= MIN_SPOTS_FOR_RESOLUTION:
        limits = _resolution_limits(q, d, intensity, variance, is_ice)
    return SpotStatistics(
        n_spots_4A=int(np.count_nonzero(d > 4)),
        n_spots_no_ice=n_spots_no_ice,
        n_spots_total=len(q),
        total_intensity=float(intensity[~is_ice].sum()),
        **limits,
    )


def _resolution_limits(
    q: npt.NDArray[np.float64],
    d: npt.NDArray[np.float64],
    intensity: npt.NDArray[np.float64],
    variance: npt.NDArray[np.float64],
    is_ice: npt.NDArray[np.bool_],
) -> dict[str, float]:
    """Return the five statistics that are estimated, by their names."""
    usable = _is_positive(intensity) & _is_positive(variance)
    q, d, is_ice = q[usable], d[usable], is_ice[usable]
    d_min_1, noisiness_1 = distl_method_1(q)
    d_min_2, noisiness_2 = distl_method_2(d)
    return {
        "d_min_distl_method_1": d_min_1,
        "d_min_distl_method_2": d_min_2,
        "estimated_d_min": estimate_d_min(
            d, intensity[usable], variance[usable], is_ice
        ),
        "noisiness_method_1": noisiness_1,
        "noisiness_method_2": noisiness_2,
    }
