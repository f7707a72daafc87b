"""Workers whose broker is not there wait for it, and end when they are told to."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from zocelery import servers


@pytest.mark.usefixtures("redis_url")
def test_a_worker_that_waits_for_its_broker_ends_when_it_is_told_to(tmp_path: Path):
    url = f"amqp://guest:guest@127.0.0.1:{servers.free_port()}//"
    log, command = tmp_path / "worker.log", ["-m", "celery", "-A", "zocelery", "worker"]
    options = ["-Q", "control", "-P", "threads", "-c", "1", "-n", "waiting@tests"]
    environment = {**os.environ, "ZOCELERY_BROKER_URL": url}
    with servers.running([sys.executable, *command, *options], log, environment) as it:
        while "[queues]" not in log.read_text():
            assert it.poll() is None
            time.sleep(0.1)
        time.sleep(1.0)  # it looks for the broker
        it.send_signal(signal.SIGTERM)
        assert it.wait(60) == 0


def test_ports_for_servers_are_none_that_clients_are_given():
    low, high = map(int, servers.CLIENT_PORTS.read_text().split())
    assert not any(low <= servers.free_port() <= high for _ in range(50))
