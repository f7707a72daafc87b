"""`zocelery simulate`: test images, at once or at the pace of a detector."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from zocelery_tasks.simulation.detector import DETECTORS
from zocelery_tasks.simulation.settings import (
    FastDirection,
    GridRequest,
    ImageFormat,
    RotationRequest,
)

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]
Request = type[RotationRequest] | type[GridRequest]
Report = Callable[[str, int, int], None]


def _steps(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Return the boxes that `10x8` stands for."""
    if value is None:
        return None
    try:
        nx, ny = (int(part) for part in value.lower().split("x"))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not of the form 10x8") from error
    return nx, ny


def _numbers(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    """Return the numbers of `5.5,3`."""
    if value is None:
        return None
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not of the form 5.5,3") from error


def _flag(names: str, text: str) -> Decorator:
    """Return an option without value."""
    return click.option(*names.split(), is_flag=True, default=None, help=text)


def _numbers_option(name: str, text: str) -> Decorator:
    """Return an option for a place or a size."""
    return click.option(name, callback=_numbers, metavar="X,Y[,Z]", help=text)


def _value(model: Request, name: str, kind: Any, metavar: str, text: str) -> Decorator:
    """Return an option for a field of a request; its help tells the default."""
    default = model.model_fields[name.removeprefix("--").replace("-", "_")].default
    if default is not None:
        text = f"{text} [default: {default}]"
    return click.option(name, type=kind, metavar=metavar, help=text)


def _shared_options(model: Request) -> Decorator:
    """Return a decorator that adds what both commands have."""
    formats = click.Choice([str(each) for each in ImageFormat])

    def _option(name: str, kind: Any, metavar: str, text: str) -> Decorator:
        return _value(model, name, kind, metavar, text)

    decorators = (
        click.argument("out", type=click.Path(path_type=Path)),
        _option("--stem", str, "NAME", "Start of all file names."),
        _option("--detector", str, "NAME", f"One of {', '.join(DETECTORS)}."),
        _option("--format", formats, "nxmx|cbf|both", "Files to write."),
        _option("--images-per-file", int, "N", "Images in each HDF5 data file."),
        _option(
            "--frame-rate", float, "HZ", "Write at a live pace, images per second."
        ),
        _option("--distinct", int, "N", "Background patterns to share; 0: no sharing."),
        _option("--width", float, "DEGREES", "Rotation during an image."),
        _option("--start", float, "DEGREES", "Omega of the first image."),
        _option("--distance", float, "MM", "Crystal to detector; fits the detector."),
        _option("--wavelength", float, "Å", "Of the beam."),
        _option("--d-min", float, "Å", "Finest resolution of the crystal."),
        _option("--mosaicity", float, "DEGREES", "Width of the rocking curve."),
        _option("--brightness", float, "COUNTS", "Of a strong reflection."),
        _option("--background", float, "COUNTS", "Per pixel at the solvent ring."),
        _option("--decay", float, "RATE", "Radiation damage per image."),
        _option("--exposure-time", float, "S", "As told by the headers."),
        _option("--seed", int, "N", "Another crystal, other noise."),
        _flag("--truth", "Also write what an analysis should find."),
        _flag("--overwrite", "Replace files of an earlier simulation."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object."),
    )

    def _decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return _decorate


@click.group()
def simulate() -> None:
    """Write simulated diffraction images of lysozyme.

    OUT is a folder, made if need be. With --frame-rate the images are made first, then
    appear one by one as at a beamline, in files that can be read while they grow:
    `zocelery run` may be started before.
    """


@simulate.command()
@_value(RotationRequest, "--images", int, "N", "How many.")
@_shared_options(RotationRequest)
def rotation(out: Path, as_json: bool, **options: Any) -> None:
    """Write a rotation data set into the folder OUT."""
    # Imported here: numpy and h5py would slow every other command's start.
    from zocelery_tasks.simulation.scans import simulate_rotation
    from zocelery_tasks.simulation.summary import summarise_rotation

    with _progress_bar() as report:
        result = simulate_rotation(out, report, **options)
    _show(summarise_rotation(result), as_json)


@simulate.command()
@click.option(
    "--grid",
    "--steps",
    "steps",
    callback=_steps,
    metavar="NXxNY",
    help="Boxes along x and y. [default: 10x8]",
)
@_value(GridRequest, "--third-axis", int, "NZ", "Also scan x and NZ boxes of z.")
@_flag("--snaked", "Run every other line backwards.")
@click.option(
    "--vertical",
    "orientation",
    flag_value=str(FastDirection.VERTICAL),
    help="Run along y first; else along x.",
)
@_numbers_option("--centre", "Middle of the crystal, in boxes.")
@_numbers_option("--crystal-size", "Width of the crystal, in boxes.")
@_value(GridRequest, "--box-size-um", float, "µm", "Step between boxes.")
@_shared_options(GridRequest)
def grid(out: Path, as_json: bool, **options: Any) -> None:
    """Write a grid scan of stills into the folder OUT.

    Box i reaches from i to i + 1: the middle of the first box is 0.5. With --third-axis
    there are two scans of the same crystal, STEM_xy and, turned by 90 degrees, STEM_xz.
    """
    from zocelery_tasks.simulation.scans import simulate_grid
    from zocelery_tasks.simulation.summary import summarise_grid

    with _progress_bar() as report:
        result = simulate_grid(out, report, **options)
    _show(summarise_grid(result), as_json)


def _show(summary: dict[str, Any], as_json: bool) -> None:
    """Print what was simulated."""
    # Not at the top: only a finished simulation needs it.
    from zocelery_tasks.simulation.summary import describe

    click.echo(json.dumps(summary) if as_json else "\n".join(describe(summary)))


@contextmanager
def _progress_bar() -> Iterator[Report]:
    """Yield what to tell about each image; a bar on stderr if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("predicting", total=None)

        def _report(doing: str, done: int, total: int) -> None:
            bar.update(task, description=doing, completed=done, total=total)

        yield _report
