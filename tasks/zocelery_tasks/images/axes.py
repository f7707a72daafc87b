"""Chains of rotation and translation axes, as imgCIF and NeXus describe geometry."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from zocelery_tasks.images.panel import Vector


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis and what it is set to."""

    vector: Vector
    is_rotation: bool
    setting: float = 0.0
    """Degrees for a rotation (right-handed about `vector`), else mm along `vector`."""
    offset: Vector = (0.0, 0.0, 0.0)
    """Of the axis from the one that it depends on, in mm."""

    def turn(self, direction: Vector) -> Vector:
        """Return a direction as the axis turns it."""
        if not (self.is_rotation and self.setting):
            return direction
        return _rotate(direction, self.vector, math.radians(self.setting))

    def move(self, point: Vector) -> Vector:
        """Return where the axis takes a point, both in mm."""
        x, y, z = self.turn(point)
        shift = 0.0 if self.is_rotation else self.setting
        return (
            x + shift * self.vector[0] + self.offset[0],
            y + shift * self.vector[1] + self.offset[1],
            z + shift * self.vector[2] + self.offset[2],
        )


def move(point: Vector, chain: Iterable[Axis]) -> Vector:
    """Return where a chain of axes takes a point.

    Args:
        point: in mm, as the innermost axis sees it.
        chain: from the innermost axis to the one that stands on the floor.
    """
    for axis in chain:
        point = axis.move(point)
    return point


def turn(direction: Vector, chain: Iterable[Axis]) -> Vector:
    """Return a direction as a chain of axes turns it, at length 1.

    A direction of no length stays so.

    Args:
        direction: as the innermost axis sees it.
        chain: from the innermost axis to the one that stands on the floor.
    """
    for axis in chain:
        direction = axis.turn(direction)
    return scale(direction, 1 / (math.hypot(*direction) or 1.0))


def scale(vector: Vector, factor: float) -> Vector:
    """Return `vector` at `factor` times its length."""
    x, y, z = vector
    return x * factor, y * factor, z * factor


def _rotate(vector: Vector, about: Vector, angle: float) -> Vector:
    """Return `vector` rotated by `angle` in radians (Rodrigues' formula).

    Nothing turns about an axis of no length.
    """
    length = math.hypot(*about)
    if length == 0:
        return vector
    kx, ky, kz = scale(about, 1 / length)
    x, y, z = vector
    sine, cosine = math.sin(angle), math.cos(angle)
    along = (kx * x + ky * y + kz * z) * (1 - cosine)
    return (
        x * cosine + (ky * z - kz * y) * sine + kx * along,
        y * cosine + (kz * x - kx * z) * sine + ky * along,
        z * cosine + (kx * y - ky * x) * sine + kz * along,
    )
