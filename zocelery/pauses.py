"""Pauses: queues that nobody takes work from, and the workers that obey.

A pause is kept in Redis, not in the workers: it holds for workers that are started
later, and until somebody resumes the queue.
"""

import json
import time
from dataclasses import asdict, dataclass, fields
from typing import Any

from zocelery.leases import PREFIX

PAUSED = PREFIX + "paused"
"""Hash of pauses: `QUEUE`, or `QUEUE@BEAMLINE`, to who paused it and when."""
WORKERS = PREFIX + "workers"
"""Hash of what each worker last said of itself, by name."""
ALIVE_SECONDS = 15.0
"""A worker that has said nothing for so long has gone."""
GONE_SECONDS = 86400.0
"""After so long nobody needs to know any more that it was there."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A queue that is paused."""

    queue: str
    beamline: str
    """Whose workers take nothing from it; "" for all."""
    since: float
    """Unix time, s."""
    by: str
    """The host on which it was paused."""


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker says of itself every second."""

    name: str
    host: str
    beamline: str
    slots: int
    """Tasks that it can run at once."""
    queues: tuple[str, ...]
    """The queues that it was started for."""
    paused: tuple[str, ...]
    """Those of them from which it takes nothing now."""
    time: float
    """Unix time of Redis, s."""
    bundles: bool = False
    """Whether it knows messages with several members; older workers do not."""


class Pauses:
    """The pauses of one deployment, and the workers that report to it."""

    def __init__(self, client: Any) -> None:
        """Use `client`, a `redis.Redis` that decodes responses."""
        self._client = client

    def pause(self, queue: str, beamline: str, by: str) -> None:
        """Let workers, all or those of a beamline, take nothing more from a queue."""
        told = json.dumps({"since": time.time(), "by": by})
        self._client.hsetnx(PAUSED, _field(queue, beamline), told)

    def resume(self, queue: str, beamline: str) -> None:
        """End a pause; that of all beamlines ends those of single ones as well."""
        gone = [_field(queue, beamline)]
        if not beamline:
            same = (pause for pause in self.all() if pause.queue == queue)
            gone += [_field(queue, pause.beamline) for pause in same]
        self._client.hdel(PAUSED, *gone)

    def all(self) -> list[Pause]:
        """Return all pauses, by queue and beamline."""
        found = []
        for field, text in self._client.hgetall(PAUSED).items():
            queue, _, beamline = field.partition("@")
            told = json.loads(text)
            found.append(Pause(queue, beamline, told["since"], told["by"]))
        return sorted(found, key=lambda pause: (pause.queue, pause.beamline))

    def paused(self, beamline: str) -> set[str]:
        """Return the queues from which a worker of `beamline` takes nothing."""
        pauses = (field.partition("@") for field in self._client.hkeys(PAUSED))
        return {queue for queue, _, whose in pauses if whose in ("", beamline)}

    def report(self, report: WorkerReport) -> None:
        """Keep what a worker says of itself."""
        self._client.hset(WORKERS, report.name, json.dumps(asdict(report)))

    def forget(self, name: str) -> None:
        """Forget a worker that ends."""
        self._client.hdel(WORKERS, name)

    def forget_gone(self) -> None:
        """Forget the workers that went long ago without a word."""
        now = self.now()
        for name, text in self._client.hgetall(WORKERS).items():
            if now - _load(text).time > GONE_SECONDS:
                self._client.hdel(WORKERS, name)

    def now(self) -> float:
        """Return the Unix time of Redis, s: clocks of hosts differ."""
        seconds, microseconds = self._client.time()
        return float(seconds) + float(microseconds) / 1e6

    def workers(self, queue: str, beamline: str = "") -> list[WorkerReport]:
        """Return the workers that live and serve `queue`, all or of one beamline."""
        now = self.now()
        found = map(_load, self._client.hvals(WORKERS))
        return [
            worker
            for worker in found
            if now - worker.time < ALIVE_SECONDS
            and queue in worker.queues
            and beamline in ("", worker.beamline)
        ]


def _field(queue: str, beamline: str) -> str:
    return f"{queue}@{beamline}" if beamline else queue


def _load(text: str) -> WorkerReport:
    told = json.loads(text)
    known = {f.name: told[f.name] for f in fields(WorkerReport) if f.name in told}
    lists = {name: tuple(known[name]) for name in ("queues", "paused")}
    return WorkerReport(**{**known, **lists})
