"""What is kept in Redis of streams and of what reached gathers."""

import json
from dataclasses import dataclass
from typing import Any, Protocol

SHED = "shed: no worker was idle"
"""The error of a member that was dropped because its node sheds."""


@dataclass(frozen=True, slots=True)
class FanRecord:
    """An open stream: who emits it, and in which member of which outer stream."""

    node: str
    channel: str
    stream: str
    """The stream around the emitter; "" when it runs once in the run."""
    item: str
    depth: int


class Fans(Protocol):
    """Where it stands who emits which stream."""

    def fan(self, run: str, stream: str) -> FanRecord:
        """Return who emits the stream; KeyError if it is not known."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What reached a gather from one member: an envelope, and where it came from."""

    key: str
    source: str
    item: str
    ok: bool
    value: Any = None
    error: str | None = None

    def dump(self) -> str:
        """Return the entry as JSON; only one of value and error is kept."""
        rest = {"v": self.value} if self.ok else {"e": self.error}
        return json.dumps({"s": self.source, "i": self.item, **rest})

    @classmethod
    def load(cls, key: str, text: str) -> "Entry":
        """Read what `dump` wrote."""
        data = json.loads(text)
        ok = "e" not in data
        return cls(key, data["s"], data["i"], ok, data.get("v"), data.get("e"))
