"""Predict where and when a turning crystal diffracts, and how strongly.

Monochromatic, kinematic, rotation method: a reflection flashes when its reciprocal
lattice point crosses the Ewald sphere. Formulas as in W. Kabsch, J. Appl. Cryst. 21,
916 (1988), and International Tables for Crystallography F, chapter 11.3.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from zocelery.errors import ParameterError
from zocelery_tasks.simulation.background import (
    HORIZONTAL_POLARISATION,
    VERTICAL_POLARISATION,
)
from zocelery_tasks.simulation.crystal import Crystal, indices_within, intensities
from zocelery_tasks.simulation.gaussian import FloatArray
from zocelery_tasks.simulation.geometry import Geometry

BoolArray = npt.NDArray[np.bool_]

_MARGIN_DEGREES = 4.0
"""Reflections so far outside of the sweep still reach into it by their width."""

_MARGIN_PIXELS = 8
_MIN_ZETA = 0.05
"""Reflections that cross the sphere more obliquely smear over many images."""

_ERROR_STREAM = 10**6
"""Second word of the seed of the imperfections: no image has this number."""


@dataclass(frozen=True, eq=False)
class Reflections:
    """Flashes of reflections, in the order of their angles; arrays of equal length."""

    hkl: npt.NDArray[np.int64]
    """Shape (n, 3)."""
    x: FloatArray
    """Position along the fast axis, pixels; 0.5 is the middle of the first."""
    y: FloatArray
    """Position along the slow axis, pixels."""
    phi: FloatArray
    """Omega at which the lattice point lies on the Ewald sphere, degrees."""
    zeta: FloatArray
    """|e . m|: 1 where the point crosses the sphere fastest, 0 along the axis."""
    recorded: FloatArray
    """|F|^2 with Lorentz and polarisation factors (and later errors)."""
    f_squared: FloatArray
    """|F|^2 on the crystal's scale."""

    def __len__(self) -> int:
        """Return the number of flashes."""
        return len(self.phi)

    def select(self, choice: BoolArray | npt.NDArray[np.int64]) -> "Reflections":
        """Return those that a mask or an index array chooses."""
        return Reflections(
            *(getattr(self, column.name)[choice] for column in fields(self))
        )


@dataclass(frozen=True, eq=False)
class _Crossings:
    """Reciprocal lattice points that cross the Ewald sphere, twice per turn."""

    hkl: npt.NDArray[np.int64]
    points: FloatArray
    """At omega 0, shape (n, 3), 1/Å."""
    f_squared: FloatArray
    middle: FloatArray
    """Omega midway between the two crossings, radians."""
    half: FloatArray
    """Half the way from one crossing to the other, radians."""


def predict(
    crystal: Crystal, geometry: Geometry, d_min: float, sweep: tuple[float, float]
) -> Reflections:
    """Return all flashes on the detector while omega runs through `sweep` (degrees).

    Raises:
        ParameterError: if there is none.
    """
    crossings = _crossings(crystal, geometry, d_min)
    margin = math.radians(_MARGIN_DEGREES)
    low, high = math.radians(sweep[0]) - margin, math.radians(sweep[1]) + margin
    parts = [
        _record(crossings, chosen, phi, geometry)
        for chosen, phi in _angles(crossings, low, high)
    ]
    if not any(map(len, parts)):
        raise ParameterError(
            f"no reflection falls on the detector at {geometry.distance_mm:g} mm "
            f"with d_min {d_min:g} and wavelength {geometry.wavelength:g}"
        )
    flashes = _join(parts)
    return flashes.select(np.argsort(flashes.phi, kind="stable"))


def disturb(
    flashes: Reflections, seed: int, scatter: float, wobble: float, mosaicity: float
) -> Reflections:
    """Return what an imperfect crystal on a shaky goniometer shows instead.

    Args:
        flashes: as predicted.
        seed: chooses the errors.
        scatter: relative error of intensities.
        wobble: standard deviation of positions, pixels.
        mosaicity: of the crystal, degrees; angles are off by a twentieth of it.
    """
    rng = np.random.default_rng((seed, _ERROR_STREAM))
    count = len(flashes)
    error = np.clip(1 + scatter * rng.normal(size=count), 0.2, 2)
    absorption = 1 + 0.08 * np.sin(np.radians(flashes.phi) + 0.002 * flashes.x)
    shift = wobble * rng.normal(size=(count, 2))
    delay = 0.05 * mosaicity * rng.normal(size=count)
    return replace(
        flashes,
        x=flashes.x + shift[:, 0],
        y=flashes.y + shift[:, 1],
        phi=flashes.phi + delay,
        recorded=flashes.recorded * (error * absorption),
    )


def _crossings(crystal: Crystal, geometry: Geometry, d_min: float) -> _Crossings:
    """Solve |s0 + R(phi) r| = |s0|, that is (R(phi) r) . s0 = -q^2 / 2, for phi."""
    hkl, q = indices_within(crystal, d_min)
    points = hkl @ crystal.setting_matrix.T
    axis, s0 = geometry.rotation_axis, geometry.beam_vector
    parallel = np.outer(points @ axis, axis)
    cosine_part = (points - parallel) @ s0
    sine_part = np.cross(axis, points) @ s0
    wanted = -q * q / 2 - parallel @ s0
    reach = np.hypot(cosine_part, sine_part)
    crosses = (reach > 1e-9) & (np.abs(wanted) < reach)
    return _Crossings(
        hkl=hkl[crosses],
        points=points[crosses],
        f_squared=intensities(crystal, hkl[crosses], 1 / q[crosses]),
        middle=np.arctan2(sine_part[crosses], cosine_part[crosses]),
        half=np.arccos(wanted[crosses] / reach[crosses]),
    )


def _angles(
    crossings: _Crossings, low: float, high: float
) -> Iterator[tuple[BoolArray, FloatArray]]:
    """Yield, turn by turn, which points cross between `low` and `high`, and when."""
    turn = 2 * np.pi
    for sign in (1, -1):
        phi = crossings.middle + sign * crossings.half
        phi = phi + turn * np.ceil((low - phi) / turn)
        while (inside := phi < high).any():
            yield inside, phi[inside]
            phi = phi + turn


def _record(
    crossings: _Crossings, chosen: BoolArray, phi: FloatArray, geometry: Geometry
) -> Reflections:
    """Return the flashes at `phi` (radians) of the chosen points on the detector."""
    turned = _rotation_matrices(geometry.rotation_axis, phi)
    s1 = geometry.beam_vector + np.einsum(
        "nij,nj->ni", turned, crossings.points[chosen]
    )
    zeta, lorentz = _speeds(s1, geometry)
    direction = s1 * geometry.wavelength
    forward = direction @ geometry.normal
    visible = (zeta > _MIN_ZETA) & (forward > 0.05)
    x, y = _positions(direction, np.where(visible, forward, 1), geometry)
    slow, fast = geometry.detector.shape
    visible &= (x > -_MARGIN_PIXELS) & (x < fast + _MARGIN_PIXELS)
    visible &= (y > -_MARGIN_PIXELS) & (y < slow + _MARGIN_PIXELS)
    f_squared = crossings.f_squared[chosen]
    recorded = f_squared * lorentz * _polarisation(direction)
    hkl = crossings.hkl[chosen]
    flashes = Reflections(hkl, x, y, np.degrees(phi), zeta, recorded, f_squared)
    return flashes.select(visible)


def _speeds(s1: FloatArray, geometry: Geometry) -> tuple[FloatArray, FloatArray]:
    """Return zeta and the Lorentz factor 1 / (zeta sin(2 theta)) of rays `s1`."""
    normal = np.cross(s1, geometry.beam_vector)
    along_axis = np.abs(normal @ geometry.rotation_axis)
    zeta = along_axis / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
    lorentz = 1 / np.maximum(along_axis * geometry.wavelength**2, 1e-9)
    return zeta, lorentz


def _polarisation(direction: FloatArray) -> FloatArray:
    """Return the polarisation factor of rays along unit vectors `direction` (n, 3)."""
    return np.asarray(
        HORIZONTAL_POLARISATION * (1 - direction[:, 0] ** 2)
        + VERTICAL_POLARISATION * (1 - direction[:, 1] ** 2)
    )


def _positions(
    direction: FloatArray, forward: FloatArray, geometry: Geometry
) -> tuple[FloatArray, FloatArray]:
    """Return where rays are recorded, pixels (fast, slow), with parallax.

    The mean depth of absorption in the sensor is that of dxtbx's
    `ParallaxCorrectedPxMmStrategy`.

    Args:
        direction: unit vectors, (n, 3).
        forward: their components along the detector's normal.
        geometry: of the experiment.
    """
    detector, mu = geometry.detector, geometry.absorption_per_mm
    hit = direction * (geometry.distance_mm / forward)[:, None] - geometry.origin_mm
    path = detector.sensor_mm / forward
    depth = 1 / mu - (path + 1 / mu) * np.exp(-mu * detector.sensor_mm / forward)
    fast, slow = geometry.fast_axis, geometry.slow_axis
    x = hit @ fast + (direction @ fast) * depth
    y = hit @ slow + (direction @ slow) * depth
    return x / detector.pixel_mm, y / detector.pixel_mm


def _rotation_matrices(axis: FloatArray, angles: FloatArray) -> FloatArray:
    """Return Rodrigues' matrices, (n, 3, 3), for turns by `angles` radians."""
    x, y, z = axis
    cosine, sine = np.cos(angles), np.sin(angles)
    rest = 1 - cosine
    rows = (
        (cosine + x * x * rest, x * y * rest - z * sine, x * z * rest + y * sine),
        (y * x * rest + z * sine, cosine + y * y * rest, y * z * rest - x * sine),
        (z * x * rest - y * sine, z * y * rest + x * sine, cosine + z * z * rest),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _join(parts: list[Reflections]) -> Reflections:
    """Return one table of all."""
    names = [field.name for field in fields(Reflections)]
    columns = (np.concatenate([getattr(p, name) for p in parts]) for name in names)
    return Reflections(*columns)
