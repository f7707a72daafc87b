"""`zocelery find-spots`: the spots of images, without recipe or server."""

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from zocelery.errors import InputFileError, ParameterError, TaskError
from zocelery_tasks.image_backends import Backend
from zocelery_tasks.images.dials_rule import DialsRule
from zocelery_tasks.per_image_parameters import PerImageAnalysisParameters

_RANGE = re.compile(r"(?P<file>.+?):(?P<first>[^:/]*):(?P<last>[^:/]*)")
_MIN_FOR_PROGRESS = 5
_WIDE = 200
"""Columns of a table that is not shown on a terminal."""
_COLUMNS = {
    "image": "image_number",
    "found": "n_spots_found",
    "spots": "n_spots_total",
    "no ice": "n_spots_no_ice",
    "> 4 Å": "n_spots_4A",
    "intensity": "total_intensity",
    "d_min (Å)": "estimated_d_min",
    "method 1": "d_min_distl_method_1",
    "method 2": "d_min_distl_method_2",
}

Record = dict[str, Any]
"""What is said of one image."""


@dataclass(frozen=True)
class _Images:
    """What one argument names."""

    file: Path
    first: int = 1
    last: int | None = None
    """None for the file's last image."""


@click.command(name="find-spots")
@click.argument("images", nargs=-1, required=True, metavar="FILE[:FIRST:LAST]...")
@click.option(
    "--algorithm",
    type=click.Choice(["dispersion", "dispersion_extended"]),
    default="dispersion",
    show_default=True,
    help="What tells spots from background.",
)
@click.option(
    "--dials-rule",
    type=click.Choice([str(rule) for rule in DialsRule]),
    default=str(DialsRule.V3_12),
    show_default=True,
    help="DIALS version to agree with where versions differ.",
)
@click.option(
    "--backend",
    type=click.Choice([str(backend) for backend in Backend]),
    default=str(Backend.NATIVE),
    show_default=True,
    help="Who opens the images; dials needs DIALS installed.",
)
@click.option("--d-min", type=float, help="Leave out spots below, in Å.")
@click.option(
    "--d-max", type=float, default=40, show_default=True, help="And above, in Å."
)
@click.option("--spots", is_flag=True, help="Also list the spots.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per image.")
def find_spots(
    images: tuple[str, ...], spots: bool, as_json: bool, **options: Any
) -> None:
    """Find the spots of images and say how far they reach.

    FILE is a CBF or SMV image (also .gz, .bz2), a NeXus (NXmx) file or an Eiger master
    file, of which all images are looked at, or those from FIRST to LAST. With the
    backend dials it is whatever DIALS opens.

    Exit code 1 if an image cannot be analysed; the others are analysed all the same.
    """
    try:
        parameters = PerImageAnalysisParameters.parse(options)
    except ParameterError as error:
        raise click.UsageError(str(error)) from error
    parameters.backend.check()
    work = _list_images(images, parameters.backend)
    records = _analyse(work, parameters, spots)
    failed = _print_json(records) if as_json else _print_table(records, len(work))
    if failed:
        click.get_current_context().exit(1)


def _list_images(arguments: Sequence[str], backend: Backend) -> list[tuple[Path, int]]:
    """Return file and number of each image that is asked for.

    Raises:
        InputFileError: if a file is missing or does not have such images.
    """
    named = [_parse(argument) for argument in arguments]
    return [image for images in named for image in _expand(images, backend)]


def _parse(argument: str) -> _Images:
    match = _RANGE.fullmatch(argument)
    if match is None or Path(argument).exists():
        _require_file(Path(argument))
        return _Images(Path(argument))
    file = Path(match["file"])
    _require_file(file)
    try:
        first, last = int(match["first"]), int(match["last"])
    except ValueError:
        first = last = 0
    if not 1 <= first <= last:
        raise InputFileError(
            f"{argument}: after the file should stand :FIRST:LAST, such as :1:100"
        )
    return _Images(file, first, last)


def _require_file(file: Path) -> None:
    if not file.exists():
        raise InputFileError(f"{file}: no such file")
    if not file.is_file():
        raise InputFileError(f"{file}: not a file")
    if not os.access(file, os.R_OK):
        raise InputFileError(f"{file}: no permission to read it")


def _expand(images: _Images, backend: Backend) -> Iterator[tuple[Path, int]]:
    try:
        count = backend.count_images(images.file)
    except TaskError:
        # What is wrong is said of the first image, when its turn comes.
        count = images.last or 1
    last = images.last or count
    if last > count:
        raise InputFileError(
            f"{images.file} has {count} {'image' if count == 1 else 'images'}: "
            f"there is no image {last}"
        )
    return ((images.file, number) for number in range(images.first, last + 1))


def _analyse(
    images: Sequence[tuple[Path, int]],
    parameters: PerImageAnalysisParameters,
    with_spots: bool,
) -> Iterator[Record]:
    """Iterate over what is found on each image, or why nothing is."""
    # Imported here: numba would slow every other command's start.
    from zocelery_tasks.images.image import PixelBuffers
    from zocelery_tasks.per_image_analysis import analyse_image

    open_image = parameters.backend.open_image
    buffers = PixelBuffers()
    for file, number in images:
        record: Record = {"file": str(file), "image_number": number}
        try:
            analysis = analyse_image(open_image(file, number, buffers), parameters)
        except TaskError as error:
            yield {**record, "error": str(error)}
            continue
        record |= analysis.counts()
        if with_spots:
            record["spots"] = analysis.spot_list()
        yield record


def _print_json(records: Iterator[Record]) -> int:
    """Print one line for each image; return how many could not be analysed."""
    failed = 0
    for record in records:
        failed += "error" in record
        click.echo(json.dumps(record, ensure_ascii=False))
    return failed


def _print_table(records: Iterator[Record], n_images: int) -> int:
    """Print a table, and errors as they come; return how many images failed."""
    from rich.console import Console
    from rich.table import Table

    table = Table("file", box=None, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    lists: list[Record] = []
    failed = 0
    for record in _with_progress(records, n_images):
        if "error" in record:
            failed += 1
            click.echo(f"Error: {record['error']}", err=True)
            continue
        cells = (_cell(record[key]) for key in _COLUMNS.values())
        table.add_row(Path(record["file"]).name, *cells)
        lists += [record] if "spots" in record else []
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    if table.row_count:
        console.print(table)
    for record in lists:
        _print_spots(console, record)
    return failed


def _print_spots(console: Any, record: Record) -> None:
    from rich.table import Table

    table = Table("x", "y", "intensity", "d (Å)", box=None, pad_edge=False)
    table.title = f"{Path(record['file']).name}, image {record['image_number']}"
    for spot in record["spots"]:
        table.add_row(
            f"{spot['x']:.2f}",
            f"{spot['y']:.2f}",
            f"{spot['intensity']:g}",
            "" if spot["d"] is None else f"{spot['d']:.2f}",
        )
    console.print()
    console.print(table)


def _cell(value: float) -> str:
    if value == -1:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _with_progress(records: Iterator[Record], n_images: int) -> Iterator[Record]:
    """Iterate over `records`, with a bar on stderr if that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if n_images < _MIN_FOR_PROGRESS or not console.is_terminal:
        return iter(records)
    return iter(
        track(records, "Finding spots", total=n_images, console=console, transient=True)
    )
