"""Where a beam hits a detector panel, from the JSON of dxtbx's models.

The numbers are dxtbx's: the way from mm to pixels and back corrects for parallax by an
approximation, which is why it does not quite lead back to where it began.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Vector = Sequence[float]
PARALLAX = "ParallaxCorrectedPxMmStrategy"


@dataclass(frozen=True, slots=True)
class PanelGeometry:
    """A flat panel: distances in mm, from the crystal."""

    fast: Vector
    slow: Vector
    origin: Vector
    pixel_size: tuple[float, float]
    image_size: tuple[int, int]
    raw_offset: tuple[float, float]
    attenuation: float
    """Of the sensor, 1/mm; 0 if parallax is not corrected for."""
    thickness: float

    @classmethod
    def read(cls, panel: Mapping[str, Any]) -> "PanelGeometry":
        """Read a panel as dxtbx writes it."""
        corrected = panel.get("px_mm_strategy", {}).get("type") == PARALLAX
        return cls(
            panel["fast_axis"],
            panel["slow_axis"],
            panel["origin"],
            tuple(panel["pixel_size"]),
            tuple(panel["image_size"]),
            tuple(panel.get("raw_image_offset", (0, 0))),
            panel["mu"] if corrected else 0.0,
            panel["thickness"],
        )

    @property
    def distance(self) -> float:
        """The distance of the panel's plane, mm."""
        return abs(_dot(_cross(self.fast, self.slow), self.origin))

    def beam_centre(self, direction: Vector) -> tuple[float, float] | None:
        """Return where the beam hits the panel, `(fast, slow)` in mm of the raw image.

        Args:
            direction: from the source to the crystal, of any length.

        Returns:
            None if it does not hit the panel's plane.
        """
        rows = _inverse(self.fast, self.slow, self.origin)
        along_fast, along_slow, depth = (_dot(row, direction) for row in rows)
        if depth <= 0:
            return None
        point = (along_fast / depth, along_slow / depth)
        raw = [
            ((at + shift) / size + offset) * size
            for at, shift, size, offset in zip(
                point,
                self._parallax(*point),
                self.pixel_size,
                self.raw_offset,
                strict=True,
            )
        ]
        shift_x, shift_y = self._parallax(*raw)
        return raw[0] - shift_x, raw[1] - shift_y

    def contains(self, x: float, y: float) -> bool:
        """Whether a point (mm) lies on the panel."""
        width = self.image_size[0] * self.pixel_size[0]
        height = self.image_size[1] * self.pixel_size[1]
        return 0 <= x <= width and 0 <= y <= height

    def _parallax(self, x: float, y: float) -> tuple[float, float]:
        """Return how far from where a ray enters it is absorbed, on average, mm."""
        if not self.attenuation:
            return 0.0, 0.0
        axes = zip(self.fast, self.slow, self.origin, strict=True)
        ray = [o + x * f + y * s for f, s, o in axes]
        length = math.hypot(*ray)
        ray = [part / length for part in ray]
        normal = _cross(self.fast, self.slow)
        path = self.thickness / abs(_dot(ray, normal))
        inverse = 1 / self.attenuation
        depth = inverse - (path + inverse) * math.exp(-self.attenuation * path)
        return _dot(ray, self.fast) * depth, _dot(ray, self.slow) * depth


def _dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _cross(a: Vector, b: Vector) -> Vector:
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )


def _inverse(f: Vector, s: Vector, o: Vector) -> list[Vector]:
    """Return the rows of the inverse of the matrix whose columns are given.

    The order of the products is that of scitbx, so that the last digits agree.
    """
    determinant = (
        f[0] * (s[1] * o[2] - s[2] * o[1])
        - s[0] * (f[1] * o[2] - o[1] * f[2])
        + o[0] * (f[1] * s[2] - s[1] * f[2])
    )
    adjugate = (
        (
            s[1] * o[2] - o[1] * s[2],
            o[0] * s[2] - s[0] * o[2],
            s[0] * o[1] - o[0] * s[1],
        ),
        (
            o[1] * f[2] - f[1] * o[2],
            f[0] * o[2] - o[0] * f[2],
            o[0] * f[1] - f[0] * o[1],
        ),
        (
            f[1] * s[2] - s[1] * f[2],
            s[0] * f[2] - f[0] * s[2],
            f[0] * s[1] - s[0] * f[1],
        ),
    )
    return [[part / determinant for part in row] for row in adjugate]
