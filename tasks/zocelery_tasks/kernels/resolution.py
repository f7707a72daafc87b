"""From positions on a flat detector to resolution."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

_GRAZING = 1e-9
"""Cosine of incidence that is as good as none."""


class Sensor(NamedTuple):
    """The layer in which photons are absorbed, on average below its surface."""

    attenuation: float
    """Linear attenuation coefficient in 1/mm, > 0."""
    thickness: float
    """In mm, > 0."""


def map_to_reciprocal_space(
    x: Doubles,
    y: Doubles,
    *,
    pixel_to_lab: Doubles,
    wavelength: float,
    source_direction: tuple[float, float, float] = (0.0, 0.0, 1.0),
    sensor: Sensor | None = None,
) -> Doubles:
    """Return the reciprocal-space positions s1 - s0 of pixel positions, in 1/Å.

    The crystal is not turned back to zero: |s1 - s0| = 1/d does not depend on it.

    Args:
        x: positions along fast in pixels, shape (n,); the corner of the first pixel
            is 0, its centre 0.5.
        y: positions along slow.
        pixel_to_lab: shape (3, 3); its product with (x, y, 1) is the position in mm in
            the laboratory frame, whose origin is the sample.
        wavelength: in Å.
        source_direction: from the sample towards the source, of any length.
        sensor: corrects for parallax; without it, photons are where they are seen.

    Returns:
        Shape (n, 3).
    """
    lab = np.stack([x, y, np.ones_like(x)], axis=-1) @ pixel_to_lab.T
    if sensor is not None:
        lab = _correct_parallax(lab, pixel_to_lab, sensor)
    to_source = np.asarray(source_direction, dtype=np.float64)
    s0 = -to_source / np.linalg.norm(to_source)
    scattering: Doubles = (_directions(lab) - s0) / wavelength
    return scattering


def within_resolution(
    q: Doubles, d_min: float | None, d_max: float | None
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


def d_spacing(q: Doubles) -> Doubles:
    """Return d = 1/q in Å, infinite where q = 0."""
    with np.errstate(divide="ignore"):
        d: Doubles = 1 / q
    return d


def _directions(lab: Doubles) -> Doubles:
    directions: Doubles = lab / np.linalg.norm(lab, axis=-1, keepdims=True)
    return directions


def _correct_parallax(lab: Doubles, pixel_to_lab: Doubles, sensor: Sensor) -> Doubles:
    """Return where the photons seen at `lab`, shape (n, 3), met the sensor's surface.

    A photon that comes in at an angle is absorbed further out than where it met the
    surface: on average by the projection of its path in the sensor. So does dxtbx's
    ParallaxCorrectedPxMmStrategy.
    """
    normal = np.cross(pixel_to_lab[:, 0], pixel_to_lab[:, 1])
    normal = normal / np.linalg.norm(normal)
    if normal @ pixel_to_lab[:, 2] < 0:
        normal = -normal
    s1 = _directions(lab)
    cosine = s1 @ normal
    depth = sensor.thickness / np.maximum(cosine, _GRAZING)
    path = 1 / sensor.attenuation - (depth + 1 / sensor.attenuation) * np.exp(
        -sensor.attenuation * depth
    )
    outwards = s1 - cosine[:, None] * normal
    corrected: Doubles = lab - path[:, None] * outwards
    return corrected
