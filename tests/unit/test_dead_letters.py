"""Dead letters without a server: what is kept of a message, and what is refused."""

import json
import math
import zlib
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import MessageNacked, RecoverableConnectionError
from click.testing import CliRunner
from kombu.transport.native_delayed_delivery import calculate_routing_key

from zocelery.canvas import BUNDLE_TASK
from zocelery.celery import app
from zocelery.cli import cli
from zocelery.cli.dlq import Age
from zocelery.dead_letter import park
from zocelery.dead_letter_box import Selection
from zocelery.dead_letter_format import Address, DeadLetter, from_line, tag, untag
from zocelery.dead_letter_gate import find_problem
from zocelery.dead_letters import new_file_name
from zocelery.errors import InputFileError
from zocelery.queues import queue_of, work_queues
from zocelery.settings import BrokerSettings, current_settings
from zocelery.task import PASSING_ERRORS

BODY = json.dumps([[{"x": 1}, "run", "b", "7", "stream", "1"], {}, {}]).encode()
PROPERTIES = {"content_type": "application/json", "priority": 9}


def letter(body: bytes = BODY, **headers: Any) -> DeadLetter:
    own = {"task": "zocelery.echo", "id": "the-id"}
    return DeadLetter("images", body, {**own, **headers}, PROPERTIES)


def test_a_letter_knows_where_it_belongs():
    assert letter().address == Address("run", "b", "7", "stream", 1)
    assert letter().payload == {"x": 1}
    assert (letter().run, letter().node, letter().id) == ("run", "b", "the-id")


def test_a_compressed_letter_knows_where_it_belongs():
    compressed = letter(zlib.compress(BODY), compression="application/x-gzip")
    assert compressed.run == "run"


def test_the_engines_own_tasks_have_a_run_but_no_node():
    body = b'[["run", "gather", "stream"], {}, {}]'
    forward = letter(body, task="zocelery.forward")
    assert (forward.run, forward.node, forward.address) == ("run", None, None)


def test_a_letter_with_several_members_is_taken_for_each_of_them():
    members = [["unit-1", "7", {"x": 1}], ["unit-2", "8", {"x": 2}], "odd"]
    body = json.dumps([["run", "b", "stream", "1", members], {}, {}]).encode()
    bundle = letter(
        zlib.compress(body), task=BUNDLE_TASK, compression="application/x-gzip"
    )
    assert (bundle.run, bundle.node, bundle.address) == ("run", "b", None)
    assert [unit.id for unit in bundle.units] == ["unit-1", "unit-2"]
    second = bundle.units[1]
    assert second.address == Address("run", "b", "8", "stream", 1)
    assert second.payload == {"x": 2}
    assert letter().units == [letter()]


@pytest.mark.parametrize("body", [b"", b"\xff", b"7", b"{}", b"[7]", b"[[1, 2, 3]]"])
def test_what_cannot_be_read_belongs_nowhere_and_has_an_id_all_the_same(body: bytes):
    unread = DeadLetter("images", body, {}, PROPERTIES)
    assert (unread.address, unread.payload) in [(None, None), (None, 1)]
    assert unread.id
    assert unread.summary()["error"] == "no reason is known"


def test_the_reason_of_the_broker_is_told_of_the_work_queue_only():
    deaths = [
        {
            "queue": "celery_delayed_3",
            "reason": "expired",
            "time": datetime(2020, 1, 1),
        },
        {"queue": "images", "reason": "rejected", "time": datetime(2026, 1, 1)},
    ]
    dead = letter(**{"x-death": deaths})
    assert dead.error == "the broker moved it here: rejected"
    assert dead.time == datetime.fromisoformat("2026-01-01T00:00:00+00:00").timestamp()


def test_what_is_sent_again_has_lost_reasons_tries_and_traces_but_not_its_place():
    dead = letter(
        retries=3,
        group="g",
        eta=None,
        expires="2020-01-01T00:00:00",
        **{
            "x-death": [],
            "x-first-death-queue": "images",
            "x-z-error": "E",
            "x-z-time": 1.0,
            "x-z-reinjected": 2,
            "x-delivery-count": 4,
            "x-of-somebody": "else",
            "CC": ["control"],
        },
    )
    headers, properties = dead.to_publish()
    assert headers == {
        "task": "zocelery.echo",
        "id": "the-id",
        "retries": 0,
        "group": "g",
        "eta": None,
        "expires": None,
        "x-z-reinjected": 3,
        "x-of-somebody": "else",
    }
    assert properties == {**PROPERTIES, "delivery_mode": 2}


def test_a_line_keeps_every_byte_and_every_type():
    odd = {
        "bytes": b"\x00\xff",
        "time": datetime(2026, 1, 2, 3, 4, 5),
        "decimal": Decimal("1.50"),
        "nested": {"list": [1, -1.5, None, True, {"a": b"x"}], "": "empty"},
        "infinite": math.inf,
        "big": 2**62,
    }
    dead = letter(b"\xff\x00\n", **odd)
    read = from_line(dead.to_line(), Path("f"), 1)
    assert (read.body, read.headers) == (dead.body, dead.headers)
    assert (read.properties, read.queue) == (dead.properties, dead.queue)
    assert "\n" not in dead.to_line()


def test_names_that_are_no_text_are_kept():
    table = {b"\xff": 1, "a": {"b": b"c"}}
    assert untag(json.loads(json.dumps(tag(table)))) == table


@pytest.mark.parametrize(
    "line",
    ["", "{", "7", "{}", '{"format": "other"}', letter().to_line().replace("A", "!")],
)
def test_a_line_of_something_else_is_named(line: str):
    with pytest.raises(InputFileError, match=r"letters\.jsonl, line 3"):
        from_line(line, Path("letters.jsonl"), 3)


def test_copies_are_told_from_letters_that_failed_again():
    assert letter().copy_key == letter(**{"x-z-error": "other"}).copy_key
    assert letter().copy_key != letter(**{"x-z-reinjected": 1}).copy_key
    assert letter().copy_key != letter(BODY + b" ").copy_key


def test_an_empty_selection_means_everything():
    assert Selection().fits(letter())
    assert not Selection(nodes=("c",)).fits(letter())


def test_a_letter_of_unknown_age_is_not_older_than_anything():
    assert not Selection(older_than=0).fits(letter())


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1.5h", 5400), ("2d", 172800)]
)
def test_ages_are_written_as_people_do(text: str, seconds: float):
    assert Age().convert(text, None, None) == seconds


@pytest.mark.parametrize("command", ["reinject", "drop", "purge"])
def test_a_command_that_changes_something_wants_a_choice(command: str):
    result = CliRunner().invoke(cli, ["dlq", command])
    assert result.exit_code == 2
    assert "--all" in result.output


def test_defect_02_names_of_files_differ_within_one_second(tmp_path: Path):
    assert len({new_file_name(tmp_path) for _ in range(100)}) == 100


# the gate


def received(body: bytes = BODY, **changes: Any) -> Any:
    headers = {"task": "zocelery.echo", "id": "x", "retries": 0, **changes}
    payload = json.loads(body)
    return SimpleNamespace(
        body=body, content_type="application/json", headers=headers, payload=payload
    )


def problem(message: Any, largest: int = 1000) -> str | None:
    return find_problem(message, app.tasks, largest)


@pytest.fixture(autouse=True)
def _tasks() -> None:
    app.loader.import_default_modules()


def test_a_task_passes_the_gate():
    assert problem(received()) is None
    body = b'[["run"], {}, {"chord": null, "chain": [], "callbacks": null}]'
    assert problem(received(body, task="zocelery.end_run", eta=None)) is None


def test_a_message_is_refused_for_its_size_before_it_is_read():
    unread = SimpleNamespace(body=b"x" * 1001)
    assert problem(unread) == "1001 bytes, 1000 are accepted (workers.largest_message)"


def test_a_reason_quotes_little_of_what_it_refuses():
    body = json.dumps([["x" * 1000] * 1000, 7, {}]).encode()
    assert len(problem(received(body), 10**9) or "") < 300


def test_an_error_of_a_megabyte_leaves_room_for_the_message():
    sent: dict[str, Any] = {}
    task = SimpleNamespace(
        request=SimpleNamespace(
            id="x", delivery_info={"routing_key": "control"}, retries=0
        ),
        signature_from_request=lambda _: SimpleNamespace(
            options={"headers": {"mine": 1}}, apply_async=lambda **o: sent.update(o)
        ),
    )
    park(task, ValueError("x" * 1_000_000))  # type: ignore[arg-type]  # a stand-in
    assert len(sent["headers"]["x-z-error"]) == 2000
    assert len(sent["headers"]["x-z-traceback"]) == 8000
    assert sent["headers"]["mine"] == 1
    assert sent["mandatory"]


@pytest.mark.parametrize("queue", ["control", "reduce.xray_centering", "0.1"])
def test_the_queue_of_a_message_is_known_after_it_has_waited_on_quorum_queues(
    queue: str,
):
    for key in (queue, calculate_routing_key(7, queue)):
        assert queue_of({"routing_key": key}) == queue
    assert queue_of(None) is None


def test_what_quorum_queues_reject_finds_its_dead_letters_whatever_its_routing_key():
    given = current_settings().broker.model_dump()
    quorum = BrokerSettings.model_validate({**given, "queue_type": "quorum"})
    for queue in work_queues(quorum):
        arguments = queue.queue_arguments
        assert arguments["x-queue-type"] == "quorum"
        assert arguments["x-dead-letter-routing-key"] == queue.name
        assert "x-max-priority" not in arguments


@pytest.mark.parametrize("error", [RecoverableConnectionError("lost"), MessageNacked()])
def test_what_the_broker_has_not_confirmed_is_tried_again_and_not_parked(
    error: Exception,
):
    assert isinstance(error, PASSING_ERRORS)
