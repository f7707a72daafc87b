"""Requests that wait: rows in Redis, so that no message is held meanwhile."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from zocelery.bridge.delivery import Delivery
from zocelery.leases import PREFIX

ROWS = PREFIX + "bridge:waiting"
"""Hash of the requests that wait, by the id of their run."""
DUE = PREFIX + "bridge:due"
"""Sorted set of the same ids, by the Unix time of the next look."""

_PUT = """
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
return redis.call('HGET', KEYS[1], ARGV[1])
"""
_TAKE = """
local found = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, 1)
if not found[1] then return false end
redis.call('ZADD', KEYS[2], ARGV[2], found[1])
return {found[1], redis.call('HGET', KEYS[1], found[1])}
"""


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """A request that is not ready yet."""

    run: str
    """The id that its run will have."""
    since: float
    """Unix time at which it came, s; a re-injected dead letter comes anew."""
    waits_for: str
    delivery: str
    """As `Delivery.dump` wrote it."""

    @property
    def message(self) -> Delivery:
        """The message as it came."""
        return Delivery.load(self.delivery)


class WaitingRoom:
    """The requests that wait in one deployment."""

    def __init__(self, client: Any, interval: float) -> None:
        """Use a `redis.Redis` that decodes responses.

        Args:
            client: of the deployment.
            interval: seconds between two looks at a row.
        """
        self._client = client
        self._interval = interval
        self._put = client.register_script(_PUT)
        self._take = client.register_script(_TAKE)

    def put(self, run: str, delivery: Delivery, waits_for: str) -> WaitingRow:
        """Store a request; one that waits already goes on as it is.

        Returns:
            The row that is stored.
        """
        now = time.time()
        row = WaitingRow(run, now, waits_for, delivery.dump())
        text = json.dumps(asdict(row))
        args = [run, text, now + self._interval]
        return _load(self._put(keys=[ROWS, DUE], args=args))

    def take(self) -> WaitingRow | None:
        """Return a row that is due, if there is one; it is due again after a while.

        Whoever has dealt with it calls `remove`. Nothing is lost if nobody does.
        """
        now = time.time()
        found = self._take(keys=[ROWS, DUE], args=[now, now + self._interval])
        if not found:
            return None
        run, text = found[0], found[1] if len(found) > 1 else None
        if text is None:
            self._client.zrem(DUE, run)
            return None
        return _load(text)

    def remove(self, run: str) -> None:
        """Forget a row: its request has become a run, or a dead letter."""
        with self._client.pipeline() as pipe:
            pipe.hdel(ROWS, run)
            pipe.zrem(DUE, run)
            pipe.execute()

    def rows(self) -> Iterator[WaitingRow]:
        """Yield all rows that wait, oldest first."""
        found = map(_load, self._client.hvals(ROWS))
        yield from sorted(found, key=lambda row: row.since)


def _load(text: str) -> WaitingRow:
    found = json.loads(text)
    known = WaitingRow.__dataclass_fields__
    return WaitingRow(**{k: v for k, v in found.items() if k in known})
