"""`memory`: what the worker processes of `images` hold."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from benchmarks.deployment import (
    Deployment,
    deployment,
    finished_run,
    watch_and_analyse,
)
from benchmarks.images import simulate_file
from benchmarks.processes import family, memory
from benchmarks.report import Report, progress
from zocelery_tasks.kernels.threshold import Algorithm

ABOUT = """\
A `celery worker` of the queue `images` with one process in its pool analyses images,
run after run. MB are 10^6 bytes. `resident`: memory of the pool's process after so many
images; `peak`: the most it ever was, the start of the worker included; `private`: what
it shares with no other process. `main`: the worker's main process, resident."""


@click.command("memory")
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    default=("eiger2_16m", "eiger2_4m"),
    show_default=True,
    help="One of the simulator's; again for more.",
)
@click.option("--images", default=20, show_default=True, help="In a run.")
@click.option("--runs", default=10, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def command(detectors: tuple[str, ...], images: int, runs: int, as_json: bool) -> None:
    """Tell how much memory a worker takes, and whether it grows.

    A new worker for each detector and each of DIALS's thresholds. Starts RabbitMQ and
    Redis of its own.
    """
    report = Report("memory", ABOUT, as_json=as_json)
    rows = []
    with ExitStack() as stack:
        deployed = stack.enter_context(deployment())
        stack.enter_context(deployed.watchers())
        for detector in detectors:
            progress(f"simulating {images} images of {detector} ...")
            file = simulate_file(deployed.folder / detector, detector, images)
            for algorithm in Algorithm:
                progress(f"{runs} runs with {algorithm} ...")
                found = _watch(deployed, file, algorithm, images, runs)
                rows += [{"detector": detector, **row} for row in found]
    report.table("memory of a worker, MB", rows)


def _watch(
    deployed: Deployment, file: Path, algorithm: Algorithm, images: int, runs: int
) -> Iterator[dict[str, Any]]:
    """Yield a row after the first, a middle and the last run."""
    recipe = watch_and_analyse("per_image_analysis", threshold_algorithm=str(algorithm))
    told = {1, (runs + 1) // 2, runs}
    with deployed.worker("images", "prefork", 1) as worker:
        for number in range(1, runs + 1):
            finished_run(recipe, images=str(file))
            if number in told:
                yield _row(worker, algorithm, number * images)


def _row(worker: int, algorithm: Algorithm, images: int) -> dict[str, Any]:
    main, *pool = (memory(pid) for pid in family(worker))
    return {
        "threshold": str(algorithm),
        "images": images,
        "resident": max(process.resident for process in pool),
        "peak": max(process.peak for process in pool),
        "private": max(process.private for process in pool),
        "main": main.resident,
    }
