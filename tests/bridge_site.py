"""A bridge, and clients that send to it what Zocalo's clients send, byte by byte."""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import amqp

from zocelery import servers
from zocelery.celery import app
from zocelery.deployment import current_deployment
from zocelery.queues import dead_letter_queue
from zocelery.settings import current_settings

WAIT = 60.0
QUEUE = "processing_recipe"
ECHO = {"queue": "echo", "parameters": {"word": "{word}", "dcid": "{ispyb_dcid}"}}


@contextmanager
def bridge(folder: Path, **settings: Any) -> Iterator[Path]:
    """Run `zocelery bridge` as its users do; yield its log."""
    log, ready = folder / "bridge.log", folder / "bridge.ready"
    ready.unlink(missing_ok=True)
    more = {
        f"ZOCELERY_{name.upper()}": json.dumps(value)
        for name, value in settings.items()
    }
    environment = {**os.environ, "ZOCELERY_READY_FILE": str(ready), **more}
    command = [sys.executable, "-m", "zocelery", "bridge"]
    with ExitStack() as stack:
        stack.enter_context(servers.running(command, log, environment))
        servers.wait_for_file(ready, log, seconds=WAIT)
        yield log


def zocalo_environment(folder: Path) -> dict[str, str]:
    """Return the environment in which Zocalo's own programs find the tests' broker."""
    broker = {
        "plugin": "pika",
        "host": "127.0.0.1",
        "port": urlsplit(current_settings().broker.url).port,
        "username": "guest",
        "password": "guest",
        "vhost": "/",
    }
    environments = {"default": "live", "live": {"plugins": ["broker"]}}
    document = {"version": 1, "broker": broker, "environments": environments}
    configuration = folder / "zocalo.yaml"
    configuration.write_text(json.dumps(document))
    return {**os.environ, "ZOCALO_CONFIG": str(configuration), "PYTHONPATH": ""}


class Relay:
    """Stands between the bridge and the broker, and can cut them off."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])

    def __enter__(self) -> "Relay":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def cut(self) -> int:
        """Break all connections; return how many there were."""
        ends, self._open = self._open, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return len(ends) // 2

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                inner, _ = self._server.accept()
                outer = socket.create_connection(("127.0.0.1", self._target))
                self._open += [inner, outer]
                done = threading.Barrier(2)
                for ends in ((inner, outer), (outer, inner)):
                    pump = threading.Thread(
                        target=_pump, args=(*ends, done), daemon=True
                    )
                    pump.start()


def _pump(source: socket.socket, target: socket.socket, done: Any) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    done.wait()  # neither end is closed while the other direction uses it
    source.close()


def send(body: Any, queue: str = QUEUE, **properties: Any) -> None:
    """Publish a message as a client does: no property but those that it sets."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with app.connection_for_write() as connection:
        channel: Any = connection.channel()
        message = amqp.Message(raw, channel=channel, **properties)
        channel.basic_publish(message, routing_key=queue, mandatory=True)


def until(found: Callable[[], Any], seconds: float = WAIT) -> Any:
    """Return what `found` finds, as soon as it finds something."""
    give_up = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.05)
    return answer


def runs_with(**parameters: Any) -> list[dict[str, Any]]:
    """Return the runs of the history that were given these parameters."""
    history = current_deployment().history
    return [
        row
        for row in history.recent_runs(500)
        if parameters.items() <= _flat(row["parameters"]).items()
    ]


def _flat(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in parameters.items() if isinstance(v, str | int | float)}


def dead_letters(queue: str = QUEUE) -> list[tuple[bytes, dict[str, Any]]]:
    """Take all dead letters of a queue: bodies and headers."""
    found = []
    with app.connection_for_read() as connection:
        channel: Any = connection.channel()
        channel.auto_decode = False
        while (got := channel.basic_get(dead_letter_queue(queue))) is not None:
            channel.basic_ack(got.delivery_tag)
            found.append((bytes(got.body), dict(got.headers or {})))
    return found


def message_count(queue: str) -> int:
    """Return how many messages wait in a queue."""
    with app.connection_for_read() as connection:
        channel: Any = connection.channel()
        return int(channel.queue_declare(queue, passive=True).message_count)


def take(queue: str) -> list[dict[str, Any]]:
    """Take all messages of a queue: what they carry, beside their headers."""
    found = []
    with app.connection_for_read() as connection:
        channel: Any = connection.channel()
        while (got := channel.basic_get(queue)) is not None:
            channel.basic_ack(got.delivery_tag)
            found.append({"headers": dict(got.headers or {}), **json.loads(got.body)})
    return found


def declare(queue: str) -> None:
    """Declare a queue of somebody else's."""
    with app.connection_for_write() as connection:
        channel: Any = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=False)
