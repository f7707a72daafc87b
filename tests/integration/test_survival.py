"""What goes wrong in the middle leaves no run hanging and no number wrong."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from zocelery import identity
from zocelery.celery import app
from zocelery.context import get_context
from zocelery.deployment import current_deployment
from zocelery.run import Run
from zocelery.submission import submit
from zocelery.watch_row import ROWS

pytestmark = pytest.mark.usefixtures("workers")
WAIT = 60
ECHO: dict[str, Any] = {"task": "echo"}


def wait_until(condition: Callable[[], bool], seconds: float = WAIT) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_parked_node_does_not_end_the_run_before_the_other_branches():
    nodes = {
        "x": {"task": "fail", "parameters": {"message": "no beam"}},
        "a": {**ECHO, "parameters": {"list": [1, 2, 3]}, "output": "b"},
        "b": {
            "task": "sleep",
            "parameters": {"seconds": 0.3},
            "foreach": "list",
            "output": "c",
        },
        "c": {"task": "collect", "output": "e"},
        "e": {"task": "sleep", "parameters": {"seconds": 0.3}},
    }
    run = submit({"nodes": nodes, "start": ["x", "a"]})
    assert run.wait(WAIT).state == "failed"
    assert run.results()["e"]["members"] == [1, 2, 3]


def test_a_deadline_does_not_begin_before_the_sources_have_ended(tmp_path):
    nodes = {
        "watch": {
            "task": "file_watcher",
            "parameters": {"images": f"{tmp_path}/x_%05d.cbf:1:2", "live": True},
            "output": {"every": "b"},
        },
        "b": {**ECHO, "output": "c"},
        "c": {"task": "collect", "deadline": 1},
    }
    run = submit({"nodes": nodes, "start": "watch"})
    wait_until(lambda: bool(current_deployment().store.streams(run.id, gather(run))))
    time.sleep(3.5)  # several rounds of the janitor
    assert run.state == "running"
    for number in (1, 2):
        (tmp_path / f"x_{number:05d}.cbf").write_text("x" * 10)
    assert run.result(WAIT)["items"] == ["1", "2"]


def gather(run: Run) -> str:
    return identity.gather_unit(run.id, "c")


def test_members_of_members_are_all_told():
    nodes = {
        "a": {**ECHO, "parameters": {"rows": [[1, 2], [3, 4, 5]]}, "output": "row"},
        "row": {**ECHO, "foreach": "rows", "output": "cell"},
        "cell": {**ECHO, "foreach": "", "output": "inner"},
        "inner": {"task": "collect", "output": "outer"},
        "outer": {"task": "collect"},
    }
    run = submit({"nodes": nodes, "start": "a"})
    assert sorted(e["value"] for e in run.stream("cell")) == [1, 2, 3, 4, 5]


def test_a_run_whose_live_state_is_lost_has_failed():
    run = submit({"nodes": {"a": {"task": "sleep"}}, "start": [["a", {"x": 1}]]})
    run.wait(WAIT)
    history = current_deployment().history
    history.add_run(
        run="lost",
        recipe="r",
        document={"nodes": {}},
        parameters={},
        state="running",
        host="h",
        submitted=time.time(),
    )
    assert Run("lost", current_deployment()).wait(5).state == "failed"


def test_what_comes_after_a_loss_is_not_taken_for_the_whole(tmp_path):
    nodes = {
        "watch": {
            "task": "file_watcher",
            "parameters": {"images": f"{tmp_path}/x_%05d.cbf:1:3", "live": True},
            "output": {"every": "b"},
        },
        "b": {**ECHO, "output": "c"},
        "c": {"task": "collect"},
    }
    deployment = current_deployment()
    store, history = deployment.store, deployment.history
    run = submit({"nodes": nodes, "start": "watch"})
    (tmp_path / "x_00001.cbf").write_text("x" * 10)
    wait_until(lambda: store.counts(run.id).get("b", {}).get("done", 0) == 1)
    store.client.flushall()
    wait_until(lambda: history.run(run.id)["state"] == "failed")
    for number in (2, 3):
        (tmp_path / f"x_{number:05d}.cbf").write_text("x" * 10)
    wait_until(lambda: not store.client.hexists(ROWS, identity.start_unit(run.id, 0)))
    marker = submit({"nodes": {"a": ECHO}, "start": [["a", {"x": 1}]]})
    marker.wait(WAIT)  # it stood behind the gather
    assert history.unit(run.id, gather(run)) is None
    assert run.state == "failed"


def test_a_node_that_takes_longer_than_its_timeout_fails_and_says_so():
    nodes = {
        "a": {
            "task": "sleep",
            "parameters": {"seconds": 30},
            "timeout": 1,
            "error": "b",
        },
        "b": ECHO,
    }
    run = submit({"nodes": nodes, "start": [["a", {"x": 1}]]})
    run.wait(WAIT)
    assert run.results()["b"]["error"] == "took longer than 1 s"


def test_a_transport_delay_holds_a_message_back():
    nodes = {
        "a": {**ECHO, "output": "b"},
        "b": {**ECHO, "parameters": {"y": 1}, "transport-delay": 2},
    }
    run = submit({"nodes": nodes, "start": [["a", {"x": 1}]]})
    run.wait(WAIT)
    rows = {r["node"]: r for r in current_deployment().history.run_nodes(run.id)}
    assert rows["b"]["started"] - rows["a"]["ended"] > 1.5


def test_a_watch_that_broke_off_goes_on_where_it_was(tmp_path):
    nodes = {
        "watch": {
            "task": "file_watcher",
            "parameters": {"images": f"{tmp_path}/x_%05d.cbf:1:4", "live": True},
            "output": {"every": "b", "first": "f"},
        },
        "f": {**ECHO, "output": "c"},
        "b": {**ECHO, "output": "c"},
        "c": {"task": "collect"},
    }
    store = current_deployment().store
    run = submit({"nodes": nodes, "start": "watch"})
    for number in (1, 2):
        (tmp_path / f"x_{number:05d}.cbf").write_text("x" * 10)
    wait_until(lambda: store.counts(run.id).get("b", {}).get("done", 0) == 2)
    unit = identity.start_unit(run.id, 0)
    wait_until(lambda: '"sent": ["first"]' in store.client.hget(ROWS, unit))
    # somebody else takes the lease, as if this keeper had been cut off, and dies
    store.client.set(f"zocelery:lease:watch:{unit}", "another keeper", px=4000)
    for number in (3, 4):
        (tmp_path / f"x_{number:05d}.cbf").write_text("x" * 10)
    answer = run.result(WAIT)
    assert sorted(i for i in answer["items"] if i) == ["1", "2", "3", "4"]
    assert store.counts(run.id)["b"] == {"total": 4, "done": 4}
    assert get_context(app, run.id).run == run.id


def test_an_empty_name_names_no_run():
    from zocelery.errors import UnknownRunError
    from zocelery.submission import open_run

    for name in ("", "%", "_"):
        with pytest.raises(UnknownRunError):
            open_run(name)
