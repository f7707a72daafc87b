"""Each setting that promises something: without it the promise is broken.

Every test looks at one thing twice, with the settings as they are and with one of them
taken away; only the first may keep the promise.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import MessageNacked
from celery import Celery, current_app
from celery.exceptions import QueueNotFound
from celery.worker.consumer import Consumer
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tests.faults.duplicates import consumers_of, messages_in
from tests.faults.site import Site, Worker, wait_until
from tests.faults.test_shutdown import Work, says
from zocelery import servers
from zocelery.celery import celery_settings, make_app
from zocelery.queues import EXCHANGE
from zocelery.settings import load_settings

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
Victim = Callable[..., Worker]
Outcome = Callable[[Site, Victim, Path, dict[str, Any]], bool]


def keeps_the_message_of_a_killed_worker(
    site: Site, victim: Victim, folder: Path, settings: dict[str, Any]
) -> bool:
    worker = victim("threads", **settings)
    Work(site, folder)
    worker.kill(wanted=False)
    wait_until(lambda: consumers_of(site.rabbitmq.url, "lims") == 0, "its end")
    return messages_in(site.rabbitmq.url, ("lims",)) == 1


def runs_again_what_a_killed_child_did(
    site: Site, victim: Victim, folder: Path, settings: dict[str, Any]
) -> bool:
    worker = victim("prefork", **settings)
    dead = messages_in(site.rabbitmq.url, ("dlq.lims",))
    work = Work(site, folder)
    (child,) = worker.children()
    os.kill(child, signal.SIGKILL)

    def is_known() -> bool:
        parked = messages_in(site.rabbitmq.url, ("dlq.lims",)) > dead
        return len(work.words) == 2 or parked

    wait_until(is_known, "what becomes of the message")
    again = len(work.words) == 2
    work.gate.touch()
    return again


def takes_no_more_than_it_works_on(
    site: Site, victim: Victim, folder: Path, settings: dict[str, Any]
) -> bool:
    worker = victim("threads", **settings)
    return stats_of(site, worker)["prefetch_count"] == worker.concurrency


def asks_for_no_less_after_a_reconnection(
    site: Site, victim: Victim, folder: Path, settings: dict[str, Any]
) -> bool:
    worker = victim("threads", 4, **settings)
    work = Work(site, folder)
    site.rabbitmq.stop()
    site.rabbitmq.start()
    reduced = says(worker, "Temporarily reducing the prefetch count")
    url = site.rabbitmq.url
    wait_until(lambda: consumers_of(url, "lims") == 1, "the reconnection")
    work.gate.touch()
    work.run.wait(250)
    return not reduced()


def waits_for_what_runs_when_told_to_quit(
    site: Site, victim: Victim, folder: Path, settings: dict[str, Any]
) -> bool:
    worker = victim("prefork", **settings)
    work = Work(site, folder)
    worker.kill(signal.SIGQUIT, wanted=False)
    softly, coldly = says(worker, "Soft Shutdown"), says(worker, "Cold shutdown")
    wait_until(lambda: softly() or coldly(), "the shutdown")
    work.gate.touch()
    wait_until(lambda: not worker.is_alive(), "its end")
    return work.words == ["start", "end"]


PROMISES: list[tuple[Outcome, dict[str, Any]]] = [
    (keeps_the_message_of_a_killed_worker, {"task_acks_late": False}),
    (runs_again_what_a_killed_child_did, {"task_reject_on_worker_lost": False}),
    (takes_no_more_than_it_works_on, {"worker_prefetch_multiplier": 4}),
    (
        asks_for_no_less_after_a_reconnection,
        {"worker_enable_prefetch_count_reduction": True},
    ),
    (waits_for_what_runs_when_told_to_quit, {"worker_soft_shutdown_timeout": 0.0}),
]


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    ("promise", "without"), PROMISES, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_worker_keeps_its_promise_only_with_the_setting(
    promise: Outcome,
    without: dict[str, Any],
    whole: Site,
    victim: Victim,
    tmp_path: Path,
):
    for folder in ("with", "without"):
        (tmp_path / folder).mkdir()
    assert not promise(whole, victim, tmp_path / "without", without)
    assert promise(whole, victim, tmp_path / "with", {})


@contextmanager
def an_app(
    site: Site, variables: Mapping[str, str] | None = None, /, **without: Any
) -> Iterator[Celery]:
    """Yield the app of the site with some settings changed; it is nobody's default."""
    usual = current_app._get_current_object()
    app = make_app(load_settings(variables=variables or site.environment))
    app.conf.update(without)
    usual.set_current()
    yield app
    app.close()


def stats_of(site: Site, worker: Worker) -> dict[str, Any]:
    """Return what a worker tells of itself."""
    # not one of a pool: other cases have restarted the broker
    with an_app(site) as app, app.connection_for_write() as connection:
        inspect = app.control.inspect(
            [f"{worker.name}@faults"], timeout=60, connection=connection, limit=1
        )
        (found,) = (inspect.stats() or {}).values()
    return dict(found)


def test_a_message_that_the_broker_refuses_is_noticed_only_with_confirms(whole: Site):
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    with an_app(whole) as app:
        options = dict(app.conf.broker_transport_options)
    unconfirmed = {**options, "confirm_publish": False}
    for chosen, notices in ((options, True), (unconfirmed, False)):
        with Connection(whole.rabbitmq.url, transport_options=chosen) as connection:
            queue = Queue(exclusive=True, queue_arguments=arguments)(connection)
            queue.declare()
            producer = connection.Producer()
            producer.publish({}, routing_key=queue.name)
            refused = False
            try:
                producer.publish({}, routing_key=queue.name)
            except MessageNacked:
                refused = True
            assert refused == notices


def test_a_queue_that_is_not_there_is_noticed_only_with_the_setting(whole: Site):
    with an_app(whole) as app, pytest.raises(QueueNotFound):
        app.send_task("zocelery.echo", queue="nowhere")
    with an_app(whole, task_create_missing_queues=True) as app:
        app.send_task("zocelery.echo", queue="nowhere", ignore_result=True)
        assert messages_in(whole.rabbitmq.url, ("nowhere",)) == 1
        with app.connection_for_write() as connection:
            Queue("nowhere", Exchange(EXCHANGE))(connection).delete()


def test_a_gathers_parts_are_kept_as_long_as_it_may_wait(whole: Site):
    expires = whole.deployment.settings.redis.gather_expires
    for without, kept in (({}, True), ({"result_chord_expires": None}, False)):
        with an_app(whole, **without) as app:
            app.backend.set_chord_size("a-chord", 3)
            key = app.backend.get_key_for_group("a-chord", ".s")
            assert (app.backend.client.ttl(key) > 0.9 * expires) == kept
            app.backend.client.delete(key)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    "hasty",
    [
        {"task_publish_retry_policy": {"max_retries": 1}},
        {"broker_transport_options": {"confirm_publish": True}},
    ],
    ids=lambda value: next(iter(value)),
)
def test_publishing_waits_for_a_broker_that_is_away(whole: Site, hasty: dict[str, Any]):
    for without, waits in (({}, True), (hasty, False)):
        with an_app(whole, **without) as app:
            failed: list[BaseException] = []
            thread = threading.Thread(target=publish_noting, args=(app, failed))
            whole.rabbitmq.stop()
            thread.start()
            if not waits:
                thread.join()
            whole.rabbitmq.start()
            thread.join()
            assert (not failed) == waits, failed


def publish_noting(app: Celery, failed: list[BaseException]) -> None:
    try:
        task, options = "zocelery.end_run", {"queue": "control", "ignore_result": True}
        app.send_task(task, args=("no-run",), **options)
    except OperationalError as error:
        failed.append(error)


@pytest.mark.usefixtures("full")
def test_results_wait_for_a_redis_that_is_away(whole: Site):
    hasty = {"result_backend_always_retry": False}
    for without, waits in (({}, True), (hasty, False)):
        with an_app(whole, **without) as app:
            failed: list[BaseException] = []
            thread = threading.Thread(target=count_noting, args=(app, failed))
            whole.redis.kill()
            thread.start()
            if not waits:
                thread.join()
            whole.redis.start()
            thread.join()
            assert (not failed) == waits, failed


def test_a_redis_that_stays_away_is_given_up_in_the_end(whole: Site):
    at_once = {
        "result_backend_base_sleep_between_retries_ms": 1,
        "result_backend_max_sleep_between_retries_ms": 1,
    }
    for without, ends in (({}, True), ({"result_backend_max_retries": inf}, False)):
        with an_app(whole, **at_once, **without) as app:
            failed: list[BaseException] = []
            thread = threading.Thread(target=count_noting, args=(app, failed))
            whole.redis.kill()
            thread.start()
            if ends:
                thread.join()
            whole.redis.start()
            thread.join()
            assert bool(failed) == ends


def test_redis_as_a_broker_gives_nothing_back_while_it_is_worked_on(whole: Site):
    changed = {"ZOCELERY_BROKER_URL": whole.redis.url.replace("/0", "/9")}
    settings = load_settings(variables={**whole.environment, **changed})
    options = celery_settings(settings)["broker_transport_options"]
    for chosen, given_back in ((options, 0), ({}, 1)):
        with Connection(settings.broker.url, transport_options=chosen) as connection:
            queue = connection.SimpleQueue("work")
            queue.put("x")
            queue.get(timeout=10)  # and never acknowledged
            channel: Any = queue.consumer.channel
            (tag,) = channel.client.zrange(channel.unacked_index_key, 0, -1)
            two_hours = {tag: time.time() - 7200}
            channel.client.zadd(channel.unacked_index_key, two_hours)
            channel.qos.restore_visible(interval=1)
            assert channel.client.llen("work") == given_back
            channel.client.flushdb()


def count_noting(app: Celery, failed: list[BaseException]) -> None:
    try:
        app.backend.set_chord_size("a-chord", 3)
    except (RedisError, OSError) as error:
        failed.append(error)


def test_a_worker_tries_more_than_a_hundred_times_to_connect(
    whole: Site, monkeypatch: pytest.MonkeyPatch
):
    tries = []

    def note_try(*_: Any) -> None:
        tries.append(time.monotonic())
        if len(tries) == 150:
            raise StopIteration

    monkeypatch.setattr("celery.worker.consumer.consumer.error", note_try)
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _: None)
    nowhere = f"amqp://guest:guest@{servers.LOOPBACK}:{servers.free_port()}//"
    told = {**whole.environment, "ZOCELERY_BROKER_URL": nowhere}
    usual = {"broker_connection_max_retries": 100}
    for without, end in (({}, StopIteration), (usual, OperationalError)):
        with an_app(whole, told, **without) as app:
            tries.clear()
            worker: Any = SimpleNamespace(
                app=app,
                first_connection_attempt=True,
                broker_connection_retry_attempt=0,
            )
            with app.connection_for_read() as connection, pytest.raises(end):
                Consumer.ensure_connected(worker, connection)


@pytest.mark.usefixtures("full")
def test_a_dead_connection_is_noticed_in_time(whole: Site, victim: Victim):
    worker = victim("threads")
    assert stats_of(whole, worker)["broker"]["heartbeat"] == 60
