"""What is kept in Redis of streams and of what reached gathers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

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


class Written(NamedTuple):
    """A value and its JSON: what is kept in several places is written once."""

    value: Any
    text: str

    @staticmethod
    def dumps(content: Mapping[str, Any], key: str, written: "Written | None") -> str:
        """Return a JSON object; its entry `key`, if it is `written`, as it is there."""
        if written is None or content.get(key) is not written.value:
            return json.dumps(content)
        rest = json.dumps({name: each for name, each in content.items() if name != key})
        return f'{rest[:-1]}{", " if len(content) > 1 else ""}"{key}": {written.text}}}'


@dataclass(frozen=True, slots=True)
class Entry:
    """What reached a gather from one member: an envelope, and where it came from."""

    key: str
    source: str
    item: str
    ok: bool
    value: Any = None
    error: str | None = None
    written: Written | None = field(default=None, compare=False, repr=False)
    """Perhaps `value` with its JSON."""

    def dump(self) -> str:
        """Return the entry as JSON; only one of value and error is kept."""
        rest = {"v": self.value} if self.ok else {"e": self.error}
        content = {"s": self.source, "i": self.item, **rest}
        return Written.dumps(content, "v", self.written)

    @classmethod
    def load(cls, key: str, text: str) -> "Entry":
        """Read what `dump` wrote."""
        data = json.loads(text)
        ok = "e" not in data
        return cls(key, data["s"], data["i"], ok, data.get("v"), data.get("e"))
