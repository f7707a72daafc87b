"""`zocelery demo`: a live grid scan, analysed while it is being written."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from zocelery import servers
from zocelery.cli.run import follow, launch, make_request, needed_queues, say_note

STEM = "demo"


@click.command()
@click.option("--grid", default="12x8", show_default=True, help="Boxes along x and y.")
@click.option(
    "--frame-rate", default=20.0, show_default=True, help="Images per second."
)
@click.option("--seed", default=1, show_default=True, help="Another crystal.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Leave the simulated images in this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def demo(
    grid: str, frame_rate: float, seed: int, keep: Path | None, as_json: bool
) -> None:
    """Simulate a live grid scan, find the crystal while it is being written.

    Starts servers and workers of its own, as `zocelery run` does; nothing is left
    behind. Ends with the heat map of the grid and the centre of the crystal.
    """
    from zocelery.embedded import embedded

    with ExitStack() as stack:
        folder = keep or stack.enter_context(servers.scratch_folder("zocelery-demo-"))
        master = folder / f"{STEM}.nxs"
        assignments = (f"images={master}", f"grid={grid}", "live=true")
        request = make_request("grid-scan", None, None, assignments)
        click.echo("Starting servers and workers ...", err=True)
        queues = needed_queues(request.recipe)
        found = stack.enter_context(embedded(queues, note=say_note))
        click.echo(
            f"Simulating a grid of {grid} images at {frame_rate:g} Hz ...", err=True
        )
        command = [
            *(sys.executable, "-m", "zocelery", "simulate", "grid", str(folder)),
            *("--grid", grid, "--stem", STEM, "--frame-rate", str(frame_rate)),
            *("--seed", str(seed), "--json"),
        ]
        log = found.folder / "simulate.log"
        writer = stack.enter_context(servers.running(command, log))
        code = follow(launch(request, None, "live"), as_json)
        _check_writer(writer, log)
    sys.exit(code)


def _check_writer(writer: "subprocess.Popen[bytes]", log: Path) -> None:
    if writer.wait(timeout=60) != 0:
        raise click.ClickException(f"the simulation failed: {log.read_text()[-500:]}")
