"""What the janitor sets going, and what it leaves alone."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kombu import Queue
from kombu.exceptions import OperationalError as BrokerError

from zocelery import submission
from zocelery.canvas import Canvas
from zocelery.celery import app
from zocelery.deployment import current_deployment
from zocelery.errors import UnknownRunError
from zocelery.run import Run
from zocelery.submission import open_run, submit

pytestmark = pytest.mark.usefixtures("workers")
WAIT = 60
ECHO: dict[str, Any] = {"task": "echo"}
TWO_STARTS = {
    "nodes": {
        "a": {**ECHO, "parameters": {"x": 1}, "output": "c"},
        "b": {**ECHO, "parameters": {"y": 2}, "output": "c"},
        "c": {"task": "collect"},
    },
    "start": ["a", "b"],
}


class KilledError(BaseException):
    """Stands for the end of the process."""


def wait_until(condition: Callable[[], bool], seconds: float = WAIT) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def stop_at_start(number: int, error: BaseException, patch: pytest.MonkeyPatch) -> None:
    """Let the publication of a run break off at one of its starts, from 0."""
    published = []
    node = Canvas.node

    def break_off(self: Canvas, *args: Any, **options: Any) -> Any:
        if len(published) == number:
            raise error
        published.append(args)
        return node(self, *args, **options)

    patch.setattr(Canvas, "node", break_off)


@pytest.mark.parametrize("published", [0, 1])
def test_a_run_whose_submitter_was_killed_half_way_is_published_all_the_same(
    published: int, monkeypatch: pytest.MonkeyPatch
):
    name = f"killed-at-{published}"
    with monkeypatch.context() as patch:
        stop_at_start(published, KilledError(), patch)
        with pytest.raises(KilledError):
            submit(TWO_STARTS, run_id=name)
    deployment = current_deployment()
    store = deployment.store
    assert store.state(name) == "submitting"
    time.sleep(2.5)  # a submitter that lives may still be at it: rounds go by
    assert store.state(name) == "submitting"
    store.client.hset(f"zocelery:run:{name}", "submitted", time.time() - 100)
    answer = Run(name, deployment).result(WAIT)
    assert sorted(answer["members"], key=str) == [{"x": 1}, {"y": 2}]
    counts = store.counts(name)
    assert [counts[node] for node in "abc"] == [{"total": 1, "done": 1}] * 3
    assert deployment.history.run(name)["submitted"] < time.time() - 90


def test_a_run_that_could_not_be_published_is_not_started_later(
    monkeypatch: pytest.MonkeyPatch,
):
    with monkeypatch.context() as patch:
        stop_at_start(0, BrokerError("gone"), patch)
        with pytest.raises(BrokerError):
            submit(TWO_STARTS, run_id="refused")
    assert "refused" not in current_deployment().store.waiting_runs()
    with pytest.raises(UnknownRunError):
        open_run("refused")
    # nothing stands in the way of doing it again
    assert len(submit(TWO_STARTS, run_id="refused").result(WAIT)["members"]) == 2


def test_a_second_submitter_that_fails_does_not_take_the_run_from_the_first(
    monkeypatch: pytest.MonkeyPatch,
):
    started = []

    def begin_twice(context: Any) -> None:
        if not started:
            started.append(context)
            with monkeypatch.context() as patch:
                patch.setattr(submission, "begin_run", fail)
                with pytest.raises(BrokerError):
                    submit(TWO_STARTS, run_id="shared")
        begin(context)

    def fail(context: Any) -> None:
        raise BrokerError(context.run)

    begin = submission.begin_run
    monkeypatch.setattr(submission, "begin_run", begin_twice)
    assert len(submit(TWO_STARTS, run_id="shared").result(WAIT)["members"]) == 2


@contextmanager
def images_at_rest() -> Iterator[None]:
    """Let the workers of `images` take nothing, as if live work kept them busy."""
    where = {"destination": ["images@tests"], "reply": True, "timeout": 10}
    assert app.control.cancel_consumer("images", **where)
    try:
        yield
    finally:
        assert app.control.add_consumer("images", **where)


def three_images() -> Run:
    nodes = {
        "a": {**ECHO, "parameters": {"list": [{}, {}, {}]}, "output": "b"},
        "b": {"task": "per_image_analysis", "foreach": "list", "output": "c"},
        "c": {"task": "collect", "deadline": 1},
    }
    run = submit({"nodes": nodes, "start": "a"})
    total = {"total": 3}
    wait_until(lambda: current_deployment().store.counts(run.id).get("b") == total)
    return run


def test_a_deadline_does_not_begin_while_members_stand_in_a_queue():
    with images_at_rest():
        run = three_images()
        time.sleep(5)  # many times the deadline, several rounds of the janitor
        assert run.state == "running"
    assert run.wait(WAIT).state == "failed"
    told = [row["error"] for row in current_deployment().history.run_failures(run.id)]
    assert "never answered" not in told
    assert "none of 3 members gave a result" in str(run.status().error)


def test_a_gather_runs_without_members_that_are_lost():
    with images_at_rest():
        run = three_images()
        with app.connection_for_write() as connection:
            lost = Queue("images")(connection.default_channel).purge()
        assert lost >= 3
    assert run.wait(WAIT).state == "failed"
    assert run.status().error == "c: none of 3 members answered"
