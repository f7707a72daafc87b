"""Embedded mode: the servers and workers of a deployment, only for one command.

The same canvases, tasks and settings as in production, on private servers: RabbitMQ
and Redis if they are installed, else Redis alone, else a Redis written in Python that
lives in this process. Nothing is left behind.
"""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zocelery import servers
from zocelery.deployment import current_deployment, forget_deployment
from zocelery.errors import ConfigurationError, ServerUnreachableError
from zocelery.pulse import READY_VARIABLE
from zocelery.queues import QUEUE_NAMES
from zocelery.settings import current_settings

logger = logging.getLogger(__name__)

READY_SECONDS = 300.0
MOST_RESTARTS = 3
PATIENCE_SECONDS = 12.0
COMPILING = "the kernels are being compiled; this takes a minute, the first time only"


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """One worker process to start."""

    name: str
    queues: tuple[str, ...]
    pool: str
    concurrency: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """A deployment that runs."""

    broker: str
    """For people: "RabbitMQ and Redis", "Redis", "memory"."""
    caution: str | None
    """What does not survive a crash here, if that differs from production."""
    folder: Path


def worker_plans(queues: Collection[str], images: int) -> list[WorkerPlan]:
    """Return the workers that serve `queues`, `images` processes of them for images."""
    plans = (
        WorkerPlan("control", ("control", "watch", "lims"), "threads", 8),
        WorkerPlan("images", ("images",), "prefork", images),
        WorkerPlan("wrappers", ("wrappers",), "prefork", 1),
    )
    return [p for p in plans if "control" in p.queues or {*queues} & {*p.queues}]


@contextmanager
def embedded(
    queues: Collection[str] = QUEUE_NAMES,
    images: int | None = None,
    note: Callable[[str], None] = logger.info,
) -> Iterator[Embedded]:
    """Start servers and workers, point this process's settings at them, end them.

    Args:
        queues: the queues that need workers.
        images: worker processes for images; by default one per core.
        note: is told what a person who waits would like to know.

    Raises:
        ConfigurationError: zocelery's app has been set up for another deployment.
        ServerUnreachableError: a server or worker did not start.
    """
    if "zocelery.celery" in sys.modules:
        raise ConfigurationError("this process already speaks to another deployment")
    cores = len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        folder = stack.enter_context(servers.scratch_folder())
        found = _start_servers(stack, folder)
        os.environ.update(_variables(found, folder))
        forget_deployment()
        # A new Redis that has lost nothing: the history may know runs of others.
        current_deployment().store.set_mark()
        plans = worker_plans(queues, images or cores)
        workers = [_Worker(plan, folder) for plan in plans]
        for worker in workers:
            stack.callback(worker.close)
        if found.embedded.caution:
            note(found.embedded.caution)
        _wait_until_ready(workers, note)
        stack.callback(forget_deployment)
        stack.enter_context(_supervised(workers))
        yield found.embedded


@dataclass(frozen=True, slots=True)
class _Servers:
    broker: str
    redis: str
    embedded: Embedded


def _start_servers(stack: ExitStack, folder: Path) -> _Servers:
    if servers.find_redis() is None:
        url = stack.enter_context(memory_redis())
        caution = "no Redis is installed: everything is in memory and dies with us"
        embedded = Embedded("memory", caution, folder)
        return _Servers(url + "/1", url + "/0", embedded)
    redis = stack.enter_context(servers.private_redis(folder))
    if servers.find_rabbitmq() is None:
        caution = "no RabbitMQ is installed: messages are kept in Redis, in memory"
        embedded = Embedded("Redis", caution, folder)
        return _Servers(redis.removesuffix("/0") + "/1", redis, embedded)
    # Workers load while it starts.
    rabbitmq = stack.enter_context(servers.private_rabbitmq(folder, wait=False))
    return _Servers(rabbitmq, redis, Embedded("RabbitMQ and Redis", None, folder))


@contextmanager
def memory_redis() -> Iterator[str]:
    """Serve a Redis written in Python from this process; yield its URL without path."""
    from fakeredis import TcpFakeServer

    port = servers.free_port()
    server = TcpFakeServer((servers.LOOPBACK, port), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"redis://{servers.LOOPBACK}:{port}"
    finally:
        server.shutdown()
        server.server_close()


def _variables(found: _Servers, folder: Path) -> Mapping[str, str]:
    history = os.environ.get("ZOCELERY_HISTORY_URL")
    return {
        "ZOCELERY_BROKER_URL": found.broker,
        "ZOCELERY_BROKER_DECLARE": "true",
        "ZOCELERY_BROKER_QUEUE_TYPE": "classic",
        "ZOCELERY_REDIS_URL": found.redis,
        "ZOCELERY_HISTORY_URL": history or f"sqlite:///{folder / 'history.sqlite'}",
    }


class _Worker:
    """A worker process that is started again if it dies."""

    def __init__(self, plan: WorkerPlan, folder: Path) -> None:
        """Start the worker; its files go into `folder`."""
        self.plan = plan
        self.ready = folder / f"{plan.name}.ready"
        self.log = folder / f"{plan.name}.log"
        self._stack = ExitStack()
        self.process = self._start()
        self.restarts = 0

    def _start(self) -> "subprocess.Popen[bytes]":
        plan = self.plan
        command = [
            *(sys.executable, "-m", "celery", "-A", "zocelery", "worker"),
            *("-n", f"{plan.name}@embedded", "-Q", ",".join(plan.queues)),
            *("-P", plan.pool, "-c", str(plan.concurrency)),
            *("--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
        ]
        environment = {**os.environ, READY_VARIABLE: str(self.ready)}
        running = servers.running(command, self.log, environment)
        return self._stack.enter_context(running)

    def start_again_if_dead(self) -> None:
        """Start the worker again if it has died, but not for ever."""
        if self.process.poll() is not None and self.restarts < MOST_RESTARTS:
            self.restarts += 1
            logger.warning("The worker %r died; starting it again", self.plan.name)
            if current_settings().broker.is_redis:
                give_back_unacked(self.plan.queues)
            self.process = self._start()

    def close(self) -> None:
        """End the worker."""
        self._stack.close()


def give_back_unacked(queues: Collection[str]) -> None:
    """Put back into `queues` what a dead worker has taken from them.

    Redis as a broker keeps no connections: by itself it would give messages back only
    an hour later (`visibility_timeout`). Here no other worker serves the same queues.
    """
    from zocelery.celery import app

    with app.connection_for_write() as connection:
        channel: Any = connection.channel()  # of kombu's Redis transport
        for tag, text in channel.client.hgetall(channel.unacked_key).items():
            _, _, queue = json.loads(text)
            if queue in queues:
                channel.qos.restore_by_tag(tag, leftmost=True)


@contextmanager
def _supervised(workers: Sequence[_Worker]) -> Iterator[None]:
    """Start workers again that die; the broker has kept what they were doing."""
    ended = threading.Event()

    def _supervise() -> None:
        while not ended.wait(0.5):
            for worker in workers:
                worker.start_again_if_dead()

    thread = threading.Thread(target=_supervise, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _wait_until_ready(workers: Sequence[_Worker], note: Callable[[str], None]) -> None:
    started = time.monotonic()
    told = False
    for worker in workers:
        while not worker.ready.exists():
            waited = time.monotonic() - started
            if worker.process.poll() is not None or waited > READY_SECONDS:
                log = worker.log.read_text(errors="replace")[-1500:].strip()
                raise ServerUnreachableError(
                    f"the worker {worker.ready.stem!r} did not start: {log}"
                )
            if waited > PATIENCE_SECONDS and not told:
                told = True
                note(COMPILING)
            time.sleep(0.02)
