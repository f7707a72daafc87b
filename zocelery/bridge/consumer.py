"""The consumer: takes messages from Zocalo's queues until it is told to stop.

Messages are dealt with in threads, so that one whose visit's disk hangs holds up no
other; the connection belongs to the main thread alone, which acknowledges.
"""

import logging
import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from amqp.exceptions import AMQPError
from celery import Celery
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from zocelery import pulse
from zocelery.bridge.delivery import from_broker
from zocelery.bridge.desk import Desk
from zocelery.bridge.rehearsal import rehearse
from zocelery.bridge.services import check_services
from zocelery.celery import apply_topology
from zocelery.deployment import Deployment
from zocelery.errors import ConfigurationError
from zocelery.queues import client_queue_names
from zocelery.task import PASSING_ERRORS

logger = logging.getLogger(__name__)
WAITING_PER_THREAD = 8
"""Messages that are fetched ahead for each thread."""
LONGEST_PAUSE = 10.0
MOST_SECONDS = 600.0
"""A message for which servers are away so long goes back to its queue: RabbitMQ takes
back what is held for half an hour, and closes the channel."""
STOP_SECONDS = 30.0
"""What is being dealt with when the bridge is told to stop may take so long."""
_CONNECTION_ERRORS = (AMQPError, BrokerError, OSError)


@dataclass(frozen=True, slots=True)
class _Held:
    """A message that has not been acknowledged."""

    tag: int
    done: "Future[tuple[bool, str | None]]"
    """Whether it is dealt with, and its key for `Desk.forget`."""


class Bridge:
    """Serves the queues of Zocalo's clients and services."""

    def __init__(self, app: Celery, deployment: Deployment) -> None:
        """Serve the queues that the settings of `deployment` name.

        Raises:
            ConfigurationError: the broker is Redis, which Zocalo's clients do not know;
                a queue of Zocalo's is to be served by a task that cannot.
        """
        if deployment.settings.broker.is_redis:
            raise ConfigurationError("the bridge needs RabbitMQ (broker.url)")
        check_services(deployment.settings.bridge.services)
        self._app = app
        self._deployment = deployment
        self._settings = deployment.settings
        self._queues = client_queue_names(self._settings.bridge)
        self._desk = Desk(app, deployment)
        self._threads = self._settings.bridge.threads
        self._stopping = threading.Event()
        self._held: list[_Held] = []

    def run(self) -> None:
        """Serve until `stop` is called; a broker that goes away is waited for."""
        rehearse(self._app, self._deployment)
        waiting = threading.Thread(target=self._look_at_waiting, daemon=True)
        waiting.start()
        with ThreadPoolExecutor(self._threads, "bridge") as self._pool:
            pause = 0.5
            while not self._stopping.is_set():
                since = time.monotonic()
                try:
                    self._serve()
                except _CONNECTION_ERRORS as error:
                    pause = 0.5 if time.monotonic() - since > 30 else pause
                    logger.warning("The broker is away, next try soon: %s", error)
                    self._stopping.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
            self._pool.shutdown(wait=False, cancel_futures=True)
        waiting.join(STOP_SECONDS)
        pulse.say_gone()

    def stop(self) -> None:
        """Take nothing more; what is being dealt with is finished."""
        self._stopping.set()

    def _serve(self) -> None:
        self._held.clear()  # of a connection that is gone: the broker sends it again
        with self._app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
            if self._settings.broker.declare:
                apply_topology(connection, self._settings)
            channel: Any = connection.channel()
            channel.auto_decode = False  # bytes stay bytes
            channel.basic_qos(0, WAITING_PER_THREAD * self._threads, False)
            for queue in self._queues:
                # not by kombu's Consumer: that decompresses what it is given
                receive = partial(self._receive, queue)
                tag = f"zocelery bridge {queue}"
                channel.basic_consume(queue, consumer_tag=tag, callback=receive)
            logger.info("Serving %s", ", ".join(self._queues))
            pulse.say_ready()
            while not self._stopping.is_set():
                self._turn(connection, channel, 1.0)
            self._finish(connection, channel)

    def _turn(self, connection: Any, channel: Any, longest: float) -> None:
        """Take what the broker sends and acknowledge what is done."""
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.02 if self._held else longest)
        connection.heartbeat_check()
        self._settle(channel)
        alive = os.environ.get(pulse.ALIVE_VARIABLE)
        if alive:
            Path(alive).touch()

    def _receive(self, queue: str, message: Any) -> None:
        delivery = from_broker(message, queue)
        done = self._pool.submit(self._deal_with, delivery)
        self._held.append(_Held(message.delivery_info["delivery_tag"], done))

    def _deal_with(self, delivery: Any) -> tuple[bool, str | None]:
        pause, give_up = 0.5, time.monotonic() + MOST_SECONDS
        while True:
            try:
                return True, self._desk.deal_with(delivery)
            except PASSING_ERRORS as error:
                logger.warning("A message waits for a server: %s", error)
            except Exception:
                logger.exception("A message cannot be dealt with now")
            if self._stopping.wait(pause) or time.monotonic() > give_up:
                return False, None
            pause = min(2 * pause, LONGEST_PAUSE)

    def _settle(self, channel: Any) -> None:
        done = [held for held in self._held if held.done.done()]
        self._held = [held for held in self._held if held not in done]
        for held in done:
            dealt_with, key = held.done.result()
            if not dealt_with:
                channel.basic_reject(held.tag, requeue=True)
                continue
            channel.basic_ack(held.tag)
            try:
                self._desk.forget(key)
            except RedisError as error:
                logger.warning("An equal message may be taken for this: %s", error)

    def _finish(self, connection: Any, channel: Any) -> None:
        """Finish what has been begun; the broker gives the rest to others."""
        for queue in self._queues:
            channel.basic_cancel(f"zocelery bridge {queue}")
        for held in self._held:
            held.done.cancel()
        self._held = [held for held in self._held if not held.done.cancelled()]
        end = time.monotonic() + STOP_SECONDS
        while self._held and time.monotonic() < end:
            self._turn(connection, channel, 0.1)

    def _look_at_waiting(self) -> None:
        while not self._stopping.wait(min(0.5, self._settings.bridge.ready_interval)):
            try:
                while self._desk.look_at_waiting() and not self._stopping.is_set():
                    pass
            except Exception:
                logger.exception("Requests that wait could not be looked at")
