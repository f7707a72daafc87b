"""Runs in an environment of its own: zocalo's client library, unmodified.

Reads one JSON object a line from standard input, does what its key `do` says, and
answers each by a line of JSON.
"""

import json
import queue
import sys
from typing import Any

import workflows.recipe  # type: ignore[import-untyped]  # not ours
import workflows.transport  # type: ignore[import-untyped]
import zocalo.configuration  # type: ignore[import-not-found]


class Client:
    """A program of a facility: sends requests, and listens."""

    def __init__(self) -> None:
        zocalo.configuration.from_file().activate()
        self._transport = workflows.transport.lookup("PikaTransport")()
        self._transport.connect()
        self._told: queue.Queue[dict[str, Any]] = queue.Queue()

    def send(self, to: str, message: Any, headers: Any = None) -> None:
        self._transport.send(to, message, headers=headers)

    def listen(self, to: str) -> None:
        """Take the messages of a queue, as I24's scripts and services do."""

        def _receive(wrapper: Any, header: dict[str, Any], message: Any) -> None:
            told = {"message": message}
            if wrapper:
                told["id"] = wrapper.environment.get("ID")
                told["parameters"] = wrapper.recipe_step.get("parameters")
                told["path"] = wrapper.recipe_path
            self._told.put(told)
            self._transport.ack(header)

        workflows.recipe.wrap_subscribe(
            self._transport,
            to,
            _receive,
            acknowledgement=True,
            allow_non_recipe_messages=True,
        )

    def received(self, count: int) -> list[dict[str, Any]]:
        """Return so many messages, as soon as they are there."""
        return [self._told.get(timeout=300) for _ in range(count)]


def obey(client: Client) -> None:
    """Do what standard input says."""
    for line in sys.stdin:
        told = json.loads(line)
        answer = getattr(client, told.pop("do"))(**told)
        sys.stdout.write(json.dumps({"answer": answer}) + "\n")
        sys.stdout.flush()


obey(Client())
