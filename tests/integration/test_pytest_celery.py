"""pytest-celery's fixtures over plain processes: a worker is killed and restarted."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import current_app
from pytest_celery import (
    CeleryTestBackend,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryTestWorker,
)

from zocelery import servers
from zocelery.store import RunStore

MEMBERS = 800
DOCUMENT = {
    "nodes": {
        "a": {"task": "echo", "parameters": {"list": list(range(MEMBERS))}}
        | {"output": "b"},
        "b": {"task": "echo", "foreach": "list", "output": "c"},
        "c": {"task": "collect"},
    },
    "start": "a",
}


class ProcessContainer:
    """A program in the place of a container, as far as pytest-celery asks for one."""

    def __init__(
        self,
        name: str,
        run: Callable[[], AbstractContextManager[Any]],
        logs: Callable[[], str],
        url: str = "",
    ) -> None:
        self.name = self.id = name
        self.logs = logs
        self.celeryconfig = {"url": url, "host_url": url}
        self._run = run
        self._stack = ExitStack()
        self._process: Any = None

    def start(self) -> None:
        self._process = self._stack.enter_context(self._run())

    @property
    def status(self) -> str:
        return "running" if self._process.poll() is None else "exited"

    def kill(self, signal: str) -> None:
        os.killpg(self._process.pid, number_of(signal))
        self._process.wait()

    def restart(self, timeout: float) -> None:
        del timeout
        self.teardown()
        self.start()

    def reload(self) -> None:
        """Nothing of a process is kept beside it."""

    def ready(self) -> bool:
        return True

    def teardown(self) -> None:
        self._stack.close()


def number_of(name: str) -> int:
    return int(signal.Signals[name])


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A deployment of its own: nobody else's workers take its messages."""
    return {
        **os.environ,
        "ZOCELERY_BROKER_URL": f"amqp://guest:guest@127.0.0.1:{servers.free_port()}//",
        "ZOCELERY_REDIS_URL": f"redis://127.0.0.1:{servers.free_port()}/0",
        "ZOCELERY_HISTORY_URL": f"sqlite:///{tmp_path / 'history.sqlite'}",
        "ZOCELERY_READY_FILE": str(tmp_path / "ready"),
    }


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def log_of(file: Path) -> Callable[[], str]:
    return lambda: file.read_text(errors="replace")


@pytest.fixture
def celery_broker(
    environment: Mapping[str, str], tmp_path: Path
) -> Iterator[CeleryTestBroker]:
    url = environment["ZOCELERY_BROKER_URL"]
    container = ProcessContainer(
        "rabbitmq",
        lambda: servers.private_rabbitmq(tmp_path, port_of(url)),
        log_of(tmp_path / "rabbitmq.log"),
        url,
    )
    container.start()
    broker = CeleryTestBroker(container)
    yield broker
    broker.teardown()


@pytest.fixture
def celery_backend(
    environment: Mapping[str, str], tmp_path: Path
) -> Iterator[CeleryTestBackend]:
    url = environment["ZOCELERY_REDIS_URL"]
    container = ProcessContainer(
        "redis",
        lambda: servers.private_redis(tmp_path, port_of(url)),
        log_of(tmp_path / "redis.log"),
        url,
    )
    container.start()
    backend = CeleryTestBackend(container)
    yield backend
    backend.teardown()


@pytest.fixture
def celery_worker(
    celery_broker: CeleryTestBroker,
    celery_backend: CeleryTestBackend,
    environment: Mapping[str, str],
    tmp_path: Path,
) -> Iterator[CeleryTestWorker]:
    """A plain `celery worker`, started as the README says."""
    assert celery_broker.ready()
    assert celery_backend.ready()
    log = tmp_path / "worker.log"
    command = [
        *(sys.executable, "-m", "celery", "-A", "zocelery", "worker"),
        *("-Q", "control", "-P", "threads", "-c", "4", "-n", "killed@tests"),
        *("--loglevel", "INFO"),
    ]
    container = ProcessContainer(
        "worker", lambda: servers.running(command, log, environment), log_of(log)
    )
    container.start()
    worker = CeleryTestWorker(container, app=None)
    yield worker
    worker.teardown()


@pytest.fixture
def deployed(celery_setup: CeleryTestSetup) -> Iterator[CeleryTestSetup]:
    """pytest-celery's setup; its app is the current one only for this test."""
    before = current_app._get_current_object()
    celery_setup.worker.wait_for_log("killed@tests ready.", timeout=100)
    assert celery_setup.ready(ping=False, control=True, docker=True)
    yield celery_setup
    celery_setup.app.close()
    before.set_current()


def zocelery(environment: Mapping[str, str], *arguments: str) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-m", "zocelery", *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        env=dict(environment),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_worker_that_is_killed_and_started_again_loses_and_doubles_nothing(
    deployed: CeleryTestSetup, environment: Mapping[str, str], tmp_path: Path
):
    (answer,) = deployed.app.control.ping(timeout=5)
    assert answer == {"killed@tests": {"ok": "pong"}}
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(DOCUMENT))
    (submitted,) = zocelery(environment, "submit", str(recipe))
    url = environment["ZOCELERY_REDIS_URL"]
    with redis.Redis.from_url(url, decode_responses=True) as client:
        store = RunStore(client)

        def done() -> int:
            return store.counts(submitted["run"]).get("b", {}).get("done", 0)

        give_up = time.monotonic() + 60
        while done() < 20:
            assert time.monotonic() < give_up
            time.sleep(0.005)
        deployed.worker.kill()
        assert deployed.worker.container.status == "exited"
        assert 20 <= done() < MEMBERS, "killed too late to prove anything"
        deployed.worker.restart()
        results = zocelery(environment, "results", submitted["run"], "--follow")
        counts = store.counts(submitted["run"])
    assert counts["b"] == {"total": MEMBERS, "done": MEMBERS}
    assert counts["c"] == {"total": 1, "done": 1}
    (gathered,) = [row["value"] for row in results if row["node"] == "c"]
    assert gathered["members"] == list(range(MEMBERS))
    assert gathered["missing"] == gathered["failed"] == []
