"""From positions on a flat detector to resolution."""

import numpy as np
import numpy.typing as npt


def map_to_reciprocal_space(
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    *,
    pixel_to_lab: npt.NDArray[np.float64],
    wavelength: float,
    source_direction: tuple[float, float, float] = (0.0, 0.0, 1.0),
) -> npt.NDArray[np.float64]:
    """Return the reciprocal-space positions s1 - s0 of pixel positions, in 1/Å.

    No parallax correction and no rotation of the crystal is applied: |s1 - s0| = 1/d
    does not depend on the latter.

    Args:
        x: positions along fast in pixels, shape (n,); the corner of the first pixel
            is 0, its centre 0.5.
        y: positions along slow.
        pixel_to_lab: shape (3, 3); its product with (x, y, 1) is the position in mm in
            the laboratory frame, whose origin is the sample.
        wavelength: in Å.
        source_direction: from the sample towards the source, of any length.

    Returns:
        Shape (n, 3).
    """
    lab = np.stack([x, y, np.ones_like(x)], axis=-1) @ pixel_to_lab.T
    s1 = lab / np.linalg.norm(lab, axis=-1, keepdims=True)
    to_source = np.asarray(source_direction, dtype=np.float64)
    s0 = -to_source / np.linalg.norm(to_source)
    scattering: npt.NDArray[np.float64] = (s1 - s0) / wavelength
    return scattering


def within_resolution(
    q: npt.NDArray[np.float64], d_min: float | None, d_max: float | None
) -> npt.NDArray[np.bool_]:
    """Return where d_min <= 1/q <= d_max.

    Args:
        q: 1/d in 1/Å, shape (n,); at q = 0 d is infinite.
        d_min: in Å, None for no limit.
        d_max: in Å, None for no limit.
    """
    d = d_spacing(q)
    within = np.ones(q.shape, dtype=np.bool_)
    if d_min is not None:
        within &= d >= d_min
    if d_max is not None:
        within &= d <= d_max
    return within


def d_spacing(q: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return d = 1/q in Å, infinite where q = 0."""
    with np.errstate(divide="ignore"):
        d: npt.NDArray[np.float64] = 1 / q
    return d
