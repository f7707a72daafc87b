"""Messages with several members, and messages that are confirmed together."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from amqp.exceptions import MessageNacked
from click.testing import CliRunner
from kombu import Connection, Exchange, Producer, Queue

from zocelery import identity
from zocelery.canvas import BUNDLE_TASK, Place
from zocelery.celery import app
from zocelery.cli import cli
from zocelery.confirms import confirmed_together
from zocelery.context import RunContext, get_context
from zocelery.dead_letter_box import open_box
from zocelery.deployment import current_deployment
from zocelery.flow import slots
from zocelery.outbox import await_gather
from zocelery.pauses import Pauses, WorkerReport
from zocelery.recipe_format import parse_recipe
from zocelery.records import FanRecord
from zocelery.versions import MESSAGE_VERSION

WAIT = 60
MEMBERS = [(f"unit-{n}", str(n), {"file": f"/nowhere/{n}.cbf"}) for n in (1, 2, 3)]
NODES = {
    "a": {"task": "file_watcher", "parameters": {"images": "/nowhere/####.cbf:1:3"}},
    "b": {"task": "per_image_analysis", "output": "c"},
    "c": {"task": "collect", "gather": True},
}
Publish = Callable[[str], None]


def wait_until(condition: Callable[[], Any]) -> None:
    give_up = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def open_run() -> RunContext:
    """Return a run that waits for three members of a stream, and for nothing else."""
    nodes = {**NODES, "a": {**NODES["a"], "output": {"every": "b"}}}
    recipe = parse_recipe({"nodes": nodes, "start": ["a"]})
    store, run = current_deployment().store, str(uuid.uuid4())
    record = {
        "recipe": recipe.model_dump(mode="json"),
        "parameters": {},
        "priority": 9,
        "version": MESSAGE_VERSION,
    }
    store.create_run(run, record, 600)
    store.set_running(run)
    return get_context(app, run)


def send_bundle(context: RunContext, **headers: Any) -> str:
    """Publish the members in one message, as a watch would; return the stream."""
    store, run = context.store, context.run
    stream = identity.stream_id(identity.start_unit(run, 0), "every")
    store.open_fan(run, stream, FanRecord("a", "every", "", "", 0))
    await_gather(context, "c", Place())
    store.open_units(run, "b", [unit for unit, _, _ in MEMBERS])
    signature = context.canvas.bundle("b", Place(stream, "1", 1), MEMBERS)
    body = json.dumps([signature.args, {}, {}]).encode()
    own = {"task": BUNDLE_TASK, "id": str(uuid.uuid4()), **headers}
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish(
            body,
            exchange="zocelery",
            routing_key="images",
            content_type="application/json",
            content_encoding="utf-8",
            headers=own,
        )
    return stream


@pytest.mark.usefixtures("workers")
def test_a_message_that_is_refused_parks_each_of_its_members_and_can_be_dropped():
    context = open_run()
    run, store = context.run, context.store
    send_bundle(context, timelimit=[-1, None])
    wait_until(lambda: store.counts(run)["b"].get("parked") == len(MEMBERS))
    with open_box(app, "images") as box:
        (letter,) = [held.letter for held in box.letters() if held.letter.run == run]
    assert letter.node == "b"
    assert [unit.id for unit in letter.units] == [unit for unit, _, _ in MEMBERS]
    assert CliRunner().invoke(cli, ["dlq", "drop", "--run", run]).exit_code == 0
    assert store.counts(run)["b"] == {"total": 3, "failed": 3, "parked": 0}
    store.forget_run(run)


@pytest.mark.usefixtures("workers")
def test_a_message_that_comes_twice_is_done_once():
    context = open_run()
    run, store = context.run, context.store
    for _ in range(2):
        send_bundle(context)
    wait_until(lambda: store.counts(run)["b"].get("failed") == len(MEMBERS))
    wait_until(lambda: store.entry_count(run, identity.gather_unit(run, "c")) == 3)
    ended = [event for _, event in store.events(run) if event.get("node") == "b"]
    assert sorted(event["item"] for event in ended) == ["1", "2", "3"]
    store.forget_run(run)


@pytest.mark.usefixtures("workers")
def test_nothing_is_bundled_while_an_older_worker_serves_the_queue():
    context = open_run()
    pauses = Pauses(context.store.client)
    wait_until(lambda: slots(context, "b", bundles=True) == 2)
    pauses.report(WorkerReport("old", "h", "", 3, ("images",), (), pauses.now()))
    try:
        assert slots(context, "b") == 5
        assert slots(context, "b", bundles=True) == 0
    finally:
        pauses.forget("old")
        context.store.forget_run(context.run)


@pytest.mark.usefixtures("workers")
def test_what_is_no_list_of_members_becomes_a_dead_letter():
    context = open_run()
    run = context.run
    body = json.dumps([[run, "b", "stream", "1", [["unit-1"]]], {}, {}])
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish(
            body.encode(),
            exchange="zocelery",
            routing_key="images",
            content_type="application/json",
            content_encoding="utf-8",
            headers={"task": BUNDLE_TASK, "id": "odd"},
        )

    def letters() -> list[str]:
        with open_box(app, "images") as box:
            return [held.letter.id for held in box.letters()]

    wait_until(lambda: "odd" in letters())
    assert CliRunner().invoke(cli, ["dlq", "drop", "--run", run]).exit_code == 0
    context.store.forget_run(run)


# confirmations


@pytest.fixture
def connection(rabbitmq_url: str) -> Iterator[Connection]:
    options = {"confirm_publish": True}
    with Connection(rabbitmq_url, transport_options=options) as connection:
        yield connection


@pytest.fixture
def queue(rabbitmq_url: str) -> Iterator[Queue]:
    """A queue that takes ten messages and refuses the next."""
    limits = {"x-max-length": 10, "x-overflow": "reject-publish"}
    exchange = Exchange(f"confirms-{uuid.uuid4()}", "topic")
    queue = Queue(exchange.name, exchange, "key", queue_arguments=limits)
    with Connection(rabbitmq_url) as own:
        bound = queue(own.channel())
        bound.declare()
        yield bound
        bound.delete()
        bound.exchange.delete()


def send(producer: Producer, queue: Queue, number: int) -> None:
    producer.publish(
        {"n": number}, exchange=queue.exchange.name, routing_key="key", retry=True
    )


def send_together(producer: Producer, queue: Queue, total: int) -> None:
    with confirmed_together(producer):
        for number in range(total):
            send(producer, queue, number)


def count(queue: Queue) -> int:
    return int(queue.queue_declare(passive=True).message_count)


def test_all_is_there_when_it_is_confirmed(connection: Connection, queue: Queue):
    producer = connection.Producer()
    for total in (1, 3, 9):
        send_together(producer, queue, total - count(queue))
        assert count(queue) == total
    send(producer, queue, 10)
    assert count(queue) == 10


def test_a_refused_message_among_several_is_an_error(
    connection: Connection, queue: Queue
):
    producer = connection.Producer()
    with pytest.raises(MessageNacked):
        send_together(producer, queue, 20)
    assert count(queue) == 10
    queue.purge()
    # what is published next is confirmed for itself, on a channel of its own
    send_together(producer, queue, 5)
    assert count(queue) == 5


def test_a_channel_that_is_lost_on_the_way_is_an_error(
    connection: Connection, queue: Queue
):
    producer = connection.Producer()

    def publish_and_lose() -> None:
        with confirmed_together(producer):
            send(producer, queue, 1)
            send(producer, queue, 2)
            producer.channel.connection.transport.sock.close()
            send(producer, queue, 3)

    with pytest.raises(connection.recoverable_connection_errors):
        publish_and_lose()
    send_together(producer, queue, 1)
    assert count(queue) >= 2


def test_a_broker_that_confirms_nothing_is_published_to_as_ever():
    with Connection("memory://") as connection:
        producer = connection.Producer()
        queue = Queue("q", Exchange("e", "topic"), "key")(connection.channel())
        queue.declare()
        send_together(producer, queue, 1)
        assert count(queue) == 1
