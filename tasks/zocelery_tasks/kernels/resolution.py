"""From positions on a flat detector to resolution.

The order of operations is that of DIALS (`map_centroids_to_reciprocal_space`), because
some statistics put the last spot into a shell, or not, by its last digit.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.inner import inner

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
    length = math.hypot(*source_direction) * wavelength
    s0 = [-part / length for part in source_direction]
    axes = (plane.fast_axis, plane.slow_axis, plane.origin, _normal(plane), s0)
    attenuation, thickness = sensor or (0.0, 0.0)
    q: Doubles = _inverse_resolution(
        np.ascontiguousarray(x, np.float64),
        np.ascontiguousarray(y, np.float64),
        np.array(axes, np.float64),
        np.array(plane.pixel_size, np.float64),
        float(1 / wavelength),
        float(attenuation),
        float(thickness),
    )
    return q


@njit(cache=True, nogil=True, error_model="numpy")
def _inverse_resolution(
    x: Doubles,
    y: Doubles,
    axes: Doubles,
    pixel_size: Doubles,
    per_wavelength: float,
    attenuation: float,
    thickness: float,
) -> Doubles:
    """Return q of positions; `axes` are fast, slow, origin, normal and s0, (5, 3).

    A photon that comes in at an angle is absorbed further out than where it met the
    surface, on average by the projection of its path in the sensor. So does dxtbx's
    ParallaxCorrectedPxMmStrategy. No attenuation is no sensor.
    """
    fast, slow, normal, s0 = axes[0], axes[1], axes[3], axes[4]
    q = np.empty(x.size)
    for k in range(x.size):
        x_mm, y_mm = x[k] * pixel_size[0], y[k] * pixel_size[1]
        s1 = _direction(x_mm, y_mm, axes)
        if attenuation > 0:
            cosine = max(_dot(s1, normal), _GRAZING)
            weakened = np.exp(-attenuation * thickness / cosine)
            path = 1 / attenuation - (thickness / cosine + 1 / attenuation) * weakened
            x_mm, y_mm = x_mm - _dot(s1, fast) * path, y_mm - _dot(s1, slow) * path
            s1 = _direction(x_mm, y_mm, axes)
        dx = s1[0] * per_wavelength - s0[0]
        dy = s1[1] * per_wavelength - s0[1]
        dz = s1[2] * per_wavelength - s0[2]
        q[k] = np.sqrt(dx * dx + dy * dy + dz * dz)
    return q


@njit(cache=True, nogil=True, error_model="numpy")
def _direction(x_mm: float, y_mm: float, axes: Doubles) -> Vector:
    """Return the direction from the sample to a point of the plane."""
    fast, slow, origin = axes[0], axes[1], axes[2]
    x = fast[0] * x_mm + slow[0] * y_mm + origin[0]
    y = fast[1] * x_mm + slow[1] * y_mm + origin[1]
    z = fast[2] * x_mm + slow[2] * y_mm + origin[2]
    length = np.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


@inner
def _dot(vector: Vector, other: Doubles) -> float:
    (x, y, z), (u, v, w) = vector, (other[0], other[1], other[2])
    return float(x * u + y * v + z * w)


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


def _normal(plane: Plane) -> Vector:
    """Return the direction at right angles to the plane, away from the sample."""
    (fx, fy, fz), (sx, sy, sz) = plane.fast_axis, plane.slow_axis
    x, y, z = fy * sz - sy * fz, fz * sx - sz * fx, fx * sy - sx * fy
    ox, oy, oz = plane.origin
    return (-x, -y, -z) if ox * x + oy * y + oz * z < 0 else (x, y, z)
