"""`live`: a grid scan that is analysed while it is being written."""

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from benchmarks.deployment import deployment, finished_run, watch_and_analyse
from benchmarks.images import simulate_file
from benchmarks.report import Report, progress

if TYPE_CHECKING:
    from zocelery.run import Run

SCAN_SECONDS = 600.0
ABOUT = """\
The simulator compresses all images, then writes them at a detector's pace into a file
that grows; the recipe `grid-scan` has been waiting for it. Milliseconds. `seen ->
result`: from when the watcher has seen an image until its result has been stored.
`written -> seen`, `written -> centre`: of the last image, from when its file was last
written to. `-> client`: until this process, which follows the run, has the centre.
`centre`, `true centre`: in boxes, as found and as simulated.
`late`: by how much the simulator itself was late at worst."""


@dataclass
class Followed:
    """What a client saw of a run."""

    seen_to_result: list[float] = field(default_factory=list)
    """Seconds, for each image."""
    last_seen: float = 0.0
    """Unix time, s, as are the others."""
    centred: float = 0.0
    known: float = 0.0
    answer: Any = None


@click.command("live")
@click.option("--grid", default="40x25", show_default=True, help="Images along x, y.")
@click.option("--detector", default="eiger2_1m", show_default=True)
@click.option("--frame-rate", default=100.0, show_default=True, help="Images per s.")
@click.option("--processes", default=2, show_default=True, help="That analyse.")
@click.option("--scans", default=3, show_default=True, help="One after the other.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def command(
    grid: str,
    detector: str,
    frame_rate: float,
    processes: int,
    scans: int,
    as_json: bool,
) -> None:
    """Follow a simulated grid scan: how soon is the centre there?

    Starts RabbitMQ, Redis and workers of its own; the simulator runs on the same
    machine, as a process of its own.
    """
    report = Report("live", ABOUT, as_json=as_json)
    rows = []
    with ExitStack() as stack:
        deployed = stack.enter_context(deployment())
        stack.enter_context(deployed.watchers())
        stack.enter_context(deployed.worker("images", "prefork", processes))
        first = simulate_file(deployed.folder / "first", detector, 2 * processes)
        finished_run(watch_and_analyse("per_image_analysis"), images=str(first))
        for number in range(1, scans + 1):
            progress(f"scan {number} of {scans} ...")
            folder = deployed.folder / f"scan-{number}"
            rows.append(_scan(folder, grid, detector, frame_rate))
    title = f"{grid} images of {detector} at {frame_rate:g} Hz, {processes} processes"
    report.table(title, rows)


def _scan(folder: Path, grid: str, detector: str, frame_rate: float) -> dict[str, Any]:
    """Simulate a scan and follow its run."""
    from zocelery.submission import submit

    simulate = [
        *(sys.executable, "-m", "zocelery", "simulate", "grid", str(folder)),
        *("--grid", grid, "--detector", detector, "--frame-rate", str(frame_rate)),
        "--json",
    ]
    with subprocess.Popen(simulate, stdout=subprocess.PIPE, text=True) as simulator:
        images = str(folder / "grid_1.nxs")
        run = submit("grid-scan", {"images": images, "grid": grid, "live": True})
        followed = _follow(run)
        written = json.loads(simulator.communicate(timeout=SCAN_SECONDS)[0])["scans"][0]
    return _describe(followed, written, folder)


def _follow(run: "Run") -> Followed:
    """Listen to a run until it has ended."""
    followed = Followed()
    for event in run.events():
        value = event.get("value")
        if event.get("node") == "analyse" and value is not None:
            seen = value["file-seen-at"]
            followed.seen_to_result.append(event["time"] - seen)
            followed.last_seen = max(followed.last_seen, seen)
        if event.get("node") == "centre" and value is not None:
            followed.known = time.time()
            followed.centred, followed.answer = event["time"], value
    return followed


def _describe(
    followed: Followed, written: dict[str, Any], folder: Path
) -> dict[str, Any]:
    if followed.answer is None:
        raise click.ClickException("the scan was not centred")
    last = max(file.stat().st_mtime for file in folder.glob("*_0*.h5"))
    p50, p99, most = np.percentile(followed.seen_to_result, (50, 99, 100)) * 1e3
    answer = followed.answer
    return {
        "images": len(followed.seen_to_result),
        "missing": len(answer["missing"]) + len(answer["failed"]),
        "images/s written": written["achieved_hz"],
        "late": written["worst_delay_s"] * 1e3,
        "seen -> result p50": float(p50),
        "p99": float(p99),
        "most": float(most),
        "written -> seen": (followed.last_seen - last) * 1e3,
        "written -> centre": (followed.centred - last) * 1e3,
        "-> client": (followed.known - last) * 1e3,
        "centre": _pair(answer["results"][0]["centre_of_mass"]),
        "true centre": _pair(written["centre"]),
    }


def _pair(numbers: Iterable[float]) -> str:
    return " ".join(f"{number:.2f}" for number in numbers)
