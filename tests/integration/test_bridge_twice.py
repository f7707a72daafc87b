"""A request dealt with twice, at the same time, or by a bridge that was killed."""

import subprocess
import sys
import uuid
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.bridge_site import (
    QUEUE,
    WAIT,
    Relay,
    bridge,
    message_count,
    runs_with,
    send,
    until,
)
from tests.lims_rows import at_once
from zocelery.bridge.delivery import Delivery
from zocelery.bridge.desk import Desk
from zocelery.celery import app
from zocelery.deployment import current_deployment
from zocelery.settings import current_settings
from zocelery.submission import open_run

pytestmark = pytest.mark.usefixtures("workers")
BODY = (
    '{"custom_recipe": {"1": {"queue": "echo", "parameters": {"word": "{word}"}}, '
    '"start": [[1, []]]}, "parameters": {"word": "WORD"}}'
)


def delivery() -> tuple[str, Delivery]:
    word = uuid.uuid4().hex
    return word, Delivery(QUEUE, BODY.replace("WORD", word).encode())


def only_run(word: str) -> str:
    (row,) = runs_with(word=word)
    assert open_run(row["run"]).result(WAIT) == {"word": word}
    assert len(current_deployment().history.run_tries(row["run"])) == 1
    return str(row["run"])


def test_eight_deliveries_at_once_start_one_run():
    word, message = delivery()
    desk = Desk(app, current_deployment())
    answers = at_once(lambda: desk.deal_with(message))
    assert answers == [answers[0]] * 8
    assert str(answers[0]).startswith("zocelery:bridge:same:")
    only_run(word)


def test_an_equal_message_is_a_new_one_after_a_while():
    word, message = delivery()
    desk = Desk(app, current_deployment())
    key = desk.deal_with(message)
    only_run(word)
    desk.forget(key)
    client = current_deployment().store.client
    assert 0 < client.ttl(key) <= current_deployment().settings.bridge.same_message
    client.delete(key)  # as when that time is over
    desk.deal_with(message)
    assert len(runs_with(word=word)) == 2


KILLED = """
import os, signal, sys
from pathlib import Path
from zocelery.bridge.delivery import Delivery
from zocelery.bridge.desk import Desk
from zocelery.celery import app
from zocelery.deployment import current_deployment
{patch} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
Desk(app, current_deployment()).deal_with(Delivery.load(Path(sys.argv[1]).read_text()))
"""


@pytest.mark.parametrize(
    "patch",
    [
        "import zocelery.submission as s; s.begin_run",
        "import zocelery.publication as p; p.publish",
        "import zocelery.bridge.desk as d; d.start_all",
        "import zocelery.store as t; t.RunStore.set_running",
    ],
)
def test_a_bridge_that_is_killed_half_way_loses_and_doubles_nothing(
    tmp_path: Path, patch: str
):
    word, message = delivery()
    (tmp_path / "message").write_text(message.dump())
    script = KILLED.replace("{patch}", patch)
    command = [sys.executable, "-c", script, str(tmp_path / "message")]
    assert subprocess.run(command, check=False, timeout=WAIT).returncode == -9
    leases = current_deployment().store.client
    for key in leases.keys("zocelery:lease:bridge:*"):
        leases.delete(key)  # as they lapse after some seconds
    again = Delivery.load(message.dump())
    assert again == message
    Desk(app, current_deployment()).deal_with(again)
    only_run(word)


def _has_served(log: Path, times: int) -> bool:
    return log.read_text().count("Serving") >= times


def test_a_bridge_whose_connections_break_comes_back_and_doubles_nothing(
    tmp_path: Path,
):
    port = urlsplit(current_settings().broker.url).port
    assert port is not None
    words = []
    with Relay(port) as relay:
        url = f"amqp://guest:guest@127.0.0.1:{relay.port}//"
        with bridge(tmp_path, broker_url=url) as log:
            for number in range(40):
                word, message = delivery()
                words.append(word)
                send(message.body)
                if number % 10 == 5:
                    assert relay.cut() > 0
                    times = 2 + number // 10
                    until(partial(_has_served, log, times))
            until(lambda: all(runs_with(word=word) for word in words))
        until(lambda: message_count(QUEUE) == 0)
    for word in words:
        only_run(word)
