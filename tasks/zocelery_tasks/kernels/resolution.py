"""From positions on a flat detector to resolution.

The order of operations is that of DIALS (`map_centroids_to_reciprocal_space`), because
some statistics put the last spot into a shell, or not, by its last digit.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Vector = tuple[float, float, float]
Doubles = npt.NDArray[np.float64]

_GRAZING = 1e-9
"""Cosine of incidence that is as good as none."""


class Plane(NamedTuple):
    """A detector's plane in the laboratory, whose origin is the sample."""

    fast_axis: Vector
    """Direction of growing x, of length 1."""
    slow_axis: Vector
    """Direction of growing y, of length 1."""
    origin: Vector
    """Outer corner of the first pixel, in mm."""
    pixel_size: tuple[float, float]
    """Along fast and slow, in mm."""


class Sensor(NamedTuple):
    """The layer in which photons are absorbed, on average below its surface."""

    attenuation: float
    """Linear attenuation coefficient in 1/mm, > 0."""
    thickness: float
    """In mm, > 0."""


def inverse_resolution(
    x: Doubles,
    y: Doubles,
    plane: Plane,
    *,
    wavelength: float,
    source_direction: Vector = (0.0, 0.0, 1.0),
    sensor: Sensor | None = None,
) -> Doubles:
    """Return q = |s1 - s0| = 1/d of positions on a detector, in 1/Å.

    It does not depend on how the crystal is turned.

    Args:
        x: positions along fast in pixels, shape (n,); the corner of the first pixel
            is 0, its centre 0.5.
        y: positions along slow.
        plane: of the detector.
        wavelength: in Å.
        source_direction: from the sample towards the source, of any length.
        sensor: corrects for parallax; without it, photons are where they are seen.
    """
    x_mm, y_mm = x * plane.pixel_size[0], y * plane.pixel_size[1]
    if sensor is not None:
        x_mm, y_mm = _correct_parallax(x_mm, y_mm, plane, sensor)
    length = math.hypot(*source_direction) * wavelength
    s0 = np.array([[-part / length] for part in source_direction])
    s1 = _direction(x_mm, y_mm, plane) * (1 / wavelength)
    return _length(s1 - s0)


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


def _direction(x_mm: Doubles, y_mm: Doubles, plane: Plane) -> Doubles:
    """Return the directions from the sample to points of the plane, shape (3, n)."""
    axes = zip(plane.fast_axis, plane.slow_axis, plane.origin, strict=True)
    lab = np.stack([fast * x_mm + slow * y_mm + at for fast, slow, at in axes])
    return lab / _length(lab)


def _length(vectors: Doubles) -> Doubles:
    """Return the lengths of vectors of shape (3, n)."""
    x, y, z = vectors
    length: Doubles = np.sqrt(x * x + y * y + z * z)
    return length


def _dot(vectors: Doubles, vector: Vector) -> Doubles:
    x, y, z = vector
    along: Doubles = vectors[0] * x + vectors[1] * y + vectors[2] * z
    return along


def _normal(plane: Plane) -> Vector:
    """Return the direction at right angles to the plane, away from the sample."""
    (fx, fy, fz), (sx, sy, sz) = plane.fast_axis, plane.slow_axis
    x, y, z = fy * sz - sy * fz, fz * sx - sz * fx, fx * sy - sx * fy
    ox, oy, oz = plane.origin
    return (-x, -y, -z) if ox * x + oy * y + oz * z < 0 else (x, y, z)


def _correct_parallax(
    x_mm: Doubles, y_mm: Doubles, plane: Plane, sensor: Sensor
) -> tuple[Doubles, Doubles]:
    """Return where photons that are seen at a point met the sensor's surface.

    A photon that comes in at an angle is absorbed further out than where it met the
    surface, on average by the projection of its path in the sensor. So does dxtbx's
    ParallaxCorrectedPxMmStrategy.
    """
    s1 = _direction(x_mm, y_mm, plane)
    cosine = np.maximum(_dot(s1, _normal(plane)), _GRAZING)
    mu, thickness = sensor
    path = 1 / mu - (thickness / cosine + 1 / mu) * np.exp(-mu * thickness / cosine)
    return (
        x_mm - _dot(s1, plane.fast_axis) * path,
        y_mm - _dot(s1, plane.slow_axis) * path,
    )
