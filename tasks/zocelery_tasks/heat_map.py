"""A grid of spot counts as a picture: in the terminal, as PNG or SVG.

Grids are drawn as the microscope shows them: (0, 0) at the top left, x to the right.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.style import Style
from rich.text import Text

from zocelery.errors import InputFileError
from zocelery_tasks.kernels.grid import GridGeometry, Orientation, reshape_grid

if TYPE_CHECKING:  # slow to import, and drawing is rare
    from matplotlib.axes import Axes

Grid = npt.NDArray[np.float64]

PICTURE_SUFFIXES = (".png", ".svg", ".pdf")

_EMPTY, _WEAK, _STRONG, _MISSING = " ", "·", "░▒▓█", "?"
_CENTRE = "><"
_COLOURS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")
"""From weak to strong, in steps that people with any colour vision tell apart."""
_MOST_LABELLED_BOXES = 900
_INCHES = (4.0, 12.0)
"""Least and most length of a picture's sides."""


def table_of_counts(grid: Grid) -> list[str]:
    """Return the rows of a grid as text, a dot for each empty box.

    Args:
        grid: counts, shape (ny, nx).
    """
    cells = [["." if count == 0 else f"{count:g}" for count in row] for row in grid]
    width = max((len(cell) for row in cells for cell in row), default=1)
    return [" ".join(cell.rjust(width) for cell in row) for row in cells]


def draw_text(
    grid: Grid,
    *,
    centre: tuple[float, float] | None = None,
    threshold: float = 0.5,
    columns: int = 80,
) -> Text:
    """Return a grid as lines of shaded and coloured boxes for the terminal.

    Boxes below the threshold show a dot, empty ones nothing, those of missing images a
    question mark; the box in which the centre lies shows `><`. Boxes are two characters
    wide if that fits, else one.

    Args:
        grid: counts (>= 0, NaN for missing images), shape (ny, nx).
        centre: (x, y) in boxes; the middle of the first box is at (0.5, 0.5).
        threshold: part of the largest count from which on a box is shaded.
        columns: width of the terminal.
    """
    rows, boxes = grid.shape
    margin = len(str(rows - 1)) + 1
    wide = 2 if margin + 2 * boxes + 2 <= columns else 1
    text = Text(no_wrap=True)
    text.append(" " * margin + "┌" + _ruler(boxes, wide) + "┐\n", style="dim")
    at = None if centre is None else (math.floor(centre[1]), math.floor(centre[0]))
    most = _largest(grid)
    for row in range(rows):
        text.append(f"{row:>{margin - 1}} │", style="dim")
        for column in range(boxes):
            marked = (row, column) == at
            _draw_box(text, grid[row, column], most, threshold, wide, marked)
        text.append("│\n", style="dim")
    text.append(" " * margin + "└" + "─" * (wide * boxes) + "┘\n", style="dim")
    return text


def draw_grid(
    counts: Sequence[float | None],
    steps: tuple[int, int],
    answer: Mapping[str, Any],
    axis: int = 1,
) -> str:
    """Return a grid scan with the centre that was found in it as text for the terminal.

    Args:
        counts: in the order of the scan, None for missing images.
        steps: number of boxes along x and down.
        answer: of X-ray centring: the first of its `results` is marked. If it has
            `snaked` and `orientation`, the counts are put in place accordingly.
        axis: which coordinate of the centre goes down: 1 (y), or 2 (z) in the second
            of two grids.
    """
    geometry = GridGeometry(
        steps=steps,
        snaked=bool(answer.get("snaked", False)),
        orientation=Orientation(answer.get("orientation", Orientation.HORIZONTAL)),
    )
    values = [math.nan if count is None else count for count in counts]
    results = answer.get("results") or [{}]
    place = results[0].get("centre_of_mass")
    console = Console(soft_wrap=True)
    with console.capture() as captured:
        text = draw_text(
            reshape_grid(values, geometry).T,
            centre=None if place is None else (place[0], place[axis]),
            columns=console.width,
        )
        console.print(text, end="")
    return captured.get().rstrip("\n")


def _largest(grid: Grid) -> float:
    """Return the largest count, 0 if there is none."""
    return float(np.max(grid, initial=0, where=~np.isnan(grid)))


def _ruler(boxes: int, wide: int) -> str:
    """Return an edge with the number of every fifth box over it, from 0."""
    ruler = ["─"] * (wide * boxes)
    for box in range(0, boxes, 5):
        number = str(box)
        start = wide * box
        if start + len(number) <= len(ruler):
            ruler[start : start + len(number)] = number
    return "".join(ruler)


def _draw_box(
    text: Text, count: float, most: float, threshold: float, wide: int, marked: bool
) -> None:
    is_strong = count > 0 and count >= threshold * most
    shade, style = (_WEAK if count > 0 else _EMPTY), Style()
    if math.isnan(count):
        shade, style = _MISSING, Style(dim=True)
    elif is_strong:
        span = max((1 - threshold) * most, 1e-9)
        rank = min(max((count - threshold * most) / span, 0.0), 1.0)
        shade = _STRONG[round(rank * (len(_STRONG) - 1))]
        style = Style(color=_COLOURS[round(rank * (len(_COLOURS) - 1))])
    if marked:
        mark = _CENTRE if wide == 2 else _CENTRE[0]
        text.append(mark, style=Style(bold=True, color="red"))
    else:
        text.append(shade * wide, style=style)


def save_picture(
    path: Path,
    grid: Grid,
    *,
    centre: tuple[float, float] | None = None,
    numbers: npt.NDArray[np.integer[Any]] | None = None,
    region: Collection[tuple[int, int]] = (),
    missing: Collection[int] = (),
    title: str = "",
    axes: tuple[str, str] = ("x", "y"),
    aspect: float = 1.0,
) -> None:
    """Write a grid as a heat map with a colour bar.

    Args:
        path: the suffix tells the format: .png, .svg or .pdf.
        grid: counts (>= 0, NaN for missing images), shape (ny, nx).
        centre: (x, y) in boxes, to be marked by a cross.
        numbers: of the images, shape (ny, nx), written into the boxes of small grids.
        region: boxes (y, x), 0-based, to be outlined.
        missing: numbers of images without a count, to be crossed out.
        title: over the picture.
        axes: names of the horizontal and the vertical axis.
        aspect: height of a box over its width.

    Raises:
        InputFileError: if it is another format, or the file cannot be written.
    """
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        known = ", ".join(PICTURE_SUFFIXES)
        raise InputFileError(f"{path}: a picture's name ends with {known}")
    from matplotlib.figure import Figure  # here, for the reason above
    from matplotlib.ticker import MaxNLocator

    rows, columns = grid.shape
    figure = Figure(figsize=_size(columns, rows * aspect), layout="constrained")
    drawn = figure.add_subplot()
    image = drawn.imshow(
        grid,
        origin="upper",
        extent=(0, columns, rows, 0),
        aspect=aspect,
        cmap="viridis",
        vmin=0,
        vmax=max(_largest(grid), 1.0),
        interpolation="nearest",
    )
    figure.colorbar(image, ax=drawn, label="spots", shrink=0.9)
    for axis in (drawn.xaxis, drawn.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    drawn.set(xlabel=f"{axes[0]} (boxes)", ylabel=f"{axes[1]} (boxes)", title=title)
    if numbers is not None:
        _label_boxes(drawn, grid, numbers, missing)
    _outline(drawn, region)
    if centre is not None:
        _mark(drawn, centre)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InputFileError(f"cannot write {path}: {error.strerror}") from error


def _size(width: float, height: float) -> tuple[float, float]:
    """Return the size in inches of a picture whose sides are in this proportion."""
    least, most = _INCHES
    scale = min(0.35, (most - 2) / width, (most - 1) / height)
    return (
        min(max(width * scale + 2.0, least), most),
        min(max(height * scale + 1.0, least / 2), most),
    )


def _label_boxes(
    drawn: Axes,
    grid: Grid,
    numbers: npt.NDArray[np.integer[Any]],
    missing: Collection[int],
) -> None:
    """Write image numbers into the boxes, and cross out those without a count."""
    middle = _largest(grid) / 2
    lost = set(missing)
    for (row, column), number in np.ndenumerate(numbers):
        if int(number) in lost:
            drawn.plot([column + 0.5], [row + 0.5], "x", color="tab:red", markersize=8)
        elif grid.size <= _MOST_LABELLED_BOXES:
            colour = "black" if grid[row, column] > middle else "white"
            drawn.text(
                column + 0.5,
                row + 0.5,
                str(number),
                ha="center",
                va="center",
                fontsize=6,
                color=colour,
            )


def _outline(drawn: Axes, region: Collection[tuple[int, int]]) -> None:
    """Draw the edges of a region that no two of its boxes share."""
    inside = set(region)
    for y, x in inside:
        for neighbour, edge in (
            ((y - 1, x), ((x, x + 1), (y, y))),
            ((y + 1, x), ((x, x + 1), (y + 1, y + 1))),
            ((y, x - 1), ((x, x), (y, y + 1))),
            ((y, x + 1), ((x + 1, x + 1), (y, y + 1))),
        ):
            if neighbour not in inside:
                drawn.plot(*edge, color="white", linewidth=1.5, clip_on=False)


def _mark(drawn: Axes, centre: tuple[float, float]) -> None:
    for colour, width in (("white", 3.5), ("tab:red", 1.8)):
        drawn.plot(
            [centre[0]],
            [centre[1]],
            marker="+",
            markersize=14,
            markeredgewidth=width,
            color=colour,
        )
