"""Geometry in the master files of DECTRIS's own Eiger file writer."""

import numpy as np

from zocelery.errors import ImageError
from zocelery_tasks.images.hdf5_node import Node
from zocelery_tasks.images.panel import Panel, Vector
from zocelery_tasks.images.units import mm_per

_UPRIGHT = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
"""The orientation of a detector as it is delivered."""


def eiger_panel(detector: Node) -> Panel:
    """Return the panel that `geometry`, or else distance and beam centre, describe.

    Raises:
        ImageError: if an entry is missing or strange.
    """
    pixel_size = (
        _positive(detector, "x_pixel_size"),
        _positive(detector, "y_pixel_size"),
    )
    fast_axis, slow_axis = _axes(detector)
    return Panel(
        fast_axis,
        slow_axis,
        _origin(detector, pixel_size, fast_axis, slow_axis),
        pixel_size,
    )


def _axes(detector: Node) -> tuple[Vector, Vector]:
    node = detector.find("geometry/orientation/value")
    numbers = np.asarray(_UPRIGHT) if node is None else node.numbers()
    if numbers.size < 6:
        raise ImageError(f"{node} has {numbers.size} numbers, not 6")
    fast, slow = ((-x, y, z) for x, y, z in numbers[:6].reshape(2, 3).tolist())
    return fast, slow


def _origin(
    detector: Node,
    pixel_size: tuple[float, float],
    fast_axis: Vector,
    slow_axis: Vector,
) -> Vector:
    """Return the corner of the first pixel.

    The header gives the shift along x and y of the first pixel from the beam, as seen
    from the source, and the distance, of either sign.
    """
    node = detector.find("geometry/translation/distances")
    if node is not None:
        numbers = node.numbers()
        if numbers.size < 3:
            raise ImageError(f"{node} has {numbers.size} numbers, not 3")
        x, y, z = (1000 * float(number) for number in numbers[:3])
        if x or y:
            return -x, y, -abs(z)
    key = "detector_distance" if detector.find("detector_distance") else "distance"
    centre = [
        (detector.number(f"beam_center_{axis}") or 0.0) * size
        for axis, size in zip("xy", pixel_size, strict=True)
    ]
    x, y, _ = -(np.asarray(fast_axis) * centre[0] + np.asarray(slow_axis) * centre[1])
    return float(x), float(y), -_positive(detector, key)


def _positive(detector: Node, key: str) -> float:
    number = detector.number(key, mm_per, "m")
    if number is None or number <= 0:
        raise ImageError(f"{detector} lacks {key}")
    return number
