"""Pictures of recipes: SVG and PNG through matplotlib, without a display.

Lengths are inches; x grows to the right and y downwards.
"""

import io
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch, Polygon
from matplotlib.path import Path

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
from zocelery.recipe_places import (
    LABEL_START,
    LINE,
    NAME_SIZE,
    NOTE_SIZE,
    POINT,
    Frame,
    Places,
    Point,
    arrange,
    label_room,
)

MOST_NODES = 300
"""A picture of more nodes would be too large to look at."""

_DPI = 160
_MOST_PIXELS = 20_000
_HEAD = 0.1
_INSIDE = 0.2
"""Edges begin below their box, so that they meet its outline however round it is."""
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
    places = arrange(make_drawing(recipe, catalogue))
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "zocelery"}):
        figure = _paint(places, recipe)
        figure.savefig(
            stream,
            format=file_format,
            dpi=min(_DPI, _MOST_PIXELS / max(figure.get_size_inches())),
            bbox_inches="tight",
            pad_inches=0.25,
            metadata={"Date": None} if file_format == "svg" else {"Software": None},
        )
    return stream.getvalue()


def _paint(places: Places, recipe: Recipe) -> Figure:
    frames = places.frames.values()
    left, right = min(f.left for f in frames), max(f.right for f in frames)
    heights = [y for line in places.lines for _, y in line]
    top = min([*heights, *(f.top for f in frames)])
    bottom = max([*heights, *(f.bottom for f in frames)])
    figure = Figure(figsize=(right - left, bottom - top), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    for edge, points in zip(places.drawing.edges, places.lines, strict=True):
        _paint_edge(axes, edge, points)
    for (_, (label, kind)), point in places.ports.items():
        _paint_label(axes, label, kind, point)
    fed = {edge.target for edge in places.drawing.edges}
    for name, frame in places.frames.items():
        _paint_box(axes, places.drawing.boxes[name], frame)
        if places.drawing.boxes[name].is_start:
            _paint_start(axes, frame, is_fed=name in fed)
    for name in places.drawing.told_of_errors:
        _paint_failure(axes, places.frames[name])
    _paint_title(axes, recipe, (left, top), right - left)
    _paint_legend(axes, places.drawing, (left, bottom))
    return figure


def _paint_edge(axes: Axes, edge: Edge, points: Sequence[Point]) -> None:
    """Draw a curve that is level at each of its points."""
    (x, y), *further = points
    points = [(x + label_room(edge_label(edge)), y), *further]
    end_x, end_y = points[-1]
    points[-1] = (end_x - _HEAD * 0.8, end_y)
    vertices = [(x - _INSIDE, y), points[0]]
    codes = [Path.MOVETO, Path.LINETO]
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
        point[0] + LABEL_START,
        point[1],
        _literal(label),
        fontsize=NOTE_SIZE,
        color=_COLOURS[kind],
        va="center_baseline",
        zorder=4,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2},
    )


def _paint_box(axes: Axes, box: Box, frame: Frame) -> None:
    outline = _outline(box, frame)
    outline.set_facecolor(_FILLS[box.role])
    outline.set_edgecolor(_INK)
    outline.set_linestyle("dashed" if box.role is Role.FOREIGN else "solid")
    outline.set_clip_on(False)
    outline.set_zorder(5)
    axes.add_patch(outline)
    if box.role is Role.WRAPPER:
        for x in (frame.left + 0.09, frame.right - 0.09):
            axes.plot([x, x], [frame.top, frame.bottom], color=_INK, lw=0.8, zorder=6)
    x = frame.x - (POINT / 3 if box.role is Role.GATHER else 0)
    _paint_lines(axes, box_lines(box), (x, frame.y))


def _outline(box: Box, frame: Frame) -> Patch:
    if box.role is Role.GATHER:
        shoulder = frame.right - POINT
        corners = [
            (frame.left, frame.top),
            (shoulder, frame.top),
            (frame.right, frame.y),
            (shoulder, frame.bottom),
            (frame.left, frame.bottom),
        ]
        return Polygon(corners, joinstyle="round")
    rounding = min(frame.height / 2, 0.3) if box.role is Role.WATCH else 0.07
    return FancyBboxPatch(
        (frame.left, frame.top),
        frame.width,
        frame.height,
        boxstyle=f"round,pad=0,rounding_size={rounding}",
    )


def _paint_lines(axes: Axes, lines: Sequence[str], centre: Point) -> None:
    for number, line in enumerate(lines):
        axes.text(
            centre[0],
            centre[1] + (number - (len(lines) - 1) / 2) * LINE,
            _literal(line),
            fontsize=NOTE_SIZE if number else NAME_SIZE,
            fontweight="normal" if number else "bold",
            color=_PALE if number else _INK,
            ha="center",
            va="center",
            zorder=7,
        )


def _paint_start(axes: Axes, frame: Frame, *, is_fed: bool) -> None:
    """Show that a run begins here, beside the middle if edges end there."""
    x, y = frame.left - 0.38, frame.top + 0.1 if is_fed else frame.y
    axes.add_patch(Circle((x, y), 0.07, color=_INK, clip_on=False, zorder=5))
    _add_line(axes, Path([(x, y), (frame.left - _HEAD * 0.8, y)]), EdgeKind.ONCE)
    _paint_head(axes, (frame.left, y), _COLOURS[EdgeKind.ONCE])


def _paint_failure(axes: Axes, frame: Frame) -> None:
    """Show that the node is told of all failures that no other node is told of."""
    axes.text(
        frame.x,
        frame.bottom + 0.06,
        "told of any failure",
        fontsize=NOTE_SIZE,
        color=_COLOURS[EdgeKind.ERROR],
        ha="center",
        va="top",
        zorder=4,
    )


def _paint_title(axes: Axes, recipe: Recipe, corner: Point, width: float) -> None:
    x, y = corner
    lines = textwrap.wrap(recipe.description, max(60, int(width / 0.062)))[:4]
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
