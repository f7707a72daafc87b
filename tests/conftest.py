"""Real servers for the tests: private, on free loopback ports, started when needed."""

import atexit
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from zocelery import servers

settings.register_profile("zocelery", deadline=None)  # machines are busy
settings.load_profile("zocelery")
KEPT = "ZOCELERY_ISPYB_DATABASE"  # where the tests find a real schema of the LIMS
for name in [name for name in os.environ if name.startswith("ZOCELERY_")]:
    if name != KEPT:
        del os.environ[name]
REDIS_PORT, RABBITMQ_PORT = servers.free_port(), servers.free_port()
os.environ["ZOCELERY_REDIS_URL"] = f"redis://127.0.0.1:{REDIS_PORT}/0"
os.environ["ZOCELERY_BROKER_URL"] = f"amqp://guest:guest@127.0.0.1:{RABBITMQ_PORT}//"
FOLDER = Path(tempfile.mkdtemp(prefix="zocelery-tests-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
os.environ["ZOCELERY_HISTORY_URL"] = f"sqlite:///{FOLDER / 'history.sqlite'}"
os.environ["ZOCELERY_LIMS_URL"] = f"sqlite:///{FOLDER / 'lims.sqlite'}"
os.environ["ZOCELERY_WORKERS_JANITOR_INTERVAL"] = "1"
# what no task here serves; read by all programs, so the same for all of them
FOREIGN_QUEUES = ("transient.pia_feedback",)
os.environ["ZOCELERY_QUEUES_FOREIGN"] = json.dumps(FOREIGN_QUEUES)
os.environ["ZOCELERY_WRAPPERS_NICE"] = "0"  # the suite itself would come first


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let people choose how thoroughly the servers are killed."""
    parser.addoption(
        "--faults",
        choices=("short", "full"),
        default="short",
        help="faults: each case with 100 images, or every case there is with 400",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let the many processes that are started find compiled what one has imported.

    Where nothing may be written beside the sources they would compile all of it anew,
    which takes them longer than their work.
    """
    cache = getattr(config, "cache", None)  # there is none with -p no:cacheprovider
    if cache and os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        folder = cache.mkdir("bytecode")
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(folder))


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A private Redis server; a missing program fails."""
    with servers.private_redis(FOLDER, REDIS_PORT) as url:
        yield url


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    """A private RabbitMQ server; a missing program fails."""
    with servers.private_rabbitmq(FOLDER, RABBITMQ_PORT) as url:
        yield url


@pytest.fixture(scope="session")
def workers(redis_url: str, rabbitmq_url: str) -> Iterator[Path]:
    """Plain `celery worker` processes for all queues; yields the folder of their logs.

    Started the way the README says.
    """
    assert redis_url
    assert rabbitmq_url
    with ExitStack() as stack:
        started = [
            start_worker(stack, FOLDER, queues, pool, concurrency)
            for queues, pool, concurrency in (
                ("control,watch,lims", "threads", 4),
                ("images", "prefork", 2),
                ("wrappers", "prefork", 1),
            )
        ]
        for log, ready in started:
            servers.wait_for_file(ready, log, seconds=300)
        yield FOLDER


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
