"""Whatever dies in the middle of a grid scan: nothing is lost, nothing doubled."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.duplicates import everything_twice
from tests.faults.grid_run import GridRun, Outcome, Scan
from tests.faults.outcomes import assert_no_twins, assert_same
from tests.faults.site import Site, wait_until
from zocelery.errors import ServerUnreachableError
from zocelery.run import Run

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def test_nothing_happens(undisturbed: Outcome, scan: Scan):
    count = len(scan.files)
    assert undisturbed.state == "finished"
    assert undisturbed.told == {str(n): 1 for n in range(1, count + 1)}
    assert '"missing": []' in undisturbed.results
    assert '"status": "ok"' in undisturbed.results
    assert f'"count": {count}' in undisturbed.results


def kill_a_child(site: Site) -> None:
    os.kill(random.choice(site.workers["images"].children()), signal.SIGKILL)


def kill_the_images_worker(site: Site) -> None:
    site.workers["images"].kill()


def kill_the_watcher(site: Site) -> None:
    site.workers["watch"].kill()


def kill_the_worker_of_the_long_task(site: Site) -> None:
    site.workers["wrappers"].kill()


def kill_the_worker_of_gathers(site: Site) -> None:
    site.workers["control"].kill()


def stop_and_start_each_worker(site: Site) -> None:
    for worker in site.workers.values():
        worker.kill(signal.SIGTERM)


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


def hang_rabbitmq(site: Site) -> None:
    waits = site.says("Publishing waits for the broker")
    with site.rabbitmq.hanging():
        wait_until(waits, "a worker to notice")


def fill_rabbitmq(site: Site) -> None:
    waits = site.says("The broker takes no messages")
    again = site.says("The broker takes messages again")
    with site.rabbitmq.full():
        wait_until(waits, "a worker to notice")
    wait_until(again, "a worker to notice")


def crash_redis(site: Site) -> None:
    site.redis.kill()
    site.redis.start()


def hang_redis(site: Site) -> None:
    with site.redis.hanging():
        for _ in range(3):  # each for redis.timeout: all that was asked is asked again
            with pytest.raises(ServerUnreachableError):
                site.deployment.check_store()


FAULTS: list[Callable[[Site], None]] = [
    kill_a_child,
    kill_the_images_worker,
    kill_the_watcher,
    kill_the_worker_of_the_long_task,
    kill_the_worker_of_gathers,
    kill_all_workers,
    stop_and_start_each_worker,
    restart_rabbitmq,
    crash_rabbitmq,
    hang_rabbitmq,
    fill_rabbitmq,
    crash_redis,
    hang_redis,
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


def test_a_gather_whose_worker_dies_in_it_is_run_by_another(
    whole: Site, scan: Scan, undisturbed: Outcome, tmp_path: Path
):
    grid = GridRun(whole, scan, tmp_path)
    grid.gate.unlink()
    grid.start()
    begun = wait_until(lambda: grid.journal_of("tally"), "the gather")
    assert int(begun[0][3]) == whole.workers["control"].pid
    whole.workers["control"].kill()
    grid.gate.touch()
    assert_same(grid.outcome(), undisturbed)
    assert [line[0] for line in grid.journal_of("tally")] == ["start", "start", "end"]


def test_redis_is_away_while_images_end(
    whole: Site, scan: Scan, undisturbed: Outcome, tmp_path: Path
):
    grid = GridRun(whole, scan, tmp_path).start().await_images(0.5)
    whole.redis.kill()
    wait_until(lambda: not grid.is_feeding(), "the last image")
    whole.redis.start()
    assert_same(grid.outcome(), undisturbed)
    assert_no_twins(grid)


def test_rabbitmq_is_away_while_the_last_images_come(
    whole: Site, scan: Scan, undisturbed: Outcome, tmp_path: Path
):
    grid = GridRun(whole, scan, tmp_path).start().await_images(0.5)
    whole.rabbitmq.stop()
    wait_until(lambda: not grid.is_feeding(), "the last image")
    whole.rabbitmq.start()
    assert_same(grid.outcome(), undisturbed)
    assert_no_twins(grid)


def test_a_run_that_redis_has_lost_is_marked_as_failed_and_can_be_completed(
    whole: Site, scan: Scan, undisturbed: Outcome, tmp_path: Path
):
    grid = GridRun(whole, scan, tmp_path).start().await_images(0.25)
    whole.redis.kill()
    whole.redis.forget()
    whole.redis.start()
    history = whole.deployment.history
    wait_until(lambda: history.run(grid.run.id)["state"] != "running", "the janitor")
    status = grid.run.status()
    assert status.state == "failed"
    assert "live state in Redis is lost" in str(status.error)
    wait_until(lambda: not grid.is_feeding(), "the last image")
    wait_until(lambda: whole.waiting_messages() == 0, "the queues")
    command = [sys.executable, "-m", "zocelery", "rerun", grid.run.id, "--failed"]
    done = subprocess.run(
        [*command, "--run-id", f"{grid.run.id}-again"],
        env=whole.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    grid.run = Run(f"{grid.run.id}-again", whole.deployment)
    again = grid.outcome()
    assert (again.state, again.error) == ("finished", None)
    assert again.results == undisturbed.results
    assert again.members == undisturbed.members
    assert set(again.told.values()) == {1}


def test_the_history_is_away_for_a_while(
    whole: Site, scan: Scan, undisturbed: Outcome, tmp_path: Path
):
    grid = GridRun(whole, scan, tmp_path).start().await_images(0.25)
    home = whole.history.parent
    away = home.rename(home.with_name("away"))
    store = whole.deployment.store
    try:
        wait_until(lambda: not grid.is_feeding(), "the last image")
        total = len(scan.files)
        wait_until(lambda: grid.images_done() == total, "the images")
        wait_until(lambda: grid.journal_of("tally"), "the gather")
        assert store.state(grid.run.id) == "running"
    finally:
        away.rename(home)
    assert_same(grid.outcome(), undisturbed)
    assert_no_twins(grid)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"only root may mount a small disk: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_holds_up_the_result_until_there_is_room(
    whole: Site, scan: Scan, undisturbed: Outcome, small_disk: Path, tmp_path: Path
):
    filling, result = small_disk / "filling", small_disk / "centre.json"
    grid = GridRun(whole, scan, tmp_path / "run", output=str(result)).start()
    with pytest.raises(OSError, match="No space"):
        filling.write_bytes(bytes(5_000_000))
    history = whole.deployment.history
    wait_until(
        lambda: [t for t in history.run_tries(grid.run.id) if t["state"] == "retry"],
        "a try that found no room",
    )
    assert not list(small_disk.glob("*.json*"))
    filling.unlink()
    assert_same(grid.outcome(), undisturbed)
    assert result.stat().st_size > 100


def test_every_message_comes_twice(
    whole: Site, scan: Scan, undisturbed: Outcome, tmp_path: Path
):
    with everything_twice(whole.rabbitmq.url) as duplicator:
        grid = GridRun(whole, scan, tmp_path).start()
        first = grid.outcome()
        wait_until(lambda: whole.waiting_messages() == 0, "the queues")
        assert_same(first, undisturbed)
        assert duplicator.copies > len(scan.files)
    assert_same(grid.outcome(), undisturbed)
    assert_no_twins(grid)


@pytest.mark.usefixtures("full")
def test_a_task_of_a_minute_is_begun_again_by_another_worker(
    whole: Site, scan: Scan, undisturbed: Outcome, tmp_path: Path
):
    grid = GridRun(whole, replace(scan, long_seconds=60.0), tmp_path).start()
    wait_until(lambda: grid.journal_of("long"), "the long task")
    whole.workers["wrappers"].kill()
    whole.rabbitmq.stop()
    whole.rabbitmq.start()
    assert_same(grid.outcome(240), undisturbed)
    assert_no_twins(grid)
