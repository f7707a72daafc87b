"""`zocelery centre`: X-ray centring of spot counts, without recipe or server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zocelery.errors import InputFileError

if TYPE_CHECKING:  # the numbers' libraries are slow to import for `zocelery --help`
    from rich.console import RenderableType

    from zocelery_tasks.centring_cases import Case2D, Case3D
    from zocelery_tasks.centring_results import Centre2DResult, Centre3DResult


@click.command()
@click.argument("grid", metavar="GRID.json")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also draw the grid: a .png, .svg or .pdf file.",
)
def centre(grid: str, as_json: bool, picture: Path | None) -> None:
    """Find the crystal in a grid scan from the spot counts of its images.

    GRID.json, or - for standard input, holds one object. For one grid: data (the counts
    in the order of the scan), steps [nx, ny], and as need be snaked, orientation,
    box_size_px, snapshot_offset. For two perpendicular grids: xy and xz (rows along x),
    and as need be threshold, threshold_absolute. For both: sample_id, or for a pin with
    several samples well_limits and multipin_sample_ids.
    """
    from zocelery_tasks.centring_cases import Case2D, parse_case

    case = parse_case(_read(grid), grid)
    if isinstance(case, Case2D):
        _centre_2d(case, as_json, picture)
    else:
        _centre_3d(case, as_json, picture)


def _read(name: str) -> str:
    try:
        if name == "-":
            return sys.stdin.read()
        return Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise InputFileError(f"{name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputFileError(f"{name}: not a text: {error.reason}") from error


def _centre_2d(case: Case2D, as_json: bool, picture: Path | None) -> None:
    from zocelery_tasks.xray_centering import centre_counts_2d

    result = centre_counts_2d(case.data, case.geometry, case.pin)
    if picture is not None:
        _draw_2d(case, result, picture)
    if as_json:
        _print_json(result.bare())
    else:
        _print_2d(case, result)


def _print_2d(case: Case2D, result: Centre2DResult) -> None:
    from zocelery_tasks.heat_map import draw_text
    from zocelery_tasks.kernels.grid import reshape_grid

    nx, ny = case.steps
    counts = reshape_grid(case.data, case.geometry).T
    click.echo(f"grid of {nx} x {ny} boxes")
    _print_rich(draw_text(counts, centre=result.centre_of_mass, columns=_columns()))
    if result.centre_of_mass is None:
        click.echo(result.message)
        return
    x, y = result.centre_of_mass
    click.echo(f"centre      ({x:.3f}, {y:.3f}) in boxes")
    click.echo(f"            ({result.centre_x:.3f}, {result.centre_y:.3f}) in pixels")
    click.echo(f"region      {result.n_voxels} boxes, {result.total_count} spots")
    click.echo(f"best image  #{result.best_image}, {result.max_count} spots")
    if result.sample_id is not None:
        click.echo(f"sample      {result.sample_id}")


def _draw_2d(case: Case2D, result: Centre2DResult, picture: Path) -> None:
    from zocelery_tasks.heat_map import save_picture
    from zocelery_tasks.kernels.grid import reshape_grid

    numbers = reshape_grid(range(1, len(case.data) + 1), case.geometry).T
    width, height = case.box_size_px
    save_picture(
        picture,
        reshape_grid(case.data, case.geometry).T,
        centre=result.centre_of_mass,
        numbers=numbers.astype(int),
        region=result.best_region or (),
        title=_title(result),
        aspect=height / width,
    )


def _title(result: Centre2DResult) -> str:
    if result.centre_of_mass is None:
        return result.message
    x, y = result.centre_of_mass
    best = f"best image #{result.best_image} with {result.max_count} spots"
    return f"centre ({x:.2f}, {y:.2f}), {best}"


def _centre_3d(case: Case3D, as_json: bool, picture: Path | None) -> None:
    from zocelery_tasks.xray_centering import centre_counts_3d

    results = centre_counts_3d(
        case.xy,
        case.xz,
        case.pin,
        threshold=case.threshold,
        threshold_absolute=case.threshold_absolute,
    )
    if picture is not None:
        _draw_3d(case, results, picture)
    if as_json:
        _print_json([result.model_dump(mode="json") for result in results])
    else:
        _print_3d(case, results)


def _print_3d(case: Case3D, results: list[Centre3DResult]) -> None:
    import numpy as np

    from zocelery_tasks.centring_files import report_3d
    from zocelery_tasks.centring_results import Centring3D
    from zocelery_tasks.heat_map import draw_text

    best = results[0].centre_of_mass if results else None
    for axis, (name, grid) in enumerate((("y", case.xy), ("z", case.xz)), start=1):
        click.echo(f"x (to the right) and {name} (down)")
        place = None if best is None else (best[0], best[axis])
        counts = np.array(grid, dtype=np.float64).T
        _print_rich(draw_text(counts, centre=place, columns=_columns()))
    click.echo(report_3d(Centring3D(results=results)), nl=False)


def _draw_3d(case: Case3D, results: list[Centre3DResult], picture: Path) -> None:
    """Draw the two grids into two files, `_xy` and `_xz` added to the name."""
    import numpy as np

    from zocelery_tasks.heat_map import save_picture

    best = results[0].centre_of_mass if results else None
    for axis, (name, grid) in enumerate((("y", case.xy), ("z", case.xz)), start=1):
        save_picture(
            picture.with_stem(f"{picture.stem}_x{name}"),
            np.array(grid, dtype=np.float64).T,
            centre=None if best is None else (best[0], best[axis]),
            axes=("x", name),
        )


def _print_json(answer: Any) -> None:
    click.echo(json.dumps(answer))


def _print_rich(text: RenderableType) -> None:
    from rich.console import Console

    Console(file=sys.stdout, soft_wrap=True).print(text, end="")


def _columns() -> int:
    from rich.console import Console

    return Console(file=sys.stdout).width
