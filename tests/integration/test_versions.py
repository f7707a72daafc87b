"""A worker beside newer ones: it does its own work and leaves theirs alone."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from zocelery import identity
from zocelery.celery import app
from zocelery.deployment import current_deployment
from zocelery.long_row import LongRow
from zocelery.submission import submit
from zocelery.versions import MESSAGE_VERSION, VERSION_HEADER
from zocelery.watch_row import WatchRow

pytestmark = pytest.mark.usefixtures("workers")
WAIT = 60
NEWER = MESSAGE_VERSION + 1
ROW: dict[str, Any] = {
    "unit": "u",
    "run": "r",
    "node": "n",
    "stream": "",
    "item": "",
    "depth": 0,
    "payload": None,
}


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def take_dead_letter(task_id: str) -> dict[str, Any] | None:
    """Take all dead letters of `control`; return the headers of one of them."""
    found = None
    with app.connection_for_read() as connection, connection.channel() as channel:
        while (message := channel.basic_get("dlq.control")) is not None:
            headers = message.properties["application_headers"]
            channel.basic_ack(message.delivery_tag)
            if headers.get("id") == task_id:
                found = headers
    return found


def wait_for_dead_letter(task_id: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    wait_until(lambda: bool(found.append(take_dead_letter(task_id)) or found[-1]))
    return found[-1]


def test_a_message_of_a_newer_version_is_parked_and_says_why():
    task_id = str(uuid.uuid4())
    app.send_task(
        "zocelery.echo",
        args=[{"a new": "form"}],
        task_id=task_id,
        queue="control",
        headers={VERSION_HEADER: NEWER},
    )
    headers = wait_for_dead_letter(task_id)
    assert headers[VERSION_HEADER] == NEWER
    assert f"version {NEWER}" in headers["x-z-error"]
    assert "newer workers" in headers["x-z-error"]


def test_every_message_says_its_version_also_when_it_is_sent_again():
    node = {
        "task": "fail",
        "parameters": {"passing": True},
        "retry": {"attempts": 2, "pause": 1},
    }
    run = submit({"nodes": {"a": node}, "start": "a"})
    run.wait(WAIT)
    headers = wait_for_dead_letter(identity.start_unit(run.id, 0))
    assert headers[VERSION_HEADER] == MESSAGE_VERSION
    assert headers["retries"] == 1


def test_a_run_of_a_newer_version_is_left_alone():
    store = current_deployment().store
    run = str(uuid.uuid4())
    record = {"version": NEWER, "recipe": {"a new": "form"}}
    assert store.create_run(run, record, 3600)
    store.set_running(run)
    unit = identity.start_unit(run, 0)
    app.send_task("zocelery.echo", [None, run, "a"], task_id=unit, queue="control")
    headers = wait_for_dead_letter(unit)
    assert f"run {run}: version {NEWER}" in headers["x-z-error"]
    time.sleep(2.5)  # rounds of the janitor
    assert store.state(run) == "running"
    store.forget_run(run)


def test_rows_to_which_a_newer_version_has_added_something_are_understood():
    watch = WatchRow.load(json.dumps({**ROW, "state": {}, "sent": ["a"], "mood": 1}))
    assert (watch.unit, watch.sent) == ("u", ("a",))
    long = LongRow.load(json.dumps({**ROW, "priority": 1, "since": 1.0, "mood": 1}))
    assert (long.unit, long.priority) == ("u", 1)
