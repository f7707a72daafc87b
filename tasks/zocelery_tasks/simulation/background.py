"""Scattering by air, loop and solvent: what every image shows without a crystal."""

import numpy as np
import numpy.typing as npt

from zocelery_tasks.simulation.gaussian import FloatArray
from zocelery_tasks.simulation.geometry import Geometry

HORIZONTAL_POLARISATION = 0.999
"""Part of the beam whose electric field is horizontal: an undulator's."""

VERTICAL_POLARISATION = 0.001

_BEAM_STOP_TRANSMISSION = 0.02
_BAND = 128
"""Rows computed at a time, so that intermediate arrays stay small."""


def expected_background(geometry: Geometry, level: float) -> npt.NDArray[np.float32]:
    """Return the expected background, counts per pixel, shape (slow, fast).

    Polarised and falling with distance and obliquity; `level` is about what the top
    of the solvent ring (3.3 Å) shows.
    """
    expected = np.empty(geometry.detector.shape, np.float32)
    slow_mm, fast_mm = geometry.distances_mm()
    stopped = geometry.beam_stop()
    for first in range(0, len(expected), _BAND):
        band = slice(first, first + _BAND)
        counts = level * _scattering(slow_mm[band], fast_mm, geometry)
        counts[stopped[band]] *= _BEAM_STOP_TRANSMISSION
        expected[band] = counts
    return expected


def _scattering(
    slow_mm: FloatArray, fast_mm: FloatArray, geometry: Geometry
) -> FloatArray:
    """Return the background relative to its level, at distances from the beam in mm."""
    from_beam = fast_mm * fast_mm + slow_mm * slow_mm
    path = from_beam + geometry.distance_mm**2
    two_theta = np.arctan2(np.sqrt(from_beam), geometry.distance_mm)
    rings = _rings(2 * np.sin(two_theta / 2) / geometry.wavelength)
    polarisation = (
        1
        - HORIZONTAL_POLARISATION * fast_mm * fast_mm / path
        - VERTICAL_POLARISATION * slow_mm * slow_mm / path
    )
    solid_angle = (geometry.distance_mm**2 / path) ** 1.5
    return np.asarray(rings * polarisation * solid_angle)


def _rings(inverse_d: FloatArray) -> FloatArray:
    """Return the radial profile at 1/d in 1/Å: air, solvent rings, and a constant."""
    air = 0.25 * np.exp(-inverse_d / 0.04) + 0.12 * np.exp(-inverse_d / 0.35)
    first_ring = np.exp(-(((inverse_d - 0.30) / 0.055) ** 2))
    second_ring = 0.42 * np.exp(-(((inverse_d - 0.47) / 0.09) ** 2))
    return np.asarray(air + first_ring + second_ring + 0.12)
