"""Real servers for the tests: private, on free loopback ports, started when needed."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from zocelery import servers

for name in [name for name in os.environ if name.startswith("ZOCELERY_")]:
    del os.environ[name]
REDIS_PORT, RABBITMQ_PORT = servers.free_port(), servers.free_port()
os.environ["ZOCELERY_REDIS_URL"] = f"redis://127.0.0.1:{REDIS_PORT}/0"
os.environ["ZOCELERY_BROKER_URL"] = f"amqp://guest:guest@127.0.0.1:{RABBITMQ_PORT}//"
os.environ["ZOCELERY_WORKERS_JANITOR_INTERVAL"] = "1"


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the servers of this session."""
    folder = tmp_path_factory.mktemp("servers")
    os.environ["ZOCELERY_HISTORY_URL"] = f"sqlite:///{folder / 'history.sqlite'}"
    return folder


@pytest.fixture(scope="session")
def redis_url(server_folder: Path) -> Iterator[str]:
    """A private Redis server; a missing program fails."""
    with servers.private_redis(server_folder, REDIS_PORT) as url:
        yield url


@pytest.fixture(scope="session")
def rabbitmq_url(server_folder: Path) -> Iterator[str]:
    """A private RabbitMQ server; a missing program fails."""
    with servers.private_rabbitmq(server_folder, RABBITMQ_PORT) as url:
        yield url


@pytest.fixture(scope="session")
def workers(server_folder: Path, redis_url: str, rabbitmq_url: str) -> Iterator[Path]:
    """Plain `celery worker` processes for all queues; yields the folder of their logs.

    Started the way the README says.
    """
    assert redis_url
    assert rabbitmq_url
    with ExitStack() as stack:
        started = [
            start_worker(stack, server_folder, queues, pool, concurrency)
            for queues, pool, concurrency in (
                ("control,watch,lims", "threads", 4),
                ("images", "prefork", 2),
                ("wrappers", "prefork", 1),
            )
        ]
        for log, ready in started:
            servers.wait_for_file(ready, log)
        yield server_folder


def start_worker(
    stack: ExitStack, folder: Path, queues: str, pool: str, concurrency: int
) -> tuple[Path, Path]:
    name = queues.replace(",", "-")
    log, ready = folder / f"{name}.log", folder / f"{name}.ready"
    command = [
        *(sys.executable, "-m", "celery", "-A", "zocelery", "worker"),
        *("-Q", queues, "-P", pool, "-c", str(concurrency), "-n", f"{name}@tests"),
        *("--loglevel", "INFO"),
    ]
    environment = {**os.environ, "ZOCELERY_READY_FILE": str(ready)}
    stack.enter_context(servers.running(command, log, environment))
    return log, ready
