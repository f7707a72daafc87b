"""The stored row of a long task: enough to run it on any worker of `wrappers`.

A message that waits for a program to end would outlive the broker's patience (RabbitMQ
closes the channel of a consumer that has not acknowledged for `consumer_timeout`). So
the message only stores this row, and is acknowledged.
"""

import json
import time
from dataclasses import asdict, dataclass, fields
from typing import Any

from zocelery.leases import PREFIX
from zocelery.store import RunStore
from zocelery.unit import Unit

ROWS = PREFIX + "long"
"""Hash of all long tasks that have not ended, by unit id."""
WAKE = PREFIX + "long:wake"
"""List whose items wake a foreman."""
MOST_WAKES = 100


@dataclass(frozen=True, slots=True)
class LongRow:
    """A long task that has been asked for."""

    unit: str
    run: str
    node: str
    stream: str
    item: str
    depth: int
    payload: Any
    priority: int
    since: float
    """Unix time of its message, s."""
    tries: int = 0
    """How often it has been begun."""
    failures: int = 0
    """How many of its tries failed for a passing reason."""
    crashes: int = 0
    """How many of its tries ended with their worker."""
    is_begun: bool = False
    """Whether a try is under way, or ended with its worker."""
    not_before: float = 0.0
    """Unix time, s."""
    kept: Any = None
    """What the next worker needs to go on with the try that is under way: its folder,
    the jobs that a cluster has of it. None: a try ends with its worker."""
    is_away: bool = False
    """Whether something goes on without a worker: then its death is no crash."""

    def dump(self) -> str:
        """Return the row as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> "LongRow":
        """Read what `dump` wrote, here or in a newer version, which may add fields."""
        found = json.loads(text)
        return cls(**{f.name: found[f.name] for f in fields(cls) if f.name in found})

    @property
    def order(self) -> tuple[int, float]:
        """What comes first: live before reprocessing, then as it was asked for."""
        return -self.priority, self.since


def store_long_task(
    store: RunStore, run: str, unit: Unit, payload: Any, priority: int
) -> None:
    """Store the row of a long task and wake a foreman; twice is as good as once."""
    place = unit.place
    row = LongRow(
        unit=unit.id,
        run=run,
        node=unit.node,
        stream=place.stream,
        item=place.item,
        depth=place.depth,
        payload=payload,
        priority=priority,
        since=time.time(),
    )
    if store.client.hsetnx(ROWS, unit.id, row.dump()):
        wake_foreman(store)


def wake_foreman(store: RunStore) -> None:
    """Let a worker look at once for long tasks."""
    with store.client.pipeline() as pipe:
        pipe.lpush(WAKE, "1")
        pipe.ltrim(WAKE, 0, MOST_WAKES)
        pipe.execute()
