"""`wrappers`: do images keep their rate while programs run beside them?"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.deployment import deployment, finished_run, watch_and_analyse
from benchmarks.images import simulate_file
from benchmarks.report import Report, progress
from benchmarks.rounds import Spread

ABOUT = """\
Runs of images, through RabbitMQ and Redis, in turn without and with a program that the
wrapper `command` runs meanwhile, in a worker process of the queue `wrappers`. `talks`:
a program that writes ten lines a second and does nothing else, so that what is measured
is the wrapper; `computes`: one that takes a core as well. By the clock, from submission
to the run's end. Medians over runs, and between which values half of them lie."""
BEGIN = "import sys, threading, time, pathlib\npathlib.Path(sys.argv[1]).touch()\n"
TALK = "def talk():\n while True: print('a line', flush=True); time.sleep(0.1)\n"
PROGRAMS = {
    "talks": f"{BEGIN}{TALK}talk()\n",
    "computes": f"{BEGIN}{TALK}threading.Thread(target=talk).start()\nwhile 1: pass\n",
}
START_SECONDS = 60.0


@click.command("wrappers")
@click.option("--detector", default="eiger2_4m", show_default=True)
@click.option(
    "--images", type=click.IntRange(1), default=200, show_default=True, help="In a run."
)
@click.option("--runs", default=5, show_default=True, help="Of each kind.")
@click.option("--processes", default=1, show_default=True, help="That analyse.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def command(
    detector: str, images: int, runs: int, processes: int, as_json: bool
) -> None:
    """Analyse images beside running programs, and without them.

    Starts RabbitMQ, Redis and workers of its own.
    """
    report = Report("wrappers", ABOUT, as_json=as_json)
    with ExitStack() as stack:
        deployed = stack.enter_context(deployment())
        where = deployed.folder / "programs"
        where.mkdir()
        os.environ["ZOCELERY_WRAPPERS_WORKING_DIRECTORY"] = str(where)
        progress(f"simulating {images} images of {detector} ...")
        file = simulate_file(deployed.folder / "images", detector, images, distinct=8)
        stack.enter_context(deployed.watchers())
        stack.enter_context(deployed.worker("images", "prefork", processes))
        stack.enter_context(deployed.worker("wrappers", "prefork", 1))
        _rate(file, images)
        rows = [_compare(where, file, images, name, runs) for name in PROGRAMS]
    report.table(f"{detector}, {images} images in a run, {processes} processes", rows)


def _compare(
    folder: Path, file: Path, images: int, name: str, runs: int
) -> dict[str, Any]:
    """Measure with and without a program, in turn."""
    progress(f"{runs} runs beside a program that {name} ...")
    pairs = []
    for _ in range(runs):
        alone = _rate(file, images)
        with _program(folder, name):
            pairs.append((alone, _rate(file, images)))
    without, beside = np.array(pairs).T
    return {
        "program": name,
        "images/s without": Spread.of(without),
        "images/s beside it": Spread.of(beside),
        "ratio": Spread.of(beside / without),
    }


def _rate(file: Path, images: int) -> float:
    """Return the images per second of one run."""
    start = time.perf_counter()
    finished_run(watch_and_analyse("per_image_analysis"), images=str(file))
    return images / (time.perf_counter() - start)


@contextmanager
def _program(folder: Path, name: str) -> Iterator[None]:
    """Have a wrapper run a program meanwhile.

    Raises:
        click.ClickException: it does not start.
    """
    from zocelery.submission import submit

    script, begun = folder / f"{name}.py", folder / f"{name}.begun"
    script.write_text(PROGRAMS[name])
    begun.unlink(missing_ok=True)
    arguments = [sys.executable, str(script), str(begun)]
    node = {"wrapper": "command", "parameters": {"command": arguments}}
    run = submit({"start": "program", "nodes": {"program": node}}, {})
    try:
        give_up = time.monotonic() + START_SECONDS
        while not begun.exists():
            if time.monotonic() > give_up:
                raise click.ClickException(f"the program that {name} does not start")
            time.sleep(0.05)
        yield
    finally:
        run.cancel()
        run.wait(START_SECONDS)
