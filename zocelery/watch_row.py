"""The stored row of a watch: enough to run it on any worker of the queue `watch`."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from zocelery.leases import PREFIX
from zocelery.store import RunStore
from zocelery.unit import Unit

ROWS = PREFIX + "watches"
"""Hash of all watches that have not ended, by unit id."""
WAKE = PREFIX + "watches:wake"
"""List whose items wake a keeper."""


@dataclass(frozen=True, slots=True)
class WatchRow:
    """A watch that has been asked for: enough to run it anywhere."""

    unit: str
    run: str
    node: str
    stream: str
    item: str
    depth: int
    payload: Any
    state: dict[str, Any]
    tries: int = 0
    sent: tuple[str, ...] = ()
    """Channels for one message that have spoken."""

    def dump(self) -> str:
        """Return the row as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> "WatchRow":
        """Read what `dump` wrote, here or in a newer version, which may add fields."""
        found = json.loads(text)
        known = {f.name: found[f.name] for f in fields(cls) if f.name in found}
        return cls(**{**known, "sent": tuple(found["sent"])})


def store_watch(store: RunStore, run: str, unit: Unit, payload: Any) -> None:
    """Store the row of a watch and wake a keeper; the second time changes nothing."""
    place = unit.place
    row = WatchRow(
        unit.id, run, unit.node, place.stream, place.item, place.depth, payload, {}
    )
    if store.client.hsetnx(ROWS, unit.id, row.dump()):
        store.client.lpush(WAKE, unit.id)
