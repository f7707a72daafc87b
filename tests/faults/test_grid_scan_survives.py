"""Whatever dies in the middle of a grid scan: nothing is lost, nothing doubled."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.grid_run import GridRun, Outcome, Scan
from tests.faults.site import Site, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def assert_same(outcome: Outcome, undisturbed: Outcome) -> None:
    """Say what differs from the run that nothing happened to."""
    assert (outcome.state, outcome.error) == ("finished", None)
    assert outcome.failures == []
    lost = undisturbed.members.keys() - outcome.members.keys()
    assert not lost
    assert {item: n for item, n in outcome.told.items() if n > 1} == {}
    assert outcome.members == undisturbed.members
    assert outcome.results == undisturbed.results
    assert outcome.rows == undisturbed.rows
    assert outcome.done == undisturbed.done
    assert outcome.counts == undisturbed.counts


def test_nothing_happens(undisturbed: Outcome, scan: Scan):
    count = len(scan.files)
    assert undisturbed.state == "finished"
    assert undisturbed.told == {str(n): 1 for n in range(1, count + 1)}
    assert '"missing": []' in undisturbed.results
    assert '"status": "ok"' in undisturbed.results


def kill_a_child(site: Site) -> None:
    os.kill(random.choice(site.workers["images"].children()), signal.SIGKILL)


def kill_the_images_worker(site: Site) -> None:
    site.workers["images"].kill()


def kill_the_watcher(site: Site) -> None:
    site.workers["watch"].kill()


def kill_the_worker_of_the_long_task(site: Site) -> None:
    site.workers["wrappers"].kill()


def kill_all_workers(site: Site) -> None:
    for worker in site.workers.values():
        worker.kill(wanted=False)
    wait_until(lambda: not any(w.is_alive() for w in site.workers.values()))
    site.start_workers()


def restart_rabbitmq(site: Site) -> None:
    site.rabbitmq.stop()
    site.rabbitmq.start()


def crash_rabbitmq(site: Site) -> None:
    site.rabbitmq.kill()
    site.rabbitmq.start()


def crash_redis(site: Site) -> None:
    site.redis.kill()
    site.redis.start()


FAULTS: list[Callable[[Site], None]] = [
    kill_a_child,
    kill_the_images_worker,
    kill_the_watcher,
    kill_the_worker_of_the_long_task,
    kill_all_workers,
    restart_rabbitmq,
    crash_rabbitmq,
    crash_redis,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_grid_scan_survives(
    fault: Callable[[Site], None],
    whole: Site,
    scan: Scan,
    undisturbed: Outcome,
    tmp_path: Path,
):
    grid = GridRun(whole, scan, tmp_path).start().await_images(0.25)
    fault(whole)
    assert_same(grid.outcome(), undisturbed)
    assert_no_twins(grid)


def assert_no_twins(grid: GridRun) -> None:
    """The long task never ran beside itself, and ended once."""
    lines = [line for line in grid.journal_lines() if line[1] == "long"]
    words = [line[0] for line in lines]
    assert words.count("end") == 1
    assert words[-1] == "end", "it was started again after its end"
    assert lines[-1][3] == lines[-2][3], "another process ended it than began it last"
