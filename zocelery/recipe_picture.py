"""Pictures of recipes: SVG and PNG through matplotlib, without a display.

Lengths are inches; x grows to the right and y downwards.
"""

import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch, Polygon
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from zocelery.catalogue import Catalogue
from zocelery.errors import RecipeError
from zocelery.recipe import Recipe
from zocelery.recipe_drawing import (
    Box,
    Drawing,
    Edge,
    EdgeKind,
    Role,
    box_lines,
    edge_label,
    make_drawing,
)
from zocelery.recipe_layout import lay_out

MOST_NODES = 300
"""A picture of more nodes would be too large to look at."""

_DPI = 160
_MOST_PIXELS = 20_000
_NAME_SIZE, _NOTE_SIZE, _LABEL_SIZE = 9.5, 7.5, 7.5
_LINE = 0.16
_PORT = 0.25
_GAP = 0.3
_LABEL_START = 0.1
_HEAD = 0.1
_POINT = 0.2
_INK, _PALE = "#1f2933", "#52606d"
_FILLS = {
    Role.PLAIN: "#f1f4f8",
    Role.WATCH: "#d9eefb",
    Role.GATHER: "#ffe3b8",
    Role.WRAPPER: "#e6e0f8",
    Role.FOREIGN: "#ffffff",
}
_COLOURS = {
    EdgeKind.ONCE: _PALE,
    EdgeKind.STREAM: "#1976a3",
    EdgeKind.ERROR: "#c0392b",
}
_WIDTHS = {EdgeKind.ONCE: 1.1, EdgeKind.STREAM: 2.6, EdgeKind.ERROR: 1.1}

Point = tuple[float, float]
Port = tuple[str, EdgeKind]
"""A channel of a box: all its edges leave the box at one place."""


def draw_picture(
    recipe: Recipe,
    catalogue: Catalogue | None = None,
    *,
    file_format: Literal["svg", "png"] = "svg",
) -> bytes:
    """Return a picture of a recipe whose graph has been checked.

    Watches have round ends, gathers a point, programs a double frame; edges that carry
    the members of a fan-out are thick, those for failures dashed.

    Raises:
        RecipeError: it has more than `MOST_NODES` nodes.
    """
    if len(recipe.nodes) > MOST_NODES:
        raise RecipeError(
            f"recipe {recipe.name!r}: {len(recipe.nodes)} nodes are too many for a "
            f"picture (at most {MOST_NODES}); draw it as text or mermaid"
        )
    picture = _arrange(make_drawing(recipe, catalogue))
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "zocelery"}):
        figure = _paint(picture, recipe)
        figure.savefig(
            stream,
            format=file_format,
            dpi=min(_DPI, _MOST_PIXELS / max(figure.get_size_inches())),
            bbox_inches="tight",
            pad_inches=0.25,
            metadata={"Date": None} if file_format == "svg" else {"Software": None},
        )
    return stream.getvalue()


@dataclass(frozen=True, slots=True)
class _Frame:
    """Centre and size of a box."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height / 2


@dataclass(frozen=True)
class _Picture:
    """A drawing with all its places."""

    drawing: Drawing
    frames: Mapping[str, _Frame]
    ports: Mapping[tuple[str, Port], Point]
    lines: Sequence[Sequence[Point]]
    """For each edge the points that it goes through, its label left aside."""


def _arrange(drawing: Drawing) -> _Picture:
    channels: dict[str, list[Port]] = {name: [] for name in drawing.boxes}
    for edge in drawing.edges:
        if _port(edge) not in channels[edge.source]:
            channels[edge.source].append(_port(edge))
    sizes = {
        name: _size(box, len(channels[name])) for name, box in drawing.boxes.items()
    }
    layout = lay_out(
        {name: height for name, (_, height) in sizes.items()},
        [(edge.source, edge.target) for edge in drawing.edges],
        _GAP,
    )
    labels = {name: _longest_label(ports) for name, ports in channels.items()}
    frames: dict[str, _Frame] = {}
    columns: list[tuple[float, float]] = []
    left = 0.0
    for layer in layout.layers:
        names = [place for place in layer if isinstance(place, str)]
        width = max(sizes[name][0] for name in names)
        for name in names:
            height = layout.heights[name]
            frames[name] = _Frame(left + width / 2, height, *sizes[name])
        columns.append((left, left + width))
        left += width + max(labels[name] for name in names) + 0.75
    means = _mean_targets(drawing.edges, frames)
    ports = dict(_place_ports(channels, frames, means))
    lines = []
    for edge, route in zip(drawing.edges, layout.routes, strict=True):
        points = [ports[edge.source, _port(edge)]]
        for stand_in in route[1:-1]:
            layer_left, layer_right = columns[_layer_of(stand_in)]
            height = layout.heights[stand_in]
            points += [(layer_left, height), (layer_right, height)]
        target = frames[edge.target]
        lines.append([*points, (target.left, target.y)])
    return _Picture(drawing, frames, ports, lines)


def _layer_of(stand_in: object) -> int:
    if isinstance(stand_in, tuple):
        return int(stand_in[1])
    raise TypeError(stand_in)


def _port(edge: Edge) -> Port:
    return edge_label(edge), edge.kind


def _size(box: Box, port_count: int) -> tuple[float, float]:
    """Return width and height of a box."""
    name, *notes = box_lines(box)
    widths = [_text_width(name, _NAME_SIZE, bold=True)]
    widths += [_text_width(note, _NOTE_SIZE) for note in notes]
    round_or_pointed = box.role in (Role.WATCH, Role.GATHER, Role.WRAPPER)
    width = max(widths) + (0.5 if round_or_pointed else 0.32)
    return width, max(_LINE * (len(notes) + 1) + 0.22, port_count * _PORT + 0.06)


@cache
def _text_width(text: str, size: float, *, bold: bool = False) -> float:
    font = FontProperties(weight="bold" if bold else "normal")
    path = TextPath((0, 0), text.replace("$", "S"), size=size, prop=font)
    return float(path.get_extents().width) / 72 if text.strip() else 0.0


def _longest_label(ports: Iterable[Port]) -> float:
    return max((_label_room(label) for label, _ in ports), default=0.0)


def _label_room(label: str) -> float:
    return _LABEL_START + _text_width(label, _LABEL_SIZE) + 0.1 if label else 0.0


def _mean_targets(
    edges: Iterable[Edge], frames: Mapping[str, _Frame]
) -> dict[tuple[str, Port], float]:
    found: dict[tuple[str, Port], list[float]] = {}
    for edge in edges:
        target = frames[edge.target].y
        found.setdefault((edge.source, _port(edge)), []).append(target)
    return {key: sum(values) / len(values) for key, values in found.items()}


def _place_ports(
    channels: Mapping[str, Sequence[Port]],
    frames: Mapping[str, _Frame],
    means: Mapping[tuple[str, Port], float],
) -> Iterable[tuple[tuple[str, Port], Point]]:
    """Yield the places where channels leave their boxes, those upwards on top."""
    for name, ports in channels.items():
        frame = frames[name]
        middle = (len(ports) - 1) / 2
        ordered = sorted((means[name, port], i, port) for i, port in enumerate(ports))
        for number, (_, _, port) in enumerate(ordered):
            yield (name, port), (frame.right, frame.y + (number - middle) * _PORT)


def _paint(picture: _Picture, recipe: Recipe) -> Figure:
    frames = picture.frames.values()
    left, right = min(f.left for f in frames), max(f.right for f in frames)
    heights = [y for line in picture.lines for _, y in line]
    top = min(*heights, *(f.top for f in frames), 0.0)
    bottom = max(*heights, *(f.bottom for f in frames), 0.0)
    figure = Figure(figsize=(right - left, bottom - top), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    for edge, points in zip(picture.drawing.edges, picture.lines, strict=True):
        _paint_edge(axes, edge, points)
    for (_, (label, kind)), point in picture.ports.items():
        _paint_label(axes, label, kind, point)
    for name, frame in picture.frames.items():
        _paint_box(axes, picture.drawing.boxes[name], frame)
        if picture.drawing.boxes[name].is_start:
            _paint_start(axes, frame)
    for name in picture.drawing.told_of_errors:
        _paint_failure(axes, picture.frames[name])
    _paint_title(axes, recipe, (left, top), right - left)
    _paint_legend(axes, picture.drawing, (left, bottom))
    return figure


def _paint_edge(axes: Axes, edge: Edge, points: Sequence[Point]) -> None:
    """Draw a curve that is level at each of its points."""
    (x, y), *further = points
    points = [(x + _label_room(edge_label(edge)), y), *further]
    end_x, end_y = points[-1]
    points[-1] = (end_x - _HEAD * 0.8, end_y)
    vertices, codes = [(x, y), points[0]], [Path.MOVETO, Path.LINETO]
    for (x0, y0), (x1, y1) in pairwise(points):
        bend = (x1 - x0) / 2
        vertices += [(x0 + bend, y0), (x1 - bend, y1), (x1, y1)]
        codes += [Path.CURVE4] * 3
    _add_line(axes, Path(vertices, codes), edge.kind)
    _paint_head(axes, (end_x, end_y), _COLOURS[edge.kind])


def _add_line(axes: Axes, path: Path, kind: EdgeKind) -> None:
    style = (0, (4, 2.5)) if kind is EdgeKind.ERROR else "solid"
    axes.add_patch(
        PathPatch(
            path,
            facecolor="none",
            edgecolor=_COLOURS[kind],
            linewidth=_WIDTHS[kind],
            linestyle=style,
            clip_on=False,
            zorder=1,
        )
    )


def _paint_head(axes: Axes, tip: Point, colour: str) -> None:
    x, y = tip
    corners = [(x, y), (x - _HEAD, y - _HEAD / 2), (x - _HEAD, y + _HEAD / 2)]
    axes.add_patch(Polygon(corners, color=colour, clip_on=False, zorder=3, lw=0))


def _paint_label(axes: Axes, label: str, kind: EdgeKind, point: Point) -> None:
    axes.text(
        point[0] + _LABEL_START,
        point[1],
        _literal(label),
        fontsize=_LABEL_SIZE,
        color=_COLOURS[kind],
        va="center_baseline",
        zorder=4,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2},
    )


def _paint_box(axes: Axes, box: Box, frame: _Frame) -> None:
    style = {
        "facecolor": _FILLS[box.role],
        "edgecolor": _INK,
        "linewidth": 1.0,
        "linestyle": "dashed" if box.role is Role.FOREIGN else "solid",
        "clip_on": False,
        "zorder": 5,
    }
    if box.role is Role.GATHER:
        shoulder = frame.right - _POINT
        corners = [
            (frame.left, frame.top),
            (shoulder, frame.top),
            (frame.right, frame.y),
            (shoulder, frame.bottom),
            (frame.left, frame.bottom),
        ]
        axes.add_patch(Polygon(corners, joinstyle="round", **style))
    else:
        rounding = frame.height / 2 if box.role is Role.WATCH else 0.07
        axes.add_patch(
            FancyBboxPatch(
                (frame.left, frame.top),
                frame.width,
                frame.height,
                boxstyle=f"round,pad=0,rounding_size={rounding}",
                **style,
            )
        )
    if box.role is Role.WRAPPER:
        for x in (frame.left + 0.09, frame.right - 0.09):
            axes.plot([x, x], [frame.top, frame.bottom], color=_INK, lw=0.8, zorder=6)
    _paint_lines(axes, box_lines(box), frame)


def _paint_lines(axes: Axes, lines: Sequence[str], frame: _Frame) -> None:
    x = frame.x - (_POINT / 4 if len(lines) > 3 else 0)
    for number, line in enumerate(lines):
        axes.text(
            x,
            frame.y + (number - (len(lines) - 1) / 2) * _LINE,
            _literal(line),
            fontsize=_NOTE_SIZE if number else _NAME_SIZE,
            fontweight="normal" if number else "bold",
            color=_PALE if number else _INK,
            ha="center",
            va="center",
            zorder=7,
        )


def _paint_start(axes: Axes, frame: _Frame) -> None:
    x = frame.left - 0.38
    axes.add_patch(Circle((x, frame.y), 0.07, color=_INK, clip_on=False, zorder=5))
    end = (frame.left - _HEAD * 0.8, frame.y)
    _add_line(axes, Path([(x, frame.y), end]), EdgeKind.ONCE)
    _paint_head(axes, (frame.left, frame.y), _COLOURS[EdgeKind.ONCE])


def _paint_failure(axes: Axes, frame: _Frame) -> None:
    """Show that the node is told of all failures that no other node is told of."""
    x, y = frame.left - 0.42, frame.bottom - 0.1
    end = (frame.left - _HEAD * 0.8, y)
    _add_line(axes, Path([(x, y), end]), EdgeKind.ERROR)
    _paint_head(axes, (frame.left, y), _COLOURS[EdgeKind.ERROR])
    axes.text(
        x - 0.05,
        y,
        "any failure",
        fontsize=_LABEL_SIZE,
        color=_COLOURS[EdgeKind.ERROR],
        ha="right",
        va="center",
        zorder=4,
    )


def _paint_title(axes: Axes, recipe: Recipe, corner: Point, width: float) -> None:
    x, y = corner
    room = max(60, int(width / 0.062))
    lines = textwrap.wrap(recipe.description, room)[:4]
    y -= 0.3 + 0.17 * len(lines)
    axes.text(x, y, _literal(recipe.name), fontsize=12, fontweight="bold", color=_INK)
    for line in lines:
        y += 0.2
        axes.text(x, y, _literal(line), fontsize=8, color=_PALE)


def _paint_legend(axes: Axes, drawing: Drawing, corner: Point) -> None:
    """Explain below the picture what it contains beside plain tasks and edges."""
    roles = {box.role for box in drawing.boxes.values()} - {Role.PLAIN}
    kinds = {edge.kind for edge in drawing.edges} - {EdgeKind.ONCE}
    handles: list[Patch | Line2D] = [
        Patch(facecolor=_FILLS[role], edgecolor=_INK, label=str(role))
        for role in Role
        if role in roles
    ]
    for kind in (kind for kind in EdgeKind if kind in kinds):
        style = "dashed" if kind is EdgeKind.ERROR else "solid"
        line = Line2D([], [], color=_COLOURS[kind], lw=_WIDTHS[kind], ls=style)
        line.set_label(str(kind))
        handles.append(line)
    if handles:
        axes.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(corner[0], corner[1] + 0.12),
            bbox_transform=axes.transData,
            ncols=len(handles),
            frameon=False,
            fontsize=7.5,
            labelcolor=_PALE,
            borderpad=0,
        )


def _literal(text: str) -> str:
    """Return a text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")
