"""A queue that is paused gives no work, to no worker, until it is resumed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.conftest import start_worker
from zocelery import servers
from zocelery.celery import app
from zocelery.cli import cli
from zocelery.deployment import current_deployment
from zocelery.pauses import Pauses, WorkerReport
from zocelery.submission import submit

pytestmark = pytest.mark.usefixtures("workers")
WAIT = 60
QUEUE = "lims"


@pytest.fixture(autouse=True)
def _resumed() -> Iterator[None]:
    yield
    for queue in ("lims", "wrappers", "images"):
        Pauses(current_deployment().store.client).resume(queue, "")


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def queues(*arguments: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(cli, ["queues", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def row(name: str) -> dict[str, Any]:
    return next(row for row in queues() if row["queue"] == name)


def test_a_paused_queue_loses_its_consumers_until_it_is_resumed():
    wait_until(lambda: row(QUEUE)["consumers"] == 1)
    for _ in range(2):
        told = {"queue": QUEUE, "beamline": "", "state": "paused"}
        assert queues("pause", QUEUE) == [told]
    wait_until(lambda: row(QUEUE)["consumers"] == 0)
    assert row(QUEUE)["paused"] == ["all"]
    assert row("control")["consumers"] == 1
    for _ in range(2):
        queues("resume", QUEUE)
    wait_until(lambda: row(QUEUE)["consumers"] == 1)
    assert row(QUEUE)["paused"] == []


def test_another_beamline_goes_on():
    queues("pause", QUEUE, "--beamline", "i99")
    assert row(QUEUE)["paused"] == ["i99"]
    time.sleep(2.5)
    assert row(QUEUE)["consumers"] == 1


def test_a_pause_of_a_beamline_holds_after_its_worker_was_started_again(
    workers: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ZOCELERY_WORKERS_BEAMLINE", "i99")
    pauses = Pauses(current_deployment().store.client)
    pauses.pause(QUEUE, "i99", "here")
    with ExitStack() as stack:
        log, ready = start_worker(stack, workers, f"{QUEUE},watch", "threads", 1)
        servers.wait_for_file(ready, log, seconds=WAIT)
        assert row(QUEUE)["consumers"] == 1  # that of the other worker
        found = pauses.workers(QUEUE, "i99")
        assert [(w.queues, w.paused) for w in found] == [((QUEUE, "watch"), (QUEUE,))]
        queues("resume", QUEUE, "--beamline", "i99")
        wait_until(lambda: row(QUEUE)["consumers"] == 2)
    wait_until(lambda: pauses.workers(QUEUE, "i99") == [])


def test_work_waits_while_its_queue_is_paused_and_is_done_afterwards():
    nodes = {
        "a": {"task": "echo", "parameters": {"list": [1, 2, 3]}, "output": "b"},
        "b": {"task": "per_image_analysis", "foreach": "list", "output": "c"},
        "c": {"task": "collect"},
    }
    queues("pause", "images")
    wait_until(lambda: row("images")["consumers"] == 0)
    run = submit({"nodes": nodes, "start": "a"})
    wait_until(lambda: row("images")["messages"] == 3)
    time.sleep(1.5)
    assert run.state == "running"
    assert row("images")["messages"] == 3
    queues("resume", "images")
    run.wait(WAIT)
    assert current_deployment().store.counts(run.id)["b"] == {"total": 3, "failed": 3}


def test_a_drained_queue_has_nothing_under_way():
    nodes = {"a": {"task": "sleep", "parameters": {"seconds": 4}}}
    run = submit({"nodes": nodes, "start": [["a", {"x": 1}]]})
    wait_until(
        lambda: "a" in {n.node for n in run.status().nodes if n.state == "running"}
    )
    early = subprocess.run(
        [
            *(sys.executable, "-m", "zocelery", "queues", "drain", "wrappers"),
            *("--timeout", "0"),
        ],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert early.returncode == 1
    assert "is paused and not idle" in early.stderr
    assert queues("drain", "wrappers", "--timeout", "30")[0]["state"] == "drained"
    assert run.wait(5).state == "finished"


def test_what_is_cancelled_by_remote_control_stays_cancelled():
    name = ["control-watch-lims@tests"]
    app.control.cancel_consumer(QUEUE, destination=name)
    wait_until(lambda: row(QUEUE)["consumers"] == 0)
    time.sleep(2.5)
    assert row(QUEUE)["consumers"] == 0
    app.control.add_consumer(QUEUE, destination=name)
    wait_until(lambda: row(QUEUE)["consumers"] == 1)


def test_a_worker_that_has_gone_does_not_count():
    pauses = Pauses(current_deployment().store.client)
    report = WorkerReport("gone", "h", "i98", 3, ("images",), (), pauses.now() - 60)
    pauses.report(report)
    assert pauses.workers("images", "i98") == []
    pauses.report(WorkerReport("here", "h", "i98", 3, ("images",), (), pauses.now()))
    assert [worker.name for worker in pauses.workers("images", "i98")] == ["here"]
    for name in ("gone", "here"):
        pauses.forget(name)
