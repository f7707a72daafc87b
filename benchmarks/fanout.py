"""`fanout`: what a run of many trivial members costs, and whether it stays linear."""

import os
import time
from contextlib import ExitStack
from typing import Any

import click

from benchmarks.deployment import deployment, finished_run
from benchmarks.processes import (
    family,
    memory,
    reset_peak,
    total_cpu_seconds,
)
from benchmarks.report import Report, progress

SIZES = (2500, 5000, 10000, 20000)
ABOUT = """\
A run whose first node sends a number to each member of a fan-out; a trivial task of the
queue `control` answers it, and all are gathered, by one worker process with threads.
`seconds`: by the clock, until all have been gathered in order. MB are 10^6 bytes:
`submitter`, `worker`: the most that this process and the worker's largest were during
the run; `Redis`: by how much its data has grown, which it keeps until the run expires,
and `bytes per member` of it. `worker ms`: CPU milliseconds of the worker for a member.
"""


@click.command("fanout")
@click.option(
    "--size",
    "sizes",
    type=click.IntRange(1),
    multiple=True,
    default=SIZES,
    show_default=True,
    help="Members; again for more.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def command(sizes: tuple[int, ...], as_json: bool) -> None:
    """Run fan-outs of growing size: time and memory should grow in proportion.

    Starts RabbitMQ, Redis and a worker of its own.
    """
    report = Report("fanout", ABOUT, as_json=as_json)
    with ExitStack() as stack:
        deployed = stack.enter_context(deployment())
        worker = stack.enter_context(deployed.watchers())
        finished_run(_recipe(10))
        rows = []
        for size in sizes:
            progress(f"{size} members ...")
            rows.append(_measure(size, worker))
    report.table("fan-outs of trivial members", rows)


def _recipe(size: int) -> dict[str, Any]:
    return {
        "start": [["each", list(range(size))]],
        "nodes": {
            "each": {"task": "echo", "foreach": "", "output": "all"},
            "all": {"task": "collect"},
        },
    }


def _measure(size: int, worker: int) -> dict[str, Any]:
    from zocelery.deployment import current_deployment

    redis = current_deployment().store.client
    here = os.getpid()
    processes = family(worker)
    for pid in (here, *processes):
        reset_peak(pid)
    stored, used = redis.info("memory")["used_memory"], total_cpu_seconds([worker])
    start = time.perf_counter()
    run = finished_run(_recipe(size))
    seconds = time.perf_counter() - start
    if run.result()["members"] != list(range(size)):
        raise click.ClickException(f"the {size} members have not been gathered")
    grown = redis.info("memory")["used_memory"] - stored
    return {
        "members": size,
        "seconds": seconds,
        "members/s": size / seconds,
        "submitter": memory(here).peak,
        "worker": max(memory(pid).peak for pid in processes),
        "Redis": grown / 1e6,
        "bytes per member": grown / size,
        "worker ms": (total_cpu_seconds([worker]) - used) / size * 1e3,
    }
