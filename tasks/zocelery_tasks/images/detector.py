"""The detector and the beam of one image: where its pixels are, which to trust."""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from zocelery_tasks.images.dials_rule import DialsRule
from zocelery_tasks.kernels.resolution import Plane

Vector = tuple[float, float, float]
"""In the laboratory frame of imgCIF and dxtbx: the sample is the origin, z points from
the sample to the source, x is the main goniometer axis as a rule; lengths in mm."""

Mask = npt.NDArray[np.bool_]
"""Shape (slow, fast); True where a pixel is usable."""


class SensorType(StrEnum):
    """How a detector counts, as far as spot finding cares."""

    PAD = "PAD"
    """Pixel array: photons are counted where they fall."""
    CCD = "CCD"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class TrustedRange:
    """The counts that are measurements."""

    lowest: int
    """Lowest trusted count."""
    saturation: float
    """What the file gives as cut-off, overload or saturation value."""
    saturation_is_lost: bool = False
    """The file's format says that `saturation` itself is saturated (imgCIF)."""
    highest_possible: int | None = None
    """Highest count that the file can hold; above are marks of dead pixels."""

    def limits(self, rule: DialsRule = DialsRule.V3_12) -> tuple[int, int]:
        """Return the lowest and the highest trusted count."""
        if rule is DialsRule.V3_12 or self.saturation_is_lost:
            highest = math.ceil(self.saturation) - 1
        else:
            highest = math.floor(self.saturation)
        if self.highest_possible is not None:
            highest = min(highest, self.highest_possible)
        return self.lowest, highest


@dataclass(frozen=True)
class Beam:
    """A monochromatic beam."""

    wavelength: float
    """In Å, > 0."""
    source_direction: Vector = (0.0, 0.0, 1.0)
    """From the sample towards the source."""


@dataclass(frozen=True, eq=False)
class Detector:
    """A flat detector, as one panel."""

    fast_axis: Vector
    """Direction of growing column numbers, of length 1."""
    slow_axis: Vector
    """Direction of growing row numbers, of length 1."""
    origin: Vector
    """Outer corner of the first pixel."""
    pixel_size: tuple[float, float]
    """Along fast and slow, in mm."""
    shape: tuple[int, int]
    """Pixels along (slow, fast)."""
    trusted: TrustedRange
    sensor: SensorType = SensorType.UNKNOWN
    sensor_material: str | None = None
    """Chemical formula."""
    sensor_thickness: float | None = None
    """In mm."""
    mask: Mask = field(repr=False, kw_only=True)
    """Read-only, and the same object for images that share it."""

    @property
    def min_spot_size(self) -> int:
        """The fewest pixels of a spot, as DIALS sets it for the kind of sensor."""
        return 3 if self.sensor is SensorType.PAD else 6

    @property
    def plane(self) -> Plane:
        """Where the pixels are."""
        return Plane(self.fast_axis, self.slow_axis, self.origin, self.pixel_size)

    @cached_property
    def pixel_to_lab(self) -> npt.NDArray[np.float64]:
        """Matrix (3, 3) that takes (fast, slow, 1) in pixels to mm in the lab frame."""
        fast, slow = self.pixel_size
        columns = (
            np.multiply(self.fast_axis, fast),
            np.multiply(self.slow_axis, slow),
            np.asarray(self.origin, dtype=np.float64),
        )
        return np.stack(columns, axis=-1)

    @property
    def distance(self) -> float:
        """Shortest distance from the sample to the detector's plane, in mm."""
        normal = np.cross(self.fast_axis, self.slow_axis)
        return abs(float(normal @ np.asarray(self.origin)))

    def beam_centre(self, beam: Beam) -> tuple[float, float] | None:
        """Return where the direct beam meets the plane, (fast, slow) in pixels.

        None if the beam does not run towards the plane.
        """
        direction = -np.asarray(beam.source_direction, dtype=np.float64)
        matrix = self.pixel_to_lab
        if np.linalg.det(matrix) == 0:
            return None
        x, y, scale = np.linalg.solve(matrix, direction)
        if scale <= 0:
            return None
        return float(x / scale), float(y / scale)
