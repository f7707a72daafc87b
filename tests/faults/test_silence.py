"""Servers that hang, and connections that have died without a word, hold up nobody."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.faults.duplicates import consumers_of
from tests.faults.silence import Proxy, a_proxy
from tests.faults.site import TIMEOUT, Site, Worker, wait_until
from tests.faults.test_deliveries import recipe
from tests.faults.test_settings import an_app
from tests.faults.test_shutdown import Work, says
from zocelery.deployment import Deployment
from zocelery.settings import load_settings

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def through(proxy: Proxy, url: str) -> str:
    """Return `url` with the proxy in the place of its server."""
    return url.replace(f":{urlsplit(url).port}", f":{proxy.port}")


@contextmanager
def workers_through(
    proxy: Proxy, site: Site, folder: Path, *heartbeats: int
) -> Iterator[list[Worker]]:
    """Yield workers of `lims`, one for each heartbeat in s, 0 for none."""
    url = through(proxy, site.rabbitmq.url)
    with ExitStack() as stack:
        started = []
        for seconds in heartbeats:
            told = {
                **site.environment,
                "ZOCELERY_BROKER_URL": url,
                "FAULTS_SETTINGS": json.dumps({"broker_heartbeat": seconds}),
            }
            name = f"heartbeat-{seconds}"
            worker = Worker(name, "lims", "threads", 1, folder, told)
            stack.callback(worker.stop)
            worker.start()
            started.append(worker)
        for worker in started:
            worker.await_ready()
        yield started


@pytest.mark.usefixtures("full")
def test_a_connection_to_the_broker_that_died_is_noticed_only_with_a_heartbeat(
    whole: Site, tmp_path: Path
):
    port = urlsplit(whole.rabbitmq.url).port or 0
    lost = "Connection to broker lost"
    with (
        a_proxy(port) as proxy,
        workers_through(proxy, whole, tmp_path, 2, 0) as (beating, still),
    ):
        wait_until(lambda: consumers_of(whole.rabbitmq.url, "lims") == 2, "both")
        proxy.silence()
        wait_until(says(beating, lost), "that it is noticed")
        assert not says(still, lost)()
        still.stop()
        proxy.cut()  # now the broker notices, too
        work = Work(whole, tmp_path)
        work.gate.touch()
        assert work.run.result(250) == {"x": 1}


@pytest.mark.parametrize("kind", ["redis.timeout", "redis_socket_timeout"])
def test_a_connection_to_redis_that_died_is_noticed_only_with_a_timeout(
    kind: str, whole: Site
):
    with a_proxy(urlsplit(whole.redis.url).port or 0) as proxy, ExitStack() as stack:
        url = through(proxy, whole.redis.url)
        environment = {**whole.environment, "ZOCELERY_REDIS_URL": url, TIMEOUT: "2"}
        patient = {**environment, TIMEOUT: "3600"}
        asked: list[Callable[[], Any]] = []
        if kind == "redis.timeout":
            for variables in (environment, patient):
                deployment = Deployment(load_settings(variables=variables))
                stack.callback(deployment.close)
                asked.append(partial(deployment.store.state, "no-run"))
        else:
            for without in ({}, {"redis_socket_timeout": 120.0}):  # Celery's own
                app = stack.enter_context(an_app(whole, environment, **without))
                asked.append(partial(app.backend.set_chord_size, "a-chord", 3))
        for ask in asked:
            ask()  # it is connected
        proxy.silence()
        threads = [threading.Thread(target=ask, daemon=True) for ask in asked]
        for thread in threads:
            thread.start()
        threads[0].join(60)
        assert [thread.is_alive() for thread in threads] == [False, True]
        proxy.cut()
        threads[1].join()


@pytest.mark.parametrize(
    "command", [["submit", "RECIPE"], ["status", "RUN"], ["queues"]]
)
def test_commands_say_that_redis_hangs(command: list[str], whole: Site, tmp_path: Path):
    file = tmp_path / "recipe.json"
    document = recipe([["a", {"x": 1}]], a={"task": "echo"})
    file.write_text(json.dumps(document))
    run = whole.submit(document)
    run.wait(250)
    words = [{"RECIPE": str(file), "RUN": run.id}.get(word, word) for word in command]
    with whole.redis.hanging():
        done = subprocess.run(
            [sys.executable, "-m", "zocelery", *words],
            env={**whole.environment, TIMEOUT: "2"},
            capture_output=True,
            text=True,
            check=False,
        )
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: cannot reach Redis at redis://")
    assert "Timeout" in line
    assert done.returncode == 2


def test_a_delivery_that_is_counted_while_redis_hangs_counts_once(whole: Site):
    settings = load_settings(variables={**whole.environment, TIMEOUT: "2"})
    deployment = Deployment(settings)
    leases, counted = deployment.store.leases, list[int]()
    leases.client.ping()  # it is connected
    counting = threading.Thread(
        target=lambda: counted.append(leases.count_delivery("a-message"))
    )
    try:
        with whole.redis.hanging():
            counting.start()
            counting.join(3)  # longer than it waits for an answer
        counting.join()
        assert counted == [1]
    finally:
        leases.forget_deliveries("a-message")
        deployment.close()
