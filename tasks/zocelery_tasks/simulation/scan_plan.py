"""What the writers need to know of a scan: its images, its axes and its headers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from zocelery_tasks.simulation.gaussian import FloatArray
from zocelery_tasks.simulation.geometry import Geometry
from zocelery_tasks.simulation.spots import Exposure

START_TIME = "2024-01-01T00:00:00"
"""In every header, so that a seed gives the same files on every day. dxtbx reverses
the image size of some beamlines' files from before September 2021."""

BIT_DEPTH = 16

ELECTRONVOLT_ANGSTROM = 12398.42
"""Photon energy times wavelength."""


@dataclass(frozen=True, eq=False)
class ScanPlan:
    """One scan: a rotation, or a grid of stills."""

    stem: str
    geometry: Geometry
    mask: npt.NDArray[np.bool_]
    """Pixels that do not count, (slow, fast)."""
    exposures: Sequence[Exposure]
    omega: FloatArray
    """At the start of each image, as the headers say, degrees."""
    omega_increment: float
    """Per image, as the headers say, degrees; 0 for stills."""
    exposure_time: float
    """Seconds per image."""
    translations: Mapping[str, FloatArray] = field(default_factory=dict)
    """Goniometer positions of each image in mm, for sam_x, sam_y and sam_z."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.exposures)

    @property
    def shape(self) -> tuple[int, int]:
        """Of an image, (slow, fast)."""
        return self.geometry.detector.shape
