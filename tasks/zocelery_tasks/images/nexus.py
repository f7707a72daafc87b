"""Geometry in NeXus's application definition NXmx."""

from dataclasses import replace

import numpy as np

from zocelery.errors import ImageError
from zocelery_tasks.images.axes import Axis, move, scale, turn
from zocelery_tasks.images.hdf5_node import Node
from zocelery_tasks.images.panel import Panel, Vector
from zocelery_tasks.images.units import degrees_per, mm_per

_FACES_BEAM = 0.99
_AXIS_LIMIT = 64


def nexus_panels(detector: Node) -> list[Panel]:
    """Return the panels of an NXdetector, one for each NXdetector_module.

    Settings that change during a collection count as they are for its first image.

    Raises:
        ImageError: if an entry is missing or strange.
    """
    modules = list(detector.children("NXdetector_module"))
    panels = [_panel(module) for module in modules]
    if len(panels) > 1:
        return panels
    return [_downstream(_centred(panel, detector)) for panel in panels]


def _panel(module: Node) -> Panel:
    fast, slow = (
        _required(module, f"{key}_pixel_direction") for key in ("fast", "slow")
    )
    pixel_size = _pixel_size(fast), _pixel_size(slow)
    fast_axis, slow_axis = (
        _to_lab(turn(_vector(node), _chain(node, module))) for node in (fast, slow)
    )
    origin = _to_lab(move(_offset(fast, mm_per), _chain(fast, module)))
    return Panel(
        fast_axis,
        slow_axis,
        origin,
        pixel_size,
        first=_pair(module, "data_origin") or (0, 0),
        size=_pair(module, "data_size"),
    )


def _to_lab(vector: Vector) -> Vector:
    """Return a vector of NeXus's (McStas's) frame, z along the beam, in imgCIF's."""
    x, y, z = vector
    return -x, y, -z


def _required(node: Node, path: str) -> Node:
    found = node.find(path)
    if found is None:
        raise ImageError(f"{node} lacks {path}")
    return found


def _pixel_size(pixel_direction: Node) -> float:
    size = float(pixel_direction.numbers()[0]) * pixel_direction.factor(mm_per, "m")
    if size <= 0:
        raise ImageError(f"{pixel_direction} is {size:g}")
    return size


def _pair(module: Node, key: str) -> tuple[int, int] | None:
    """Return the last two of a module's numbers, (slow, fast); None if not given."""
    node = module.find(key)
    if node is None:
        return None
    numbers = node.numbers()
    if numbers.size < 2:
        raise ImageError(f"{node} has {numbers.size} numbers")
    return int(numbers[-2]), int(numbers[-1])


def _chain(pixel_direction: Node, module: Node) -> list[Axis]:
    """Return the axes that a pixel direction stands on, the innermost first.

    Where it stands on none, as in some detectors' own files, the module's offset is
    the next.
    """
    node = _next(pixel_direction) or module.find("module_offset")
    axes: list[Axis] = []
    while node is not None:
        axes.append(_axis(node))
        if len(axes) > _AXIS_LIMIT:
            raise ImageError(f"{node} depends on itself")
        node = _next(node)
    return axes


def _next(node: Node) -> Node | None:
    path = node.attribute_text("depends_on")
    if path in ("", "."):
        return None
    here = Node(node.file, node.item.parent)
    # Some writers leave out the slash before the name of the entry.
    return here.find(path) or here.find(f"/{path}") or _required(here, path)


def _axis(node: Node) -> Axis:
    is_rotation = node.attribute_text("transformation_type") == "rotation"
    per_unit = degrees_per if is_rotation else mm_per
    setting = float(node.numbers()[0])
    if setting:
        setting *= node.factor(per_unit, None)
    return Axis(_vector(node), is_rotation, setting, _offset(node, per_unit))


def _vector(node: Node) -> Vector:
    vector = node.attribute_vector("vector")
    if vector is None:
        raise ImageError(f"{node} has no vector")
    return vector


def _offset(node: Node, per_unit: object) -> Vector:
    """Return an axis's offset in mm.

    Diamond's files leave out `offset_units`; a translation's own unit counts then.
    """
    offset = node.attribute_vector("offset")
    if offset is None or not any(offset):
        return (0.0, 0.0, 0.0)
    if node.attribute_text("offset_units") or per_unit is not mm_per:
        factor = node.factor(mm_per, "mm", "offset_units")
    else:
        factor = node.factor(mm_per, "mm")
    return scale(offset, factor)


def _centred(panel: Panel, detector: Node) -> Panel:
    """Return the only panel, moved by the beam centre in pixels in the header.

    Some detectors' own files say no more of where the detector is across the beam.
    """
    if any(panel.origin[:2]):
        return panel
    axes = (panel.fast_axis, panel.slow_axis)
    across = [
        scale(axis, size * (detector.number(f"beam_center_{key}") or 0.0))
        for key, axis, size in zip("xy", axes, panel.pixel_size, strict=True)
    ]
    shifts = [Axis(scale(shift, -1.0), False, 1.0) for shift in across]
    return replace(panel, origin=move(panel.origin, shifts))


def _downstream(panel: Panel) -> Panel:
    """Return the only panel, moved behind the sample if it stands before it.

    A detector that faces the beam cannot stand upstream: its distance has the wrong
    sign in the file. So does DIALS.
    """
    normal = np.cross(panel.fast_axis, panel.slow_axis)
    x, y, z = panel.origin
    if abs(normal[2]) <= _FACES_BEAM or z <= 0:
        return panel
    return replace(panel, origin=(x, y, -z))
