"""A broker that lives and yet takes no messages: nobody hangs, nothing is lost.

It may hang, or have an alarm: then everybody may connect, and what is published is not
read until the alarm is over.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.site import BROKER_TIMEOUT, RabbitServer, Site
from tests.faults.test_deliveries import recipe
from tests.faults.test_settings import an_app
from zocelery.confirms import confirmed_together
from zocelery.run import Run

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
State = Callable[[RabbitServer], AbstractContextManager[None]]
STATES = pytest.mark.parametrize(
    "state", [RabbitServer.hanging, RabbitServer.full], ids=["hangs", "is full"]
)


def zocelery(
    site: Site, *words: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command that waits for the broker for two seconds."""
    told = {"ZOCELERY_BROKER_CONNECT_TIMEOUT": "2", **variables}
    return subprocess.run(
        [sys.executable, "-m", "zocelery", *words],
        env={**site.environment, **told},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A recipe in a file."""
    written = tmp_path / "recipe.json"
    written.write_text(json.dumps(recipe([["a", {"x": 1}]], a={"task": "echo"})))
    return written


@STATES
def test_submit_says_that_the_broker_takes_nothing(
    state: State, whole: Site, file: Path
):
    with state(whole.rabbitmq):
        done = zocelery(whole, "submit", str(file), "--run-id", "never-begun")
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: cannot reach RabbitMQ at amqp://guest:***@")
    assert whole.deployment.store.state("never-begun") is None
    assert whole.deployment.history.find_run("never-begun") is None


@STATES
def test_what_is_submitted_meanwhile_is_stored_and_sent_later_once(
    state: State, whole: Site, file: Path, tmp_path: Path
):
    folder = {"ZOCELERY_RUN_DROP_FOLDER": str(tmp_path / "drop")}
    run = f"later-{state.__name__}"
    command = ("submit", str(file), "--run-id", run)
    with state(whole.rabbitmq):
        stored = zocelery(whole, *command, "--wait", **folder)
        assert stored.returncode == 3, stored.stderr  # there is no end to wait for
        refused = zocelery(whole, "pickup", **folder)
        assert refused.returncode == 2, refused.stderr
    folder["ZOCELERY_BROKER_CONNECT_TIMEOUT"] = "30"  # it has a lot to do now
    sent = zocelery(whole, "pickup", "--json", **folder)
    assert [json.loads(line)["run"] for line in sent.stdout.splitlines()] == [run]
    again = zocelery(whole, "pickup", "--json", **folder)
    assert (again.returncode, again.stdout) == (0, "")
    handle = Run(run, whole.deployment)
    assert handle.result(250) == {"x": 1}
    assert whole.deployment.store.counts(run) == {"a": {"total": 1, "done": 1}}


OTHER_COMMANDS = [["queues"], ["topology", "apply"], ["dlq", "reinject", "--all"]]


@pytest.mark.parametrize("command", OTHER_COMMANDS, ids=" ".join)
def test_commands_say_that_the_broker_hangs(command: list[str], whole: Site):
    with whole.rabbitmq.hanging():
        done = zocelery(whole, *command, ZOCELERY_BROKER_TIMEOUT="2")
    assert done.returncode == 2, done.stderr
    assert "cannot reach" in done.stderr
    assert "Traceback" not in done.stderr


@STATES
@pytest.mark.parametrize("together", [True, False], ids=["together", "one"])
def test_publishing_ends_only_with_the_timeout(
    state: State, together: bool, whole: Site
):
    with ExitStack() as stack:
        threads, failed = [], list[BaseException]()
        for seconds in ("2", "3600"):
            told = {**whole.environment, BROKER_TIMEOUT: seconds}
            app = stack.enter_context(an_app(whole, told))
            producer = stack.enter_context(app.connection_for_write()).Producer()
            publish(producer, together)  # it is connected
            task = partial(publish_noting, producer, together, failed)
            threads.append(threading.Thread(target=task, daemon=True))
        with state(whole.rabbitmq):
            for thread in threads:
                thread.start()
            threads[0].join(60)
            assert [thread.is_alive() for thread in threads] == [False, True]
        threads[1].join()
    (error,) = failed
    assert isinstance(error, TimeoutError)


def publish(producer: Any, together: bool) -> None:
    with confirmed_together(producer) if together else nullcontext():
        for _ in range(3):
            producer.publish({}, routing_key="nowhere")


def publish_noting(producer: Any, together: bool, failed: list[BaseException]) -> None:
    try:
        publish(producer, together)
    except OSError as error:
        producer.connection.collect()
        failed.append(error)
