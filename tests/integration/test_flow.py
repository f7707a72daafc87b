"""A run holds back what its workers cannot take yet, or drops it where it may."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from zocelery import identity
from zocelery.canvas import Place
from zocelery.celery import app
from zocelery.context import RunContext, get_context
from zocelery.deployment import Deployment, current_deployment
from zocelery.errors import PermanentError
from zocelery.flow import refuse_too_many, shed_surplus
from zocelery.pauses import Pauses
from zocelery.publication import publish
from zocelery.recipe_format import parse_recipe
from zocelery.records import SHED, FanRecord
from zocelery.submission import submit
from zocelery.watch import Watch
from zocelery.watch_row import WatchRow

pytestmark = pytest.mark.usefixtures("workers")
WAIT = 60
ECHO: dict[str, Any] = {"task": "echo"}


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.fixture
def pauses() -> Iterator[Pauses]:
    found = Pauses(current_deployment().store.client)
    yield found
    found.resume("images", "")


def stored_run(nodes: dict[str, Any], start: str) -> RunContext:
    """Store a run that nobody publishes."""
    recipe = parse_recipe({"nodes": nodes, "start": start}, name="r")
    record = {
        "version": 1,
        "recipe": recipe.model_dump(mode="json"),
        "parameters": {},
        "priority": 9,
    }
    run = str(uuid.uuid4())
    store = current_deployment().store
    store.create_run(run, record, 3600)
    store.set_running(run)
    return get_context(app, run)


def with_limits(deployment: Deployment, **limits: int) -> Any:
    settings = deployment.settings
    run = settings.run.model_copy(update=limits)
    return settings.model_copy(update={"run": run})


SERIAL = {
    "a": {**ECHO, "parameters": {"list": list(range(20))}, "output": "b"},
    "b": {
        "task": "sleep",
        "parameters": {"seconds": 1},
        "foreach": "list",
        "shed": True,
        "output": "c",
    },
    "c": {"task": "collect", "output": "d"},
    "d": ECHO,
}


def test_members_that_no_worker_is_idle_for_are_dropped_counted_and_told():
    run = submit({"nodes": SERIAL, "start": "a"})  # one worker process for `sleep`
    publish(get_context(app, run.id))
    answer = run.result(WAIT)
    counts = current_deployment().store.counts(run.id)["b"]
    assert counts["total"] == 20
    assert counts["done"] + counts["shed"] == 20
    assert 1 <= counts["done"] <= 3
    assert len(answer["items"]) == counts["done"]
    assert {f["error"] for f in answer["failed"]} == {SHED}
    assert len(answer["failed"]) == counts["shed"]
    assert answer["missing"] == []
    assert run.failures() == []
    shed = {node.node: node.shed for node in run.status().nodes}
    assert shed["b"] == counts["shed"]
    told = [result["error"] for result in run.stream("b") if not result["ok"]]
    assert told == [SHED] * counts["shed"]


def test_what_was_dropped_or_sent_once_is_not_decided_again():
    context = stored_run({**SERIAL, "a": {**ECHO, "output": "b"}}, "a")
    store, run = context.store, context.run
    store.open_fan(run, "stream", FanRecord("b/each", "each", "", "", 0))
    places = {f"unit-{n}": Place("stream", str(n), 1) for n in range(5)}
    first = shed_surplus(context, "b", places, "b/each/each")
    kept = [unit for unit in places if unit not in first]
    assert len(kept) == 1
    gather = context.canvas.gather_unit("c", places["unit-0"])
    before = (store.counts(run), len(store.entries(run, gather)))
    for _ in range(2):  # all slots are free or none is: nothing changes
        assert shed_surplus(context, "b", places, "b/each/each") == first
        assert (store.counts(run), len(store.entries(run, gather))) == before
    assert before == ({"b": {"total": 5, "shed": 4}}, 4)
    store.forget_run(run)


def test_a_watch_waits_while_too_much_of_its_run_is_under_way(
    tmp_path, monkeypatch, pauses
):
    for number in range(1, 31):
        (tmp_path / f"x_{number:05d}.cbf").write_text("x" * 10)
    nodes = {
        "w": {
            "task": "file_watcher",
            "parameters": {
                "images": f"{tmp_path}/x_%05d.cbf:1:30",
                "burst-limit": 4,
            },
            "output": {"every": "b"},
        },
        "b": {"task": "per_image_analysis", "output": "c"},
        "c": {"task": "collect"},
    }
    context = stored_run(nodes, "w")
    store, run, deployment = context.store, context.run, current_deployment()
    monkeypatch.setattr(deployment, "settings", with_limits(deployment, most_queued=6))
    pauses.pause("images", "", "here")
    wait_until(lambda: all("images" in w.paused for w in pauses.workers("images")))
    unit = identity.start_unit(run, 0)
    assert store.leases.acquire(f"watch:{unit}", "this test", WAIT)
    row = WatchRow(unit, run, "w", "", "", 0, None, {})
    watch = Watch(app, deployment, row, threading.Event())
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()

    def published() -> int:
        return store.counts(run).get("b", {}).get("total", 0)

    wait_until(lambda: published() > 6)
    time.sleep(1.5)
    assert 6 < published() <= 6 + 4
    pauses.resume("images", "")
    thread.join(WAIT)
    wait_until(lambda: store.counts(run)["b"] == {"total": 30, "failed": 30})
    store.forget_run(run)


def test_a_stream_has_no_more_members_than_one_may_have(monkeypatch):
    context = stored_run({"a": ECHO}, "a")
    deployment = current_deployment()
    limits = with_limits(deployment, most_members=3)
    monkeypatch.setattr(deployment, "settings", limits)
    context.store.add_items(context.run, "stream", ["1", "2"])
    refuse_too_many(context, "a", "stream", ["1", "2", "3"])  # two of them again
    with pytest.raises(PermanentError, match="node 'a': more than 3 members"):
        refuse_too_many(context, "a", "stream", ["3", "4"])
    context.store.forget_run(context.run)
