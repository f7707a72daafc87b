"""The panels of a detector: rectangles of an image, each flat in a place of its own."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from zocelery.errors import ImageError
from zocelery_tasks.images.beam import Beam
from zocelery_tasks.kernels.resolution import Plane

Vector = tuple[float, float, float]
"""In the laboratory frame of imgCIF and dxtbx: the sample is the origin, z points from
the sample to the source, x is the main goniometer axis as a rule; lengths in mm."""

_LEAST_SINE = 0.1
"""Of the angle between the axes of a panel."""


@dataclass(frozen=True)
class Panel:
    """A flat rectangle of pixels in the laboratory."""

    fast_axis: Vector
    """Direction of growing column numbers, of length 1."""
    slow_axis: Vector
    """Direction of growing row numbers, of length 1."""
    origin: Vector
    """Outer corner of the first pixel."""
    pixel_size: tuple[float, float]
    """Along fast and slow, in mm."""
    first: tuple[int, int] = (0, 0)
    """Where in the image the rectangle begins, (slow, fast)."""
    size: tuple[int, int] | None = None
    """Pixels along (slow, fast), None for the whole image."""

    def __post_init__(self) -> None:
        """Refuse what is no plane.

        Raises:
            ImageError: if the axes have no length or the same direction.
        """
        (fx, fy, fz), (sx, sy, sz) = self.fast_axis, self.slow_axis
        normal = (fy * sz - sy * fz, fz * sx - sz * fx, fx * sy - sx * fy)
        if not math.hypot(*normal) > _LEAST_SINE:
            raise ImageError(
                f"a panel with the axes {self.fast_axis} and {self.slow_axis} is no "
                "plane"
            )

    @property
    def plane(self) -> Plane:
        """Where the pixels are; positions count from the panel's first pixel."""
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
        """Shortest distance from the sample to the panel's plane, in mm."""
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

    def region(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Return which rows and columns of an image of `shape` the panel is."""
        slow, fast = self.size or shape
        return (
            slice(self.first[0], self.first[0] + slow),
            slice(self.first[1], self.first[1] + fast),
        )

    def within(self, shape: tuple[int, int], name: str) -> Self:
        """Return the panel, once it is certain that images of `shape` hold it.

        Args:
            shape: pixels of the images along (slow, fast).
            name: of the detector, for messages.

        Raises:
            ImageError: if it reaches beyond the image, or has no pixels.
        """
        size = self.size or shape
        ends = [at + length for at, length in zip(self.first, size, strict=True)]
        fits = ends[0] <= shape[0] and ends[1] <= shape[1]
        if min(self.first) < 0 or min(size) < 1 or not fits:
            raise ImageError(
                f"{name}: images of {shape[1]} x {shape[0]} pixels do not hold a "
                f"module of {size[1]} x {size[0]} pixels at {self.first[::-1]}"
            )
        return self

    def alone(self, shape: tuple[int, int]) -> Self:
        """Return the only panel of a detector with images of `shape`.

        If its sides are exchanged, it is the whole image: so did Diamond's beamlines
        write it until 2021.
        """
        if self.size in (shape, shape[::-1]) and self.first == (0, 0):
            return replace(self, size=None)
        return self
