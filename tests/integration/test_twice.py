"""Every message may come twice: nothing is counted, gathered or answered twice."""

from typing import Any

import pytest

from zocelery import identity
from zocelery.canvas import RUN_ITSELF
from zocelery.celery import app
from zocelery.context import get_context
from zocelery.deployment import current_deployment
from zocelery.submission import publish, submit

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
