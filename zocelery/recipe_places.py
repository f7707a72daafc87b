"""Places of a recipe's picture: from boxes and edges to points.

Lengths are inches; x grows to the right and y downwards.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from zocelery.recipe_drawing import (
    Box,
    Drawing,
    Edge,
    EdgeKind,
    Role,
    box_lines,
    edge_label,
)
from zocelery.recipe_layout import StandIn, lay_out

NAME_SIZE = 9.5
"""Size of a box's name, in points; the size of all other text follows."""
NOTE_SIZE = 7.5
LINE = 0.16
"""Height of a line of text in a box."""
POINT = 0.2
"""Length of the point at the right of a gather."""
LABEL_START = 0.1
"""Distance from a box to the label of its channel."""

_PORT = 0.25
_GAP = 0.3
_COLUMN_GAP = 0.75

Point = tuple[float, float]
Port = tuple[str, EdgeKind]
"""A channel of a box: all its edges leave the box at one place."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Centre and size of a box."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """Its left edge."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Its right edge; the tip of a gather's point."""
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        """Its upper edge."""
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.height / 2


@dataclass(frozen=True)
class Places:
    """A drawing with all its places."""

    drawing: Drawing
    frames: Mapping[str, Frame]
    ports: Mapping[tuple[str, Port], Point]
    lines: Sequence[Sequence[Point]]
    """For each edge the points that it goes through, its label left aside."""


def arrange(drawing: Drawing) -> Places:
    """Place the boxes in layers, and the edges between them."""
    channels: dict[str, list[Port]] = {name: [] for name in drawing.boxes}
    for edge in drawing.edges:
        if port_of(edge) not in channels[edge.source]:
            channels[edge.source].append(port_of(edge))
    sizes = {
        name: _size(box, len(channels[name])) for name, box in drawing.boxes.items()
    }
    heights = {name: height for name, (_, height) in sizes.items()}
    pairs = [(edge.source, edge.target) for edge in drawing.edges]
    layout = lay_out(heights, pairs, _GAP)
    layers = [[p for p in layer if isinstance(p, str)] for layer in layout.layers]
    columns = list(_columns(layers, sizes, channels))
    frames = {
        name: Frame((left + right) / 2, layout.heights[name], *sizes[name])
        for layer, (left, right) in zip(layers, columns, strict=True)
        for name in layer
    }
    ports = dict(_place_ports(channels, frames, _mean_targets(drawing.edges, frames)))
    lines = []
    for edge, route in zip(drawing.edges, layout.routes, strict=True):
        target = frames[edge.target]
        between = [
            (x, layout.heights[place])
            for place in route
            if isinstance(place, StandIn)
            for x in columns[place.layer]
        ]
        start = ports[edge.source, port_of(edge)]
        lines.append([start, *between, (target.left, target.y)])
    return Places(drawing, frames, ports, lines)


def _columns(
    layers: Iterable[Sequence[str]],
    sizes: Mapping[str, Point],
    channels: Mapping[str, Sequence[Port]],
) -> Iterator[Point]:
    """Yield the left and right end of each layer, with room for labels between."""
    left = 0.0
    for layer in layers:
        right = left + max(sizes[name][0] for name in layer)
        yield left, right
        rooms = [label_room(label) for name in layer for label, _ in channels[name]]
        left = right + max(rooms, default=0.0) + _COLUMN_GAP


def port_of(edge: Edge) -> Port:
    """Return the channel by which an edge leaves its box."""
    return edge_label(edge), edge.kind


def _size(box: Box, port_count: int) -> tuple[float, float]:
    """Return width and height of a box."""
    name, *notes = box_lines(box)
    widths = [_text_width(name, NAME_SIZE, bold=True)]
    widths += [_text_width(note, NOTE_SIZE) for note in notes]
    round_or_pointed = box.role in (Role.WATCH, Role.GATHER, Role.WRAPPER)
    width = max(widths) + (0.5 if round_or_pointed else 0.32)
    return width, max(LINE * (len(notes) + 1) + 0.22, port_count * _PORT + 0.06)


@cache
def _text_width(text: str, size: float, *, bold: bool = False) -> float:
    font = FontProperties(weight="bold" if bold else "normal")
    path = TextPath((0, 0), text.replace("$", "S"), size=size, prop=font)
    return float(path.get_extents().width) / 72 if text.strip() else 0.0


def label_room(label: str) -> float:
    """Return how much of an edge a label at its beginning takes."""
    return LABEL_START + _text_width(label, NOTE_SIZE) + 0.1 if label else 0.0


def _mean_targets(
    edges: Iterable[Edge], frames: Mapping[str, Frame]
) -> dict[tuple[str, Port], float]:
    found: dict[tuple[str, Port], list[float]] = {}
    for edge in edges:
        target = frames[edge.target].y
        found.setdefault((edge.source, port_of(edge)), []).append(target)
    return {key: sum(values) / len(values) for key, values in found.items()}


def _place_ports(
    channels: Mapping[str, Sequence[Port]],
    frames: Mapping[str, Frame],
    means: Mapping[tuple[str, Port], float],
) -> Iterator[tuple[tuple[str, Port], Point]]:
    """Yield the places where channels leave their boxes, those upwards on top."""
    for name, ports in channels.items():
        frame = frames[name]
        middle = (len(ports) - 1) / 2
        ordered = sorted((means[name, port], i, port) for i, port in enumerate(ports))
        for number, (_, _, port) in enumerate(ordered):
            yield (name, port), (frame.right, frame.y + (number - middle) * _PORT)
