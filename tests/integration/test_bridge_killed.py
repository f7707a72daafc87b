"""A bridge that is killed right after any step: one run, one message of results.

The table of docs/bridge.md, row by row.
"""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from tests.bridge_site import (
    QUEUE,
    WAIT,
    dead_letters,
    message_count,
    runs_with,
    take,
    until,
)
from zocelery.bridge.delivery import Delivery
from zocelery.bridge.desk import Desk
from zocelery.bridge.waiting import DUE
from zocelery.celery import app
from zocelery.deployment import current_deployment
from zocelery.queues import RESULTS_EXCHANGE
from zocelery.submission import open_run

pytestmark = pytest.mark.usefixtures("workers")
BEAMLINE = "i99k"
HEARD = f"xrc.{BEAMLINE}"
KILLER = """
import json, os, signal, sys
from importlib import import_module
from zocelery.bridge.delivery import Delivery
from zocelery.bridge.desk import Desk
from zocelery.bridge.rehearsal import load_catalogue
from zocelery.celery import app
from zocelery.deployment import current_deployment
from zocelery.settings import current_settings

def killed(step, work, message):
    module, _, name = step.partition(":")
    owner, _, method = name.rpartition(".")
    place = import_module(module)
    place = getattr(place, owner) if owner else place
    function = getattr(place, method)
    def patched(*args, **kwargs):
        function(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(place, method, patched)
    desk = Desk(app, current_deployment())
    desk.deal_with(Delivery.load(message)) if work == "message" else \
        desk.look_at_waiting()
    os._exit(0)

load_catalogue(current_settings().queues)
for line in sys.stdin:
    if (child := os.fork()) == 0:
        killed(*json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
Kill = Callable[..., int]


@pytest.fixture(scope="module")
def kill() -> Iterator[Kill]:
    """Deals with a message in a process that is killed after a step."""
    command = [sys.executable, "-c", KILLER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def _kill(step: str, message: Delivery, work: str = "message") -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([step, work, message.dump()]) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield _kill
        process.stdin.close()


@pytest.fixture(scope="module", autouse=True)
def results(workers: Path, rabbitmq_url: str) -> None:
    """The queue of a beamline's software."""
    assert workers
    with Connection(rabbitmq_url) as connection:
        channel: Any = connection.channel()
        channel.queue_declare(HEARD, durable=True, auto_delete=False)
        channel.queue_bind(HEARD, RESULTS_EXCHANGE, HEARD)


def announced(**parameters: Any) -> tuple[str, Delivery]:
    """Return a message whose run tells a beamline that nothing diffracts."""
    word = uuid.uuid4().hex
    told = {"beamline": BEAMLINE, "dcid": 1, "dcgid": 2}
    recipe = {
        "1": {"queue": "publish_results", "parameters": told},
        "start": [[1, {"type": "3d", "results": []}]],
    }
    given = {"word": word, **parameters}
    body = json.dumps({"custom_recipe": recipe, "parameters": given})
    return word, Delivery(QUEUE, body.encode())


def let_leases_lapse() -> None:
    client = current_deployment().store.client
    for key in client.keys("zocelery:lease:bridge:*"):
        client.delete(key)


def make_due(run: str) -> None:
    """Let a request that waits be looked at now."""
    current_deployment().store.client.zadd(DUE, {run: 0})


def told_once(word: str) -> None:
    """Wait for the only run; it was done once and told once."""
    (row,) = until(lambda: runs_with(word=word))
    run = open_run(row["run"])
    run.wait(WAIT)
    assert run.state == "finished"
    assert len(current_deployment().history.run_tries(run.id)) == 1
    (message,) = take(HEARD)
    assert message["environment"] == {"ID": run.id}


@pytest.mark.parametrize(
    "step",
    [
        "zocelery.bridge.desk:read_request",
        "zocelery.bridge.desk:Desk._run_of",
        "zocelery.bridge.desk:apply_filters",
        "zocelery.bridge.desk:wanted_runs",
        "zocelery.bridge.start:prepare",
        "zocelery.store:RunStore.create_run",
        "zocelery.history:History.add_run",
        "zocelery.store:RunStore.open_units",
        "celery.canvas:Signature.apply_async",
        "zocelery.store:RunStore.set_running",
        "zocelery.bridge.start:launch",
        "zocelery.bridge.desk:Desk._answer_or_refuse",
    ],
)
def test_a_bridge_killed_right_after_a_step_loses_and_doubles_nothing(
    kill: Kill, step: str
):
    word, message = announced()
    assert kill(step, message) == -9
    let_leases_lapse()  # as they do after some seconds
    Desk(app, current_deployment()).deal_with(message)  # the broker sends it again
    told_once(word)


def test_a_message_that_is_sent_anew_after_its_acknowledgement_is_the_same(kill: Kill):
    word, message = announced()
    desk = Desk(app, current_deployment())
    desk.forget(desk.deal_with(message))
    assert kill("zocelery.bridge.desk:Desk.forget", message) == 0
    told_once(word)


@pytest.mark.parametrize(
    "step",
    [
        "zocelery.bridge.waiting:WaitingRoom.take",
        "celery.canvas:Signature.apply_async",
        "zocelery.bridge.desk:Desk._answer_or_refuse",
    ],
)
def test_a_request_that_waits_outlives_its_bridge(
    kill: Kill, step: str, monkeypatch: pytest.MonkeyPatch
):
    word, message = announced()
    desk = Desk(app, current_deployment())
    monkeypatch.setattr("zocelery.bridge.desk.waits_for", lambda *_: "i99")
    desk.deal_with(message)
    monkeypatch.undo()
    (row,) = desk.room.rows()
    make_due(row.run)
    assert kill(step, message, "waiting") == -9
    let_leases_lapse()
    make_due(row.run)
    assert desk.look_at_waiting()
    assert list(desk.room.rows()) == []
    assert not desk.look_at_waiting()
    told_once(word)
    assert runs_with(word=word)[0]["run"] == row.run


def test_a_message_is_made_a_dead_letter_before_it_is_acknowledged(kill: Kill):
    message = Delivery(QUEUE, b"no JSON")
    assert kill("zocelery.dead_letter:refuse", message) == -9
    assert message_count(f"dlq.{QUEUE}") == 1
    Desk(app, current_deployment()).deal_with(message)
    letters = dead_letters()
    assert [body for body, _ in letters] == [b"no JSON"] * 2  # never none
