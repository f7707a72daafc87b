"""What a dead letter is, and how it is kept in a file without losing anything."""

import base64
import hashlib
import json
import math
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

from zocelery.canvas import BUNDLE_TASK, FORWARD_TASK, MARK_TASK
from zocelery.dead_letter import PROPERTIES, REASON_PREFIX, REINJECTED_HEADER
from zocelery.errors import InputFileError
from zocelery.run_end import END_RUN_TASK

FORMAT = "zocelery dead letter 1"
"""First key of each exported line; the number goes up if old readers would err."""
LARGEST_DECODED = 10_000_000
"""Bytes: what is larger is shown by its size only."""
_ENGINE_TASKS = (BUNDLE_TASK, FORWARD_TASK, MARK_TASK, END_RUN_TASK)
"""Tasks of a run that are no node's."""
_BUNDLED = BUNDLE_TASK + ".member"
"""Stands in for the task of what came in a bundle."""
_ZLIB = ("application/x-gzip", "gzip", "zlib")
"""Names that kombu has for what zocelery compresses large messages with."""
_STRIPPED_PREFIXES = (REASON_PREFIX, "x-death", "x-first-death-", "x-last-death-")
_STRIPPED = ("CC", "BCC", "x-delivery-count", "x-acquired-count")
_NOT_AGAIN = ("expiration", "user_id")


@dataclass(frozen=True, slots=True)
class Address:
    """Where in which run a message of a recipe's task belongs."""

    run: str
    node: str
    item: str = ""
    stream: str = ""
    depth: int = 0


@dataclass(frozen=True)
class DeadLetter:
    """One dead letter: the message as it is, and what can be read from it."""

    queue: str
    """The work queue for which it was meant."""
    body: bytes
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    """The other AMQP properties that are set, by name."""

    @cached_property
    def id(self) -> str:
        """The id of its task; for what has none, one that follows from the message."""
        for name in ("id", f"{REASON_PREFIX}id"):
            if self.headers.get(name) and isinstance(self.headers[name], str):
                return str(self.headers[name])
        return hashlib.sha1(self.body, usedforsecurity=False).hexdigest()

    @cached_property
    def task(self) -> str | None:
        """The name of its task, if it names one."""
        name = self.headers.get("task")
        return name if isinstance(name, str) else None

    @cached_property
    def arguments(self) -> list[Any] | None:
        """The arguments of its task, if they can be read."""
        readable = self.properties.get("content_type") == "application/json"
        if not readable or len(self.body) > LARGEST_DECODED:
            return None
        try:
            body = json.loads(self._expanded())
        except (ValueError, RecursionError, zlib.error):
            return None
        first = body[0] if isinstance(body, list) and body else None
        return first if isinstance(first, list) else None

    def _expanded(self) -> bytes:
        if self.headers.get("compression") not in _ZLIB:
            return self.body
        return zlib.decompressobj().decompress(self.body, LARGEST_DECODED)

    @property
    def payload(self) -> Any:
        """What the node was given, if that can be read."""
        return self.arguments[0] if self.arguments else None

    @cached_property
    def address(self) -> Address | None:
        """Where it belongs, or None if it is not a message of a recipe's task."""
        args = self.arguments or []
        if not 3 <= len(args) <= 6 or not all(isinstance(a, str) for a in args[1:]):
            return None
        depth = args[5] if len(args) == 6 else "0"
        if self.task in (None, *_ENGINE_TASKS) or not depth.isdecimal():
            return None
        run, node, item, stream = (*args[1:5], "", "")[:4]
        return Address(run, node, item, stream, int(depth))

    @property
    def run(self) -> str | None:
        """The id of the run that it belongs to, if any."""
        args = self.arguments or []
        if self.task in _ENGINE_TASKS and args and isinstance(args[0], str):
            return args[0]
        return self.address.run if self.address else None

    @property
    def node(self) -> str | None:
        """The node of the recipe that it is for, if any."""
        first = self.units[0].address if self.units else None
        return first.node if first else None

    @cached_property
    def units(self) -> "Sequence[DeadLetter]":
        """The letter itself; that of a bundle as if each member had come alone."""
        args = self.arguments or []
        if self.task != BUNDLE_TASK or len(args) != 5 or not isinstance(args[4], list):
            return [self]
        members = (m for m in args[4] if isinstance(m, list) and len(m) == 3)
        return [self._alone(*args[:4], *member) for member in members]

    def _alone(
        self,
        run: Any,
        node: Any,
        stream: Any,
        depth: Any,
        unit: Any,
        item: Any,
        payload: Any,
    ) -> "DeadLetter":
        headers = {**self.headers, "id": unit, "task": _BUNDLED}
        headers.pop("compression", None)
        body = json.dumps([[payload, run, node, item, stream, depth], {}, {}])
        return replace(self, headers=headers, body=body.encode())

    @cached_property
    def error(self) -> str:
        """Why it is here, one line."""
        told = self.headers.get(f"{REASON_PREFIX}error")
        if told:
            return " ".join(str(told).split())
        death = self._death.get("reason")
        return f"the broker moved it here: {death}" if death else "no reason is known"

    @property
    def traceback(self) -> str:
        """Where the error happened, "" if that is not known."""
        return str(self.headers.get(f"{REASON_PREFIX}traceback") or "")

    @property
    def host(self) -> str | None:
        """The machine whose worker parked it."""
        told = self.headers.get(f"{REASON_PREFIX}host")
        return None if told is None else str(told)

    @property
    def tries(self) -> int:
        """How often it was tried, at least 1."""
        told = self.headers.get(f"{REASON_PREFIX}tries")
        return told if isinstance(told, int) and told > 0 else 1

    @cached_property
    def time(self) -> float | None:
        """When it became a dead letter, Unix time in s, if that is known."""
        told = self.headers.get(f"{REASON_PREFIX}time")
        if isinstance(told, int | float) and math.isfinite(told):
            return float(told)
        death = self._death.get("time")
        if isinstance(death, datetime):
            return death.replace(tzinfo=death.tzinfo or UTC).timestamp()
        return None

    @property
    def reinjected(self) -> int:
        """How often it has been re-injected before."""
        count = self.headers.get(REINJECTED_HEADER)
        return count if isinstance(count, int) and count > 0 else 0

    @cached_property
    def copy_key(self) -> tuple[str, int, str]:
        """What is equal for copies of one letter, left by a worker that died."""
        digest = hashlib.sha256(self.body).hexdigest()
        return self.id, self.reinjected, digest

    @property
    def _death(self) -> Mapping[str, Any]:
        """What the broker says of how it came from its work queue, if it did so."""
        deaths = self.headers.get("x-death")
        for death in deaths if isinstance(deaths, list) else ():
            if isinstance(death, dict) and death.get("queue") == self.queue:
                return death
        return {}

    def to_publish(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the headers and properties with which it is worked on anew.

        Gone are the reasons, what the broker noted, and the tries; it keeps its id,
        its group and its chord.
        """
        headers = {
            name: value
            for name, value in self.headers.items()
            if not str(name).startswith(_STRIPPED_PREFIXES) and name not in _STRIPPED
        }
        headers[REINJECTED_HEADER] = self.reinjected + 1
        if "retries" in headers:
            headers["retries"] = 0
        if headers.get("expires") is not None:
            headers["expires"] = None  # else it is thrown away unseen
        properties = {
            name: value
            for name, value in self.properties.items()
            if name not in _NOT_AGAIN
        }
        return headers, {**properties, "delivery_mode": 2}

    def summary(self) -> dict[str, Any]:
        """Return in a few words what it is, for a list."""
        where = self.address
        return {
            "id": self.id,
            "queue": self.queue,
            "task": self.task,
            "run": self.run,
            "node": where.node if where else None,
            "item": where.item if where else None,
            "error": self.error,
            "host": self.host,
            "tries": self.tries,
            "time": self.time,
            "reinjected": self.reinjected,
            "size": len(self.body),
        }

    def details(self) -> dict[str, Any]:
        """Return all that can be told of it to people."""
        args = self.arguments
        preview = None if args is not None else repr(self.body[:1000])
        return {
            **self.summary(),
            "traceback": self.traceback,
            "payload": self.payload,
            "arguments": args[1:] if args else None,
            "body": preview,
            "headers": tag(dict(self.headers)),
            "properties": tag(dict(self.properties)),
        }

    def to_line(self) -> str:
        """Return the whole message as one line of JSON; `from_line` reads it."""
        return json.dumps(
            {
                "format": FORMAT,
                "exported": time.time(),
                **self.summary(),
                "properties": tag(dict(self.properties)),
                "headers": tag(dict(self.headers)),
                "body": base64.b64encode(self.body).decode("ascii"),
            }
        )


def from_message(message: Any, queue: str) -> DeadLetter:
    """Return what was received from the dead letters of `queue`, untouched."""
    properties = message.properties or {}
    body = message.body or b""
    return DeadLetter(
        queue=queue,
        body=body.encode() if isinstance(body, str) else bytes(body),
        headers=dict(message.headers or {}),
        properties={n: properties[n] for n in PROPERTIES if n in properties},
    )


def from_line(line: str, file: Path, number: int) -> DeadLetter:
    """Read what `DeadLetter.to_line` wrote.

    Raises:
        InputFileError: it is something else; names file and line.
    """
    where = f"{file}, line {number}"
    try:
        record = json.loads(line)
        if record.get("format") != FORMAT:
            raise InputFileError(
                f"{where}: is not a dead letter that zocelery exported"
            )
        headers, properties = untag(record["headers"]), untag(record["properties"])
        body = base64.b64decode(record["body"], validate=True)
        return DeadLetter(str(record["queue"]), body, headers, properties)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise InputFileError(f"{where}: cannot be read: {error}") from error


def tag(value: Any) -> Any:
    """Return an AMQP value as JSON from which `untag` makes the same value again."""
    if isinstance(value, dict):
        tagged = {name: tag(inner) for name, inner in value.items()}
        if all(isinstance(name, str) for name in value):
            return {"table": tagged}
        return {"pairs": [[tag(name), inner] for name, inner in tagged.items()]}
    if isinstance(value, list | tuple):
        return [tag(inner) for inner in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": base64.b64encode(bytes(value)).decode("ascii")}
    if isinstance(value, datetime):
        seconds = value.replace(tzinfo=value.tzinfo or UTC).timestamp()
        return {"time": int(seconds)}
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    return value


def untag(value: Any) -> Any:
    """Return the AMQP value that `tag` wrote.

    Raises:
        ValueError: `tag` has not written this.
    """
    if isinstance(value, list):
        return [untag(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    (kind, inner), *more = value.items()
    if kind not in _UNTAG or more:
        raise ValueError(f"unknown kind of value {kind!r}")
    return _UNTAG[kind](inner)


_UNTAG: Mapping[str, Any] = {
    "table": lambda table: {name: untag(inner) for name, inner in table.items()},
    "pairs": lambda pairs: {untag(name): untag(inner) for name, inner in pairs},
    "bytes": base64.b64decode,
    "time": lambda seconds: datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None),
    "decimal": Decimal,
    "float": float,
}
