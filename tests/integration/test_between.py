"""A worker dies, or a server fails, between two steps of what a task owes."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery.exceptions import Retry
from kombu import Queue
from kombu.message import Message

from zocelery import deliveries, task
from zocelery.celery import app
from zocelery.deployment import current_deployment
from zocelery.errors import TemporaryError
from zocelery.history import History
from zocelery.registry import load_tasks
from zocelery.submission import submit

pytestmark = pytest.mark.usefixtures("workers")
WAIT = 60
ECHO: dict[str, Any] = {"task": "echo"}
CHAIN = {
    "nodes": {
        "a": {**ECHO, "parameters": {"x": 1}, "output": "b"},
        "b": {**ECHO, "parameters": {"y": 2}},
    },
    "start": "a",
}


class KilledError(BaseException):
    """Stands for the end of a worker."""


@contextmanager
def control_at_rest() -> Iterator[None]:
    """Let the workers of `control` take nothing meanwhile: this process does."""
    where = {"destination": ["control-watch-lims@tests"], "reply": True, "timeout": 10}
    assert app.control.cancel_consumer("control", **where)
    try:
        yield
    finally:
        assert app.control.add_consumer("control", **where)


@contextmanager
def message_of(name: str) -> Iterator[Message]:
    """Take the message of a task from `control`; left alone it is given back."""
    with app.connection_for_write() as connection:
        queue = Queue("control")(connection.default_channel)
        give_up = time.monotonic() + 10
        while (message := queue.get(no_ack=False)) is None:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        assert message.headers["task"] == name
        yield message
        if not message.acknowledged:
            message.requeue()


def work_on(message: Message) -> Any:
    """Do in this process what a worker does with a message, but for acknowledging."""
    load_tasks()
    args, kwargs, embed = json.loads(message.body)
    headers = message.headers
    worker = app.tasks[headers["task"]]
    worker.push_request(
        id=headers["id"],
        task=headers["task"],
        args=args,
        kwargs=kwargs,
        chain=embed["chain"],
        chord=embed["chord"],
        group=headers["group"],
        retries=headers["retries"],
        delivery_info=message.delivery_info,
        called_directly=False,
        is_eager=False,
    )
    try:
        return worker(*args, **kwargs)
    finally:
        worker.pop_request()


@pytest.mark.parametrize("finished", [False, True], ids=["before", "after"])
def test_a_worker_that_dies_around_the_end_of_a_unit_leaves_its_answer(
    finished: bool, monkeypatch: pytest.MonkeyPatch
):
    def die(*args: Any, **options: Any) -> None:
        if finished:
            end_unit(*args, **options)
        raise KilledError

    end_unit = task.end_unit
    store = current_deployment().store
    with control_at_rest():
        run = submit(CHAIN)
        with message_of("zocelery.echo") as message, monkeypatch.context() as patch:
            patch.setattr(task, "end_unit", die)
            with pytest.raises(KilledError):
                work_on(message)
            unit = message.headers["id"]
            assert store.answer(run.id, unit) == {"x": 1}
            assert store.is_finished(run.id, unit) is finished
    assert run.result(WAIT) == {"x": 1, "y": 2}
    counts = store.counts(run.id)
    assert counts == {node: {"total": 1, "done": 1} for node in "ab"}


def test_a_failure_that_cannot_be_recorded_comes_back_and_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
):
    def fail(self: History, *args: Any, **options: Any) -> None:
        raise TemporaryError("the history database: disk I/O error")

    failing = {"task": "fail", "parameters": {"message": "no beam"}, "error": "tell"}
    nodes = {"a": {**failing, "output": "b"}, "b": ECHO, "tell": ECHO}
    with control_at_rest():
        run = submit({"nodes": nodes, "start": [["a", {"x": 1}]]})
        with message_of("zocelery.fail") as message, monkeypatch.context() as patch:
            patch.setattr(deliveries, "COME_BACK_SECONDS", 1)
            patch.setattr(History, "end_try", fail)
            patch.setattr(History, "end_unit", fail)
            with pytest.raises(Retry):
                work_on(message)
            message.ack()  # what comes back is another message
        assert run.state == "running"
    assert run.wait(WAIT).state == "finished"
    told = run.results()["tell"]
    assert (told["node"], told["error"]) == ("a", "no beam")
    counts = current_deployment().store.counts(run.id)
    assert counts == {
        "a": {"total": 1, "failed": 1},
        "tell": {"total": 1, "done": 1},
    }
    rows = {row["node"]: row for row in current_deployment().history.run_nodes(run.id)}
    assert (rows["a"]["state"], rows["a"]["error"]) == ("failed", "no beam")
    assert "b" not in rows
