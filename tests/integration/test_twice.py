"""Every message may come twice: nothing is counted, gathered or answered twice."""

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.bridge_site import until
from zocelery import identity
from zocelery.canvas import RUN_ITSELF
from zocelery.celery import app
from zocelery.context import get_context
from zocelery.deployment import current_deployment
from zocelery.leases import PREFIX
from zocelery.publication import publish
from zocelery.submission import submit
from zocelery.watch import Keeper

pytestmark = pytest.mark.usefixtures("workers")
WAIT = 60
ECHO: dict[str, Any] = {"task": "echo"}
FAN = {
    "nodes": {
        "a": {**ECHO, "parameters": {"list": list(range(12))}, "output": "b"},
        "b": {**ECHO, "foreach": "list", "output": "c"},
        "c": {"task": "collect", "output": "d"},
        "d": {"task": "sleep", "parameters": {"seconds": 0.5}},
    },
    "start": "a",
}


def test_a_canvas_that_is_published_twice_runs_once():
    run = submit(FAN)
    publish(get_context(app, run.id))
    assert run.result(WAIT)["members"] == list(range(12))
    counts = current_deployment().store.counts(run.id)
    assert counts["b"] == {"total": 12, "done": 12}
    assert counts["c"] == {"total": 1, "done": 1}
    tries = current_deployment().history.run_tries(run.id)
    assert [t["node"] for t in tries if t["node"] in "cd"] == ["c", "d"]


def test_a_message_that_comes_after_the_end_changes_nothing():
    run = submit(FAN)
    before = run.result(WAIT)
    context = get_context(app, run.id)
    unit = identity.start_unit(run.id, 0)
    context.canvas.node("a", unit, None, RUN_ITSELF).apply_async()
    follower = submit({"nodes": {"x": ECHO}, "start": [["x", {"y": 1}]]})
    follower.wait(WAIT)
    assert run.result(WAIT) == before
    counts = current_deployment().store.counts(run.id)
    assert counts["c"] == {"total": 1, "done": 1}
    assert run.state == "finished"


def test_a_gather_body_that_comes_twice_at_once_runs_once():
    run = submit(FAN)
    context = get_context(app, run.id)
    run.wait(WAIT)
    for _ in range(3):
        context.canvas.gather_body("c", RUN_ITSELF).apply_async()
    follower = submit({"nodes": {"x": ECHO}, "start": [["x", {"y": 1}]]})
    follower.wait(WAIT)
    tries = current_deployment().history.run_tries(run.id)
    assert sum(t["node"] == "c" for t in tries) == 1


def test_a_twin_waits_until_the_first_has_ended_and_then_does_nothing():
    nodes = {"a": {"task": "sleep", "parameters": {"seconds": 1.5}}}
    run = submit({"nodes": nodes, "start": [["a", {"x": 1}]]})
    publish(get_context(app, run.id))
    assert run.result(WAIT) == {"x": 1}
    tries = current_deployment().history.run_tries(run.id)
    assert [t["state"] for t in tries] == ["done"]


def test_a_twin_of_a_gather_whose_worker_died_runs_when_the_lease_has_lapsed():
    leases = current_deployment().store.leases
    document = {
        "nodes": {
            "a": {**ECHO, "output": ["b", "c"]},
            "b": {"task": "sleep", "parameters": {"seconds": 0.5}, "output": "d"},
            "c": {**ECHO, "output": "d"},
            "d": {"task": "collect"},
        },
        "start": [["a", {"x": 1}]],
    }
    run = submit(document)
    unit = get_context(app, run.id).canvas.gather_unit("d", RUN_ITSELF)
    assert leases.acquire(unit, "a worker that is dead", 3.0)
    assert run.result(WAIT)["members"] == [{"x": 1}, {"x": 1}]


def test_a_watch_that_one_worker_keeps_is_kept_by_no_other(tmp_path: Path):
    deployment = current_deployment()
    store, lease = deployment.store, deployment.settings.workers.watch_lease
    images = {"images": f"{tmp_path}/x_%05d.cbf:1:2", "timeout": 300, "live": True}
    nodes = {"of-a-worker": {"task": "file_watcher", "parameters": images}}
    run = submit({"nodes": nodes, "start": "of-a-worker"})
    held = f"{PREFIX}lease:watch:{identity.start_unit(run.id, 0)}"
    until(lambda: store.client.exists(held))
    Keeper(app, deployment)._adopt(store, lease)
    run.cancel()
    assert "watch of-a-worker" not in {t.name for t in threading.enumerate()}
