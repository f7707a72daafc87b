"""`throughput`: images per second through real workers, and what tasks cost."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.deployment import (
    deployment,
    finished_run,
    watch_and_analyse,
)
from benchmarks.images import given_samples, simulate_file
from benchmarks.machine import usable_cores
from benchmarks.processes import cpu_seconds, family, total_cpu_seconds
from benchmarks.report import Report, progress
from benchmarks.rounds import Seconds, Spread
from benchmarks.timed_task import CPU_SECONDS, TIMED_ANALYSIS
from benchmarks.two_processes import compare_one_and_two
from zocelery import servers
from zocelery_tasks.kernels.threshold import Algorithm

ABOUT = """\
A run watches a file of images, analyses every one and gathers the results, through
RabbitMQ and Redis, with `celery worker` processes as the README starts them (events
off). `images/s`: by the clock, from submission to the run's end. The rest is CPU
milliseconds for one image more: a long run less a short one. `all workers`: all worker
processes together, those of `watch` and `control` too. `analysis`: opening,
decompressing, spots and statistics alone, by the CPU clock of the thread that does it.
`overhead`: the difference. `a run`: what a run costs besides, however many its images.
Images that wait together share messages (docs/decisions/0050-bundles.md). `others`:
CPU milliseconds for one image more of what is no worker: RabbitMQ, Redis and the client
that submits and follows the run, all on the same machine; `cores busy`: how many
cores all of it together kept busy, from submission to the run's end.
Two tables tell what a second process brings: through Celery, where servers, watcher and
client share the machine's cores with both processes, and to the analysis alone, each
process on a core of its own and nothing beside it. Medians over runs, and between which
values half of them lie."""


@dataclass(frozen=True)
class Cost:
    """What a run, or one image of it, took, in seconds; all but `clock` CPU time."""

    clock: float
    main: float
    """The worker of `images`: its main process."""
    pool: float
    """Its pool, analysis included."""
    watch: float
    """The worker of `watch` and `control`."""
    analysis: float
    others: float
    """Servers, and the client."""

    @property
    def workers(self) -> float:
        """All workers together."""
        return self.main + self.pool + self.watch

    @property
    def cores(self) -> float:
        """How many cores were busy, in the mean."""
        return (self.workers + self.others) / self.clock

    @property
    def overhead(self) -> float:
        """All but the analysis."""
        return self.workers - self.analysis

    def per_image(self, images: int, other: "Cost", others: int) -> "Cost":
        """Return the cost of one image more, from a run of fewer."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Cost(*((mine - its) / (images - others) for mine, its in pairs))


@dataclass(frozen=True)
class Series:
    """Simulated images."""

    file: Path
    images: int


@click.command("throughput")
@click.option("--detector", default="eiger2_4m", show_default=True)
@click.option(
    "--images", type=click.IntRange(2), default=500, show_default=True, help="In a run."
)
@click.option("--runs", default=5, show_default=True, help="After one that warms up.")
@click.option(
    "--processes",
    multiple=True,
    type=int,
    default=(1, 2),
    show_default=True,
    help="Of the worker of `images`; again for more.",
)
@click.option(
    "--algorithm",
    "algorithms",
    multiple=True,
    type=click.Choice(list(Algorithm), case_sensitive=False),
    default=tuple(Algorithm),
    show_default=True,
    help="Again for more.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def command(
    detector: str,
    images: int,
    runs: int,
    processes: tuple[int, ...],
    algorithms: tuple[Algorithm, ...],
    as_json: bool,
) -> None:
    """Send images through real workers, and tell the analysis from the task around it.

    Starts RabbitMQ, Redis and workers of its own; then lets one process and two
    analyse the same images without any of these.
    """
    report = Report("throughput", ABOUT, as_json=as_json)
    with ExitStack() as stack:
        deployed = stack.enter_context(deployment())
        progress(f"simulating {images} images of {detector} ...")
        long, short = (
            _simulate(deployed.folder, detector, count)
            for count in (images, max(1, images // 50))
        )
        watchers = stack.enter_context(deployed.watchers())
        rows: list[dict[str, Any]] = []
        faster: list[dict[str, Any]] = []
        for algorithm in algorithms:
            recipe = watch_and_analyse(TIMED_ANALYSIS, threshold_algorithm=algorithm)
            clocks: dict[int, Seconds] = {}
            for count in processes:
                progress(f"{algorithm}: {runs} runs with {count} processes ...")
                with deployed.worker("images", "prefork", count) as worker:
                    measure = partial(_measure, recipe, worker, watchers)
                    costs = list(_run(measure, (long, short), runs))
                told = {"algorithm": algorithm, "processes": count}
                rows.append({**told, **_describe(costs, long, short)})
                clocks[count] = np.array([cost.clock for cost, _ in costs])
            faster += _speed_up(algorithm, clocks)
        report.table(f"{detector}, {images} images in a run, {runs} runs", rows)
        if faster:
            title = "through Celery, beside the fewest processes"
            report.table(f"{title}: images per second, by the clock", faster)
    if len(processes) > 1:
        with servers.scratch_folder("zocelery-benchmark-") as folder:
            file = _simulate(folder, detector, 8).file
            samples = list(given_samples((f"{file}:1:1",)))
            compare_one_and_two(report, samples, usable_cores(), 3 * runs)


def _speed_up(algorithm: str, clocks: dict[int, Seconds]) -> Iterator[dict[str, Any]]:
    """Yield how many times faster more processes are, through Celery."""
    fewest = min(clocks)
    for count, more in clocks.items():
        if count > fewest:  # not measured in turn: each run beside each
            ratio = Spread.of(np.divide.outer(clocks[fewest], more).ravel())
            yield {"algorithm": algorithm, "processes": count, "ratio": ratio}


def _simulate(folder: Path, detector: str, images: int) -> Series:
    where = folder / f"{images}-images"
    return Series(simulate_file(where, detector, images, distinct=8), images)


def _run(
    measure: Callable[[Series], Cost], series: tuple[Series, Series], runs: int
) -> Iterator[tuple[Cost, Cost]]:
    """Yield what runs of the long and the short series cost, after one of each."""
    for number in range(-1, runs):
        long, short = map(measure, series)
        if number >= 0:
            yield long, short


def _measure(
    recipe: dict[str, Any], worker: int, watchers: int, series: Series
) -> Cost:
    """Run once."""
    pool = family(worker)[1:]

    def used() -> tuple[float, float, float, float]:
        in_pool = sum(map(cpu_seconds, pool))
        everything = total_cpu_seconds([os.getpid()])
        return cpu_seconds(worker), in_pool, total_cpu_seconds([watchers]), everything

    before, start = used(), time.perf_counter()
    run = finished_run(recipe, images=str(series.file))
    clock = time.perf_counter() - start
    main, in_pool, watch, all_ = (b - a for a, b in zip(before, used(), strict=True))
    members = run.result()["members"]
    analysis = sum(member[CPU_SECONDS] for member in members)
    return Cost(clock, main, in_pool, watch, analysis, all_ - main - in_pool - watch)


def _describe(
    costs: list[tuple[Cost, Cost]], long: Series, short: Series
) -> dict[str, Any]:
    each = [a.per_image(long.images, b, short.images) for a, b in costs]

    def spread(values: Iterable[float]) -> Spread:
        return Spread.of(np.array(list(values)))

    return {
        "images/s": spread(long.images / cost.clock for cost, _ in costs),
        "all workers": spread(cost.workers * 1e3 for cost in each),
        "analysis": spread(cost.analysis * 1e3 for cost in each),
        "overhead": spread(cost.overhead * 1e3 for cost in each),
        "of that in the pool": spread((c.pool - c.analysis) * 1e3 for c in each),
        "in the main process": spread(cost.main * 1e3 for cost in each),
        "in watch and control": spread(cost.watch * 1e3 for cost in each),
        "images per CPU second": spread(1 / cost.workers for cost in each),
        "others": spread(cost.others * 1e3 for cost in each),
        "cores busy": spread(cost.cores for cost, _ in costs),
        "a run": spread(
            (b.overhead - one.overhead * short.images) * 1e3
            for (_, b), one in zip(costs, each, strict=True)
        ),
    }
