"""Dead letters on real servers: nothing is lost or doubled, whoever interferes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from kombu import Connection, Queue

from tests.unit.small_images import write_cbf
from zocelery import identity
from zocelery.celery import app
from zocelery.cli import cli
from zocelery.dead_letter_box import Selection, open_box
from zocelery.dead_letter_format import DeadLetter
from zocelery.dead_letters import DeadLetters
from zocelery.deployment import current_deployment
from zocelery.queues import QUEUE_NAMES, dead_letter_queue
from zocelery.run import Run
from zocelery.submission import submit

pytestmark = pytest.mark.usefixtures("workers", "no_letters")
WAIT = 60
ECHO: dict[str, Any] = {"task": "echo"}
ANALYSE: dict[str, Any] = {"task": "per_image_analysis", "retry": {"attempts": 1}}
PIXELS = np.arange(400, dtype=np.int32).reshape(20, 20)


@pytest.fixture(scope="module")
def connection(workers: Path) -> Iterator[Connection]:
    with app.connection_for_write() as connection:
        yield connection


@pytest.fixture
def no_letters(connection: Connection) -> Iterator[None]:
    empty(connection)
    yield
    empty(connection)


@pytest.fixture
def desk() -> DeadLetters:
    return DeadLetters(app, current_deployment())


def empty(connection: Connection) -> None:
    with connection.channel() as channel:
        for name in QUEUE_NAMES:
            channel.queue_purge(dead_letter_queue(name))


def depth(connection: Connection, name: str) -> int:
    with connection.channel() as channel:
        return int(Queue(name)(channel).queue_declare(passive=True).message_count)


def wait_until(condition: Callable[[], bool], seconds: float = WAIT) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def publish(
    connection: Connection,
    body: bytes,
    headers: Mapping[str, Any] | None = None,
    queue: str = "control",
    **properties: Any,
) -> None:
    with connection.channel() as channel:
        message = channel.prepare_message(
            body,
            content_type=properties.pop("content_type", "application/json"),
            content_encoding=properties.pop("content_encoding", "utf-8"),
            headers=dict(headers or {}),
            properties={"delivery_mode": 2, **properties},
        )
        channel.basic_publish(message, exchange="zocelery", routing_key=queue)


def letters(queue: str = "control") -> list[DeadLetter]:
    with open_box(app, queue) as box:
        return [held.letter for held in box.letters()]


def joined(image: Path) -> Mapping[str, Any]:
    """A join of an analysis and of something that works."""
    return {
        "nodes": {
            "a": {**ECHO, "output": ["b", "c"]},
            "b": {**ANALYSE, "output": "d"},
            "c": {**ECHO, "output": "d"},
            "d": {"task": "collect", "output": "e"},
            "e": ECHO,
        },
        "start": [["a", {"file": str(image)}]],
    }


def parked(image: Path) -> Run:
    run = submit(joined(image))
    assert run.wait(WAIT).state == "failed"
    return run


def dlq(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["dlq", *arguments])


def lines(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# the life of a letter


def test_a_task_parked_inside_a_chord_fixed_and_reinjected_completes_it(
    tmp_path: Path, connection: Connection
):
    run = parked(tmp_path / "x_1.cbf")
    assert run.status().error.startswith("b: ")
    write_cbf(tmp_path / "x_1.cbf", PIXELS)
    result = dlq("reinject", "--run", run.id[:8], "--json")
    assert result.exit_code == 0, result.output
    assert [line["node"] for line in lines(result)] == ["b"]
    status = run.wait(WAIT)
    assert (status.state, status.error) == ("finished", None)
    assert {node.node: node.state for node in status.nodes} == dict.fromkeys(
        "abcde", "done"
    )
    assert len(run.results()["e"]["members"]) == 2
    assert run.results()["e"]["failed"] == []
    assert sum(depth(connection, dead_letter_queue(q)) for q in QUEUE_NAMES) == 0
    told = Counter(event["node"] for event in run.stream())
    assert told == Counter("abcde")


def test_a_letter_tells_reason_host_tries_time_and_payload(tmp_path: Path):
    run = parked(tmp_path / "x_1.cbf")
    listed = lines(dlq("list", "--json"))
    assert len(listed) == 1
    letter = listed[0]
    assert letter["queue"] == "images"
    assert letter["task"] == "zocelery.per_image_analysis"
    assert (letter["run"], letter["node"], letter["tries"]) == (run.id, "b", 1)
    assert "x_1.cbf" in letter["error"]
    assert letter["host"] == identity.host_name()
    assert abs(letter["time"] - time.time()) < WAIT
    details = lines(dlq("show", letter["id"], "--json"))[0]
    assert details["payload"] == {"file": str(tmp_path / "x_1.cbf")}
    assert "Traceback" in details["traceback"]
    assert letter["id"][:8] in dlq("list").stdout
    assert "Traceback" in dlq("show", letter["id"]).stdout


@pytest.mark.parametrize(
    ("options", "fits"),
    [
        (["--queue", "images"], True),
        (["--queue", "dlq.images"], True),
        (["--queue", "control"], False),
        (["--task", "per_image_analysis"], True),
        (["--task", "zocelery.per_image_analysis"], True),
        (["--task", "echo"], False),
        (["--node", "b"], True),
        (["--node", "c"], False),
        (["--run", "nosuch"], False),
        (["--older-than", "1h"], False),
        (["--older-than", "0s"], True),
        (["--node", "b", "--task", "echo"], False),
        (["nosuch"], False),
    ],
)
def test_letters_are_selected(
    tmp_path: Path, connection: Connection, options: list[str], fits: bool
):
    headers = {"task": "zocelery.per_image_analysis", "id": "some"}
    reason = {"x-z-time": time.time() - 60, "x-z-error": "E: why"}
    body = json.dumps([[{}, "r1", "b"], {}, {}]).encode()
    with connection.channel() as channel:
        message = channel.prepare_message(
            body, content_type="application/json", headers={**headers, **reason}
        )
        channel.basic_publish(message, exchange="zocelery.dlx", routing_key="images")
    assert len(lines(dlq("list", "--json", *options))) == int(fits)
    assert depth(connection, "dlq.images") == 1


def test_looking_leaves_letters_where_they_are_in_their_order(connection: Connection):
    for number in range(50):
        publish(connection, str(number).encode(), {"no": number})
    wait_until(lambda: depth(connection, "dlq.control") == 50)
    before = [letter.body for letter in letters()]
    with open_box(app, "control") as box:
        first_ten = [held for held, _ in zip(box.letters(), range(10), strict=False)]
    assert len(first_ten) == 10
    for _ in range(3):
        assert len(lines(dlq("list", "--json"))) == 50
    assert [letter.body for letter in letters()] == before
    assert depth(connection, "dlq.control") == 50


def test_a_dropped_letter_gives_its_gather_an_error_and_the_run_an_end(
    tmp_path: Path, connection: Connection
):
    run = parked(tmp_path / "x_1.cbf")
    result = dlq("drop", "--run", run.id, "--reason", "beam lost")
    assert result.exit_code == 0, result.output
    status = run.wait(WAIT)
    assert status.state == "failed"
    assert status.error.startswith("b: dropped: beam lost: ")
    answer = run.results()["e"]
    assert len(answer["members"]) == 1
    assert answer["failed"][0]["error"].startswith("dropped: beam lost")
    assert depth(connection, "dlq.images") == 0
    assert current_deployment().store.open_count(run.id) == 0


def test_what_has_gone_on_without_a_dropped_letter_is_not_done_twice(
    tmp_path: Path, connection: Connection
):
    run = parked(tmp_path / "x_1.cbf")
    file = tmp_path / "letters.jsonl"
    assert dlq("purge", "--run", run.id, "-o", str(file)).exit_code == 0
    assert run.wait(WAIT).state == "failed"
    write_cbf(tmp_path / "x_1.cbf", PIXELS)
    result = dlq("reinject", "--from", str(file), "--json")
    assert result.exit_code == 1
    assert "zocelery rerun" in lines(result)[0]["note"]
    assert run.state == "failed"


def test_a_purged_letter_that_is_waited_for_completes_its_run_from_the_file(
    tmp_path: Path, connection: Connection
):
    run = parked(tmp_path / "x_1.cbf")
    result = dlq("purge", "--all", "-o", str(tmp_path), "--keep-waiting")
    assert result.exit_code == 0, result.output
    assert depth(connection, "dlq.images") == 0
    (file,) = tmp_path.glob("dead-letters-*.jsonl")
    write_cbf(tmp_path / "x_1.cbf", PIXELS)
    assert dlq("reinject", "--from", str(file)).exit_code == 0
    assert run.wait(WAIT).state == "finished"
    assert file.exists()


def test_a_letter_of_a_cancelled_run_is_refused_and_can_be_dropped(tmp_path: Path):
    run = parked(tmp_path / "x_1.cbf")
    current_deployment().store.cancel(run.id)
    result = dlq("reinject", "--run", run.id, "--json")
    assert result.exit_code == 1
    assert "cancelled" in lines(result)[0]["note"]
    assert len(letters("images")) == 1
    assert dlq("drop", "--run", run.id).exit_code == 0
    wait_until(lambda: run.id not in current_deployment().store.waiting_runs())
    assert run.state == "cancelled"


def test_a_letter_of_a_run_that_is_lost_is_refused_and_stays(tmp_path: Path):
    run = parked(tmp_path / "x_1.cbf")
    store = current_deployment().store
    store.client.delete(*store.live_keys(run.id))
    result = dlq("reinject", "--run", run.id, "--json")
    assert result.exit_code == 1
    assert "zocelery rerun" in lines(result)[0]["note"]
    assert len(letters("images")) == 1
    assert dlq("drop", "--run", run.id).exit_code == 0
    assert letters("images") == []


def test_the_state_of_a_run_with_letters_is_kept_as_long_as_they_may_wait(
    tmp_path: Path,
):
    run = parked(tmp_path / "x_1.cbf")
    store = current_deployment().store
    settings = current_deployment().settings.redis
    assert settings.gather_expires > settings.expires
    assert store.client.ttl(f"zocelery:run:{run.id}:counts") > settings.expires
    write_cbf(tmp_path / "x_1.cbf", PIXELS)
    dlq("reinject", "--run", run.id)
    assert run.wait(WAIT).state == "finished"
    wait_until(lambda: run.id not in store.waiting_runs())
    assert 0 < store.client.ttl(f"zocelery:run:{run.id}:counts") <= settings.expires


def test_a_letter_that_fails_again_is_parked_again(tmp_path: Path):
    run = parked(tmp_path / "x_1.cbf")
    assert dlq("reinject", "--all").exit_code == 0
    wait_until(lambda: [each.reinjected for each in letters("images")] == [1])
    assert run.wait(WAIT).state == "failed"
    write_cbf(tmp_path / "x_1.cbf", PIXELS)
    assert dlq("reinject", "--all").exit_code == 0
    assert run.wait(WAIT).state == "finished"
    store = current_deployment().store
    assert store.counts(run.id)["b"] == {"total": 1, "done": 1, "parked": 0}


def test_copies_of_a_letter_left_by_a_dying_worker_are_sent_once(
    tmp_path: Path, connection: Connection
):
    run = parked(tmp_path / "x_1.cbf")
    (letter,) = letters("images")
    with connection.channel() as channel:
        message = channel.prepare_message(
            letter.body,
            content_type="application/json",
            content_encoding="utf-8",
            headers=dict(letter.headers),
            properties={"correlation_id": letter.id},
        )
        channel.basic_publish(message, exchange="zocelery.dlx", routing_key="images")
    write_cbf(tmp_path / "x_1.cbf", PIXELS)
    result = dlq("reinject", "--all", "--json")
    assert sorted("copy" in line["note"] for line in lines(result)) == [False, True]
    assert run.wait(WAIT).state == "finished"
    assert letters("images") == []


# many, at once, and killed


def many(image: Path, count: int) -> Run:
    """A run of which `count` units are parked."""
    recipe = {"nodes": {"b": ANALYSE}, "start": [["b", {"file": str(image)}]] * count}
    run = submit(recipe)
    assert run.wait(2 * WAIT).state == "failed"
    wait_until(lambda: len(letters("images")) == count)
    return run


def assert_each_done_once(run: Run, count: int) -> None:
    status = run.wait(2 * WAIT)
    assert (status.state, status.error) == ("finished", None)
    rows = current_deployment().history.run_nodes(run.id)
    assert [row["state"] for row in rows] == ["done"] * count
    assert sum(event["ok"] for event in run.stream("b")) == count


@pytest.mark.timeout(600)
def test_a_thousand_letters_survive_purge_and_reinjection_and_come_out_once_each(
    tmp_path: Path, connection: Connection
):
    image, file = tmp_path / "x_1.cbf", tmp_path / "letters.jsonl"
    run = many(image, 1000)
    before = letters("images")
    result = dlq("purge", "--all", "-o", str(file))
    assert result.exit_code == 0, result.output
    assert depth(connection, "dlq.images") == 0
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert [each["id"] for each in kept] == [letter.id for letter in before]
    assert len({each["id"] for each in kept}) == 1000
    write_cbf(image, PIXELS)
    result = dlq("reinject", "--from", str(file))
    assert result.exit_code == 0, result.output
    assert_each_done_once(run, 1000)
    assert letters("images") == []


@pytest.mark.timeout(300)
def test_two_reinjections_at_the_same_time_send_each_letter_once(tmp_path: Path):
    run = many(tmp_path / "x_1.cbf", 100)
    write_cbf(tmp_path / "x_1.cbf", PIXELS)
    sent: list[str] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            desk = DeadLetters(app, current_deployment())
            sent.extend(o.letter.id for o in desk.reinject(Selection()) if o.done)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(sent) == len(set(sent)) == 100
    assert_each_done_once(run, 100)


def test_letters_that_another_consumer_holds_are_left_to_it(
    connection: Connection, desk: DeadLetters
):
    for number in range(10):
        publish(connection, str(number).encode())
    wait_until(lambda: depth(connection, "dlq.control") == 10)
    with app.connection_for_read() as other, other.channel() as channel:
        for _ in range(4):
            assert channel.basic_get("dlq.control") is not None
        assert len(list(desk.look(Selection(queues=("control",))))) == 6
    wait_until(lambda: depth(connection, "dlq.control") == 10)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", ["reinject", "purge", "drop"])
def test_a_command_that_is_killed_half_way_has_lost_nothing(
    tmp_path: Path, connection: Connection, command: str
):
    image, file = tmp_path / "x_1.cbf", tmp_path / "letters.jsonl"
    run = many(image, 300)
    write_cbf(image, PIXELS)
    more = ["-o", str(file)] if command == "purge" else []
    program = [sys.executable, "-m", "zocelery", "dlq", command, "--all", "--json"]
    with subprocess.Popen(
        [*program, *more], stdout=subprocess.PIPE, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        for _ in range(60):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.stdout.read()
    wait_until(lambda: depth(connection, "dlq.images") > 0)
    done = 300 - depth(connection, "dlq.images")
    assert 0 < done < 300
    if command == "reinject":
        assert dlq("reinject", "--all").exit_code == 0
        assert_each_done_once(run, 300)
        return
    if command == "purge":
        exported = [json.loads(line)["id"] for line in file.read_text().splitlines()]
        left = {letter.id for letter in letters("images")}
        assert len(left | set(exported)) == 300
    assert dlq("drop", "--all").exit_code == 0
    assert run.wait(WAIT).state == "failed"
    counts = current_deployment().store.counts(run.id)["b"]
    assert counts == {"total": 300, "failed": 300, "parked": 0}


# what is no task

UNIT = [{"x": 1}, "no-such-run", "a"]
GOOD = json.dumps([UNIT, {}, {}]).encode()
HEADERS = {"task": "zocelery.echo", "id": "0" * 36, "retries": 0}
JSON = {"content_type": "application/json", "content_encoding": "utf-8"}
MALFORMED: Mapping[str, tuple[bytes, Mapping[str, Any], Mapping[str, Any], str]] = {
    "nothing at all": (b"", {}, {}, "no task"),
    "a stranger's JSON": (b'{"x": 1}', {}, {}, "no task"),
    "JSON of protocol 1": (b'{"task": ["x"], "id": 1}', {}, {}, "no task"),
    "no JSON": (b"\xff{", HEADERS, {}, "not JSON"),
    "half a JSON": (GOOD[:-3], HEADERS, {}, "not JSON"),
    "deep JSON": (b"[" * 100_000, HEADERS, {}, "not JSON"),
    "pickle": (
        b"\x80\x04N.",
        HEADERS,
        {"content_type": "application/x-python-serialize"},
        "only JSON",
    ),
    "yaml": (b"a: 1", HEADERS, {"content_type": "application/x-yaml"}, "only JSON"),
    "text": (b"x", HEADERS, {"content_type": "text/plain"}, "only JSON"),
    "raw": (b"x", HEADERS, {"content_type": "application/data"}, "only JSON"),
    "compressed rubbish": (b"x", {**HEADERS, "compression": "gzip"}, {}, "decoded"),
    "compressed oddly": (b"x", {**HEADERS, "compression": "bzip2"}, {}, "accepted"),
    "zeros without end": (
        zlib.compress(bytes(50_000_000)),
        {**HEADERS, "compression": "application/x-gzip"},
        {},
        "expands to more than",
    ),
    "compressed, of an unknown task": (
        zlib.compress(GOOD),
        {**HEADERS, "compression": "application/x-gzip", "task": "nosuch"},
        {},
        "the broker moved it here: rejected",
    ),
    "unknown task": (GOOD, {**HEADERS, "task": "nosuch"}, {}, "unknown task 'nosuch'"),
    "task that is a table": (GOOD, {**HEADERS, "task": {"a": 1}}, {}, "'task'"),
    "task that is a list": (GOOD, {**HEADERS, "task": [1]}, {}, "'task'"),
    "no id": (GOOD, {"task": "zocelery.echo"}, {}, "'id'"),
    "id that is a number": (GOOD, {**HEADERS, "id": 7}, {}, "'id'"),
    "empty id": (GOOD, {**HEADERS, "id": ""}, {}, "'id'"),
    "retries that are text": (GOOD, {**HEADERS, "retries": "x"}, {}, "'retries'"),
    "eta that is no time": (GOOD, {**HEADERS, "eta": "soon"}, {}, "ETA"),
    "eta that is a number": (GOOD, {**HEADERS, "eta": 7}, {}, "eta"),
    "odd time limit": (GOOD, {**HEADERS, "timelimit": [1]}, {}, "'timelimit'"),
    "time limit of text": (GOOD, {**HEADERS, "timelimit": ["a", 1]}, {}, "timelimit"),
    "headers in headers": (GOOD, {**HEADERS, "headers": "x"}, {}, "'headers'"),
    "a number as body": (b"7", HEADERS, {}, "its body is not"),
    "null as body": (b"null", HEADERS, {}, "its body is not"),
    "an object as body": (b'{"args": []}', HEADERS, {}, "its body is not"),
    "two parts": (b"[[], {}]", HEADERS, {}, "its body is not"),
    "text as arguments": (b'["abc", {}, {}]', HEADERS, {}, "arguments"),
    "list as named ones": (b"[[], [], {}]", HEADERS, {}, "arguments"),
    "odd chord": (b'[[1,"r","a"], {}, {"chord": "x"}]', HEADERS, {}, "'chord'"),
    "too few arguments": (b"[[1], {}, {}]", HEADERS, {}, "arguments"),
    "named arguments": (b'[[1,"r","a"], {"x": 1}, {}]', HEADERS, {}, "arguments"),
    "run that is no text": (b'[[1, {"r": 1}, "a"], {}, {}]', HEADERS, {}, "arguments"),
    "odd depth": (b'[[1,"r","a","","","x"], {}, {}]', HEADERS, {}, "arguments"),
    "engine's own": (
        b'[["r", 1, 2, 3], {}, {}]',
        {**HEADERS, "task": "zocelery.end_run"},
        {},
        "arguments",
    ),
    "unknown run": (GOOD, HEADERS, {}, "recipe is not in Redis"),
    "a task of Celery's own that fails": (
        b'[[{"task": "nosuch"}, [1]], {}, {}]',
        {**HEADERS, "task": "celery.map"},
        {},
        "the broker moved it here: rejected",
    ),
}


@pytest.mark.parametrize("queue", ["control", "images"])
@pytest.mark.parametrize("kind", MALFORMED)
def test_what_is_no_task_ends_as_a_dead_letter_as_it_came(
    connection: Connection, kind: str, queue: str
):
    body, headers, properties, reason = MALFORMED[kind]
    publish(connection, body, headers, queue, **{**JSON, **properties})
    wait_until(lambda: depth(connection, dead_letter_queue(queue)) == 1, 20)
    (letter,) = letters(queue)
    assert reason in letter.error
    if kind != "unknown run":  # that one was decoded, and parked by the task itself
        assert letter.body == body
        own = {n: v for n, v in letter.headers.items() if not n.startswith("x-")}
        assert own == headers
    sent = {**JSON, **properties, "delivery_mode": 2}
    assert {name: letter.properties[name] for name in sent} == sent or (
        kind == "unknown run"
    )


def test_the_workers_are_alive_after_all_that(connection: Connection, tmp_path: Path):
    for queue in ("control", "images"):
        for body, headers, properties, _ in MALFORMED.values():
            publish(connection, body, headers, queue, **{**JSON, **properties})
    image = write_cbf(tmp_path / "x_1.cbf", PIXELS)
    assert submit(joined(image)).wait(WAIT).state == "finished"
    for queue in ("control", "images"):
        name = dead_letter_queue(queue)
        wait_until(lambda name=name: depth(connection, name) == len(MALFORMED))  # type: ignore[misc]  # a default argument


def test_a_message_that_would_go_elsewhere_or_expire_does_not(connection: Connection):
    headers = {"CC": ["images"], "no": 1}
    publish(connection, b"x", headers, expiration="100", user_id="guest")
    wait_until(lambda: depth(connection, "dlq.control") == 2)  # and RabbitMQ's own copy
    time.sleep(0.3)
    letter, _ = letters()
    assert letter.headers["x-z-property-expiration"] == "100"
    assert letter.headers["x-z-property-user_id"] == "guest"
    assert letter.headers["x-z-header-CC"] == ["images"]


def test_a_message_of_fifty_megabytes_is_parked_unread(connection: Connection):
    body = b"[" + b" " * 50_000_000
    publish(connection, body, HEADERS, "images")
    wait_until(lambda: depth(connection, "dlq.images") == 1)
    (letter,) = letters("images")
    assert letter.body == body
    assert "50000001 bytes, 10000000 are accepted" in letter.error
    listed = lines(dlq("list", "--json"))
    assert listed[0]["size"] == 50_000_001


def test_a_flood_of_malformed_messages_does_not_keep_a_run_from_its_end(
    connection: Connection, tmp_path: Path
):
    with connection.channel() as channel:
        message = channel.prepare_message(b"{}", content_type="application/json")
        for _ in range(3000):
            channel.basic_publish(message, exchange="zocelery", routing_key="control")
    image = write_cbf(tmp_path / "x_1.cbf", PIXELS)
    assert submit(joined(image)).wait(WAIT).state == "finished"
    wait_until(lambda: depth(connection, "dlq.control") == 3000)


# Zocalo's defects (numbers of the list that the project keeps of them)


def test_defect_01_a_letter_is_sent_whatever_exchange_it_came_through(
    connection: Connection, tmp_path: Path
):
    # Zocalo: sends nothing, says "Done" and deletes the file.
    file = tmp_path / "letters.jsonl"
    with connection.channel() as channel:
        channel.exchange_declare("delayed", type="topic", durable=True)
        channel.queue_bind("control", "delayed", routing_key="control")
        message = channel.prepare_message(b'{"no": 1}', content_type="application/json")
        channel.basic_publish(message, exchange="delayed", routing_key="control")
        wait_until(lambda: depth(connection, "dlq.control") == 1)
        channel.exchange_delete("delayed")
    assert dlq("purge", "--all", "-o", str(file)).exit_code == 0
    assert depth(connection, "dlq.control") == 0
    for number in (1, 2):
        assert dlq("reinject", "--from", str(file)).exit_code == 0
        wait_until(lambda number=number: depth(connection, "dlq.control") == number)  # type: ignore[misc]  # a default argument
    assert [letter.reinjected for letter in letters()] == [1, 1]
    assert file.exists()


def test_defect_02_two_purges_in_one_second_write_two_files(
    connection: Connection, tmp_path: Path
):
    # Zocalo: two messages acknowledged, one file.
    publish(connection, b"1", queue="control")
    publish(connection, b"2", queue="images")
    for queue in ("control", "images"):
        name = dead_letter_queue(queue)
        wait_until(lambda name=name: depth(connection, name) == 1)  # type: ignore[misc]  # a default argument
    for queue in ("control", "images"):
        assert dlq("purge", "--queue", queue, "-o", str(tmp_path)).exit_code == 0
    files = list(tmp_path.glob("*.jsonl"))
    assert len(files) == 2
    assert sorted(len(file.read_text().splitlines()) for file in files) == [1, 1]
    again = dlq("purge", "--all", "-o", str(files[0]))
    assert "cannot be written" in str(again.exception)
