"""Whole images in two processes at once, beside one."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.images import Sample
from benchmarks.report import Report, progress
from benchmarks.rounds import interleave
from zocelery_tasks.images.open import open_image
from zocelery_tasks.per_image_analysis import analyse_image, pixel_buffers

SECONDS = 0.5
"""That one turn should take, about."""


class Analyst:
    """A process on a core of its own that analyses an image when asked to."""

    def __init__(self, core: int) -> None:
        """Start it."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, core))
        self._process.start()
        theirs.close()

    def start(self, sample: Sample, times: int) -> None:
        """Let it analyse an image `times` times."""
        self._pipe.send((str(sample.file), sample.image_number, times))

    def wait(self) -> None:
        """Wait until it has."""
        self._pipe.recv()

    def close(self) -> None:
        """End it."""
        self._pipe.close()
        self._process.join()


def compare_one_and_two(
    report: Report, samples: list[Sample], cores: list[int], rounds: int
) -> None:
    """Print how many images a second one process does, and two on two cores.

    The analysis alone, without any servers.
    """
    if len(cores) < 2 or not samples:
        report.remark("Two processes need two cores.")
        return
    rows = []
    with _analysts(cores[:2]) as analysts:
        for sample in samples:
            progress(f"{sample.title}: two processes beside one ...")
            rows.append(_compare(sample, analysts, rounds))
    title = "the analysis alone, two pinned processes beside one"
    report.table(f"{title}: images per second, by the clock", rows)


def _compare(sample: Sample, analysts: list[Analyst], rounds: int) -> dict[str, object]:
    _take(analysts, sample, 1)  # compiled code and files are loaded
    times = max(1, round(SECONDS / _take(analysts, sample, 1)))
    measured = interleave(
        {
            "one": lambda: _take(analysts[:1], sample, times),
            "two": lambda: _take(analysts, sample, times),
        },
        rounds,
    )
    speed_up = measured.ratio("two", "one")
    return {
        "image": sample.title,
        "one process": times / (measured.milliseconds("one").median / 1e3),
        "two processes": 2 * times / (measured.milliseconds("two").median / 1e3),
        "ratio": type(speed_up)(
            2 * speed_up.median, 2 * speed_up.low, 2 * speed_up.high
        ),
    }


def _take(analysts: list[Analyst], sample: Sample, times: int) -> float:
    """Return the seconds in which all analysts have done as many images each."""
    start = time.perf_counter()
    for analyst in analysts:
        analyst.start(sample, times)
    for analyst in analysts:
        analyst.wait()
    return time.perf_counter() - start


@contextmanager
def _analysts(cores: list[int]) -> Iterator[list[Analyst]]:
    analysts = [Analyst(core) for core in cores]
    try:
        yield analysts
    finally:
        for analyst in analysts:
            analyst.close()


def _serve(pipe: Connection, core: int) -> None:
    """Analyse images until the pipe is closed."""
    os.sched_setaffinity(0, {core})
    while True:
        try:
            file, number, times = pipe.recv()
        except EOFError:
            return
        for _ in range(times):
            analyse_image(open_image(Path(file), number, pixel_buffers()))
        pipe.send(None)
