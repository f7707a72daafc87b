"""Where the beam, the rotation axis and the pixels are.

Laboratory frame as in NeXus (McStas): z along the beam, y up, millimetres. The
detector is perpendicular to the beam; omega turns about (-1, 0, 0).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zocelery_tasks.simulation.detector import Detector
from zocelery_tasks.simulation.gaussian import FloatArray

DEAD_PIXELS = 20
BEAM_STOP_RADIUS_MM = 1.6
"""Radius of the beam stop's shadow on the detector."""

_BEAM_OFF_CENTRE = (-4.6, 3.3)
"""Beam centre relative to the middle of the detector, pixels (slow, fast)."""


@dataclass(frozen=True)
class Geometry:
    """A detector set up in the beam."""

    detector: Detector
    distance_mm: float
    wavelength: float
    """Å."""

    @property
    def beam_centre(self) -> tuple[float, float]:
        """Where the beam hits, pixels (slow, fast)."""
        slow, fast = self.detector.shape
        return slow / 2 + _BEAM_OFF_CENTRE[0], fast / 2 + _BEAM_OFF_CENTRE[1]

    @property
    def fast_axis(self) -> FloatArray:
        """Direction along which the fast pixel index grows."""
        return np.array([-1.0, 0.0, 0.0])

    @property
    def slow_axis(self) -> FloatArray:
        """Direction along which the slow pixel index grows."""
        return np.array([0.0, -1.0, 0.0])

    @property
    def normal(self) -> FloatArray:
        """Direction of the detector's normal, away from the crystal."""
        return np.cross(self.fast_axis, self.slow_axis)

    @property
    def origin_mm(self) -> FloatArray:
        """Outer corner of the first pixel, mm from the crystal."""
        slow, fast = self.beam_centre
        pixel = self.detector.pixel_mm
        middle = np.array([0, 0, self.distance_mm])
        origin: FloatArray = (
            middle - fast * pixel * self.fast_axis - slow * pixel * self.slow_axis
        )
        return origin

    @property
    def rotation_axis(self) -> FloatArray:
        """Direction of omega."""
        return np.array([-1.0, 0.0, 0.0])

    @property
    def beam_vector(self) -> FloatArray:
        """s0, 1/Å."""
        return np.array([0, 0, 1 / self.wavelength])

    @property
    def absorption_per_mm(self) -> float:
        """Linear absorption of silicon, 1/mm: a power law through 3.97 at 0.9795 Å."""
        return float(3.97 * (self.wavelength / 0.9795) ** 2.9)

    def distances_mm(self) -> tuple[FloatArray, FloatArray]:
        """Return how far the pixels' centres are from the beam, mm.

        Returns:
            Along the slow axis, shape (slow, 1), and along the fast axis, (1, fast).
        """
        pixel = self.detector.pixel_mm
        (slow, fast), (slow_beam, fast_beam) = self.detector.shape, self.beam_centre
        slow_mm = (np.arange(slow, dtype=np.float64) + 0.5 - slow_beam) * pixel
        fast_mm = (np.arange(fast, dtype=np.float64) + 0.5 - fast_beam) * pixel
        return slow_mm[:, None], fast_mm[None, :]

    def beam_stop(self) -> npt.NDArray[np.bool_]:
        """Return which pixels lie in the shadow of the beam stop, (slow, fast)."""
        slow_mm, fast_mm = self.distances_mm()
        rows = np.flatnonzero(np.abs(slow_mm) < BEAM_STOP_RADIUS_MM)
        columns = np.flatnonzero(np.abs(fast_mm) < BEAM_STOP_RADIUS_MM)
        radius = np.hypot(slow_mm[rows], fast_mm[:, columns])
        shadow = np.zeros(self.detector.shape, bool)
        shadow[np.ix_(rows, columns)] = radius < BEAM_STOP_RADIUS_MM
        return shadow


def mask_pixels(detector: Detector, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return which pixels count nothing, (slow, fast): gaps and a few dead ones."""
    mask = np.zeros(detector.shape, bool)
    (slow, fast), (slow_gap, fast_gap) = detector.module, detector.gap
    for start in range(fast, detector.shape[1], fast + fast_gap):
        mask[:, start : start + fast_gap] = True
    for start in range(slow, detector.shape[0], slow + slow_gap):
        mask[start : start + slow_gap, :] = True
    mask.flat[rng.integers(0, detector.pixels, DEAD_PIXELS)] = True
    return mask
