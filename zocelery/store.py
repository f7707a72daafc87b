"""The live state of runs, in Redis: what is under way, what was answered, what waits.

Every change that may come twice is keyed by the id of the task that makes it and is
made by a script, whole or not at all: a second delivery changes nothing.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any

from zocelery import store_scripts
from zocelery.chords import PART_SCRIPT
from zocelery.endings import Ending, Endings, Settled
from zocelery.leases import PREFIX, Leases
from zocelery.records import Entry, FanRecord
from zocelery.script_calls import ScriptArguments, ScriptCalls, run_together

_PARTS = (
    "recipe",
    "opened",
    "finished",
    "counts",
    "events",
    "answers",
    "gathers",
    "names",
    "parked",
    "dropped",
    "told",
    "spoken",
    "marks",
)
"""What is kept of every run; what streams and gathers add is in the set `names`."""
MARK = PREFIX + "kept"
"""A key that is there as long as Redis has lost nothing."""
WAITING_RUNS = PREFIX + "active"
"""Set of the ids of runs that have not ended."""
KEPT_FANS = 1000
"""Streams whose emitters a process remembers."""


def run_key(run: str, *parts: str) -> str:
    """Return the key of a part of a run's live state."""
    return ":".join((PREFIX + "run", run, *parts))


@lru_cache(maxsize=100)
def _keys_of_ends(run: str) -> tuple[str, ...]:
    """Return the keys that the script of `settle` is given for every end."""
    parts = ("finished", "counts", "events", "opened", "parked")
    return (run_key(run), *(run_key(run, part) for part in parts))


class RunStore:
    """The live state of all runs on one Redis server."""

    def __init__(self, client: Any) -> None:
        """Use `client`, a `redis.Redis` that decodes responses.

        It is not annotated as such because redis-py's hints leave open whether an
        answer is text or bytes, there or still to be awaited.
        """
        self.client = client
        self.leases = Leases(client)
        self._create = client.register_script(store_scripts.CREATE)
        self._open = client.register_script(store_scripts.OPEN)
        self._withdraw = client.register_script(store_scripts.WITHDRAW)
        self._settle = client.register_script(store_scripts.settle(PART_SCRIPT))
        self._park = client.register_script(store_scripts.PARK)
        self._set_running = client.register_script(store_scripts.SET_RUNNING)
        self._fans: dict[tuple[str, str], FanRecord] = {}

    # runs

    def create_run(self, run: str, record: Mapping[str, Any], expires: int) -> bool:
        """Store the run's recipe and parameters; False if the id is already taken."""
        keys = [self._key(run, "recipe"), self._key(run), WAITING_RUNS]
        args = [json.dumps(record), expires, time.time(), run]
        return bool(self._create(keys=keys, args=args))

    def submitted(self, run: str) -> float:
        """Return when the run was created, Unix time in s."""
        return float(self.client.hget(self._key(run), "submitted") or 0)

    def forget_run(self, run: str) -> None:
        """Forget a run that was created and could not be published."""
        with self.client.pipeline() as pipe:
            pipe.srem(WAITING_RUNS, run)
            pipe.delete(*self.live_keys(run))
            pipe.execute()

    def set_running(self, run: str) -> None:
        """Note that all starts of the run have been published."""
        self._set_running(keys=[self._key(run)])

    def keep_recipe(self, run: str, expires: int) -> None:
        """Keep the recipe of a run that has not ended for `expires` s more."""
        self.client.expire(self._key(run, "recipe"), expires)

    def recipe_record(self, run: str) -> dict[str, Any] | None:
        """Return what `create_run` stored, or None if it is gone."""
        text = self.client.get(self._key(run, "recipe"))
        return json.loads(text) if text else None

    def state(self, run: str) -> str | None:
        """Return the live state of the run, or None if there is none."""
        found: str | None = self.client.hget(self._key(run), "state")
        return found

    def open_count(self, run: str) -> int:
        """Return how many units of the run are under way."""
        return int(self.client.hget(self._key(run), "open") or 0)

    def cancel(self, run: str) -> None:
        """Mark the run as cancelled: its units end without doing their work."""
        self.client.hset(self._key(run), "state", "cancelled")

    def has_mark(self) -> bool:
        """Whether Redis still has what `set_mark` left: it has lost nothing since."""
        return bool(self.client.exists(MARK))

    def set_mark(self) -> None:
        """Leave a mark by which a loss of data can be told."""
        self.client.set(MARK, "kept")

    def stop_run(self, run: str, reason: str) -> None:
        """Let everything of the run end without doing its work, from now on."""
        self.client.hset(self._key(run), "stopped", reason)

    def is_stopped(self, run: str) -> bool:
        """Whether the run is cancelled, has been stopped, or is not known any more."""
        state, stopped = self.client.hmget(self._key(run), "state", "stopped")
        return state in ("cancelled", None) or stopped is not None

    def seconds_misunderstood(self, run: str) -> float:
        """Return for how long no janitor has known all tasks of the run: from now."""
        now, key = time.time(), self._key(run)
        self.client.hsetnx(key, "misunderstood", now)
        return now - float(self.client.hget(key, "misunderstood") or now)

    def note_understood(self, run: str) -> None:
        """Note that a janitor knows all tasks of the run."""
        self.client.hdel(self._key(run), "misunderstood")

    def end_run(self, run: str, state: str, expires: int) -> None:
        """Mark the run as ended and let its live state expire.

        Where dead letters wait it is kept as long as its recipe, to be gone on with.
        """
        if self.parked_count(run):
            expires = max(expires, int(self.client.ttl(self._key(run, "recipe"))))
        with self.client.pipeline() as pipe:
            pipe.hset(self._key(run), "state", state)
            pipe.srem(WAITING_RUNS, run)
            for key in self.live_keys(run):
                pipe.expire(key, expires)
            pipe.execute()

    def live_keys(self, run: str) -> list[str]:
        """Return the keys of all that is kept of the run."""
        named = self.client.smembers(self._key(run, "names"))
        parts = (*_PARTS, *named)
        return [self._key(run), *(self._key(run, part) for part in parts)]

    def waiting_runs(self) -> set[str]:
        """Return the ids of all runs that have not ended."""
        return set(self.client.smembers(WAITING_RUNS))

    def is_waiting(self, run: str) -> bool:
        """Whether the run has not ended."""
        return bool(self.client.sismember(WAITING_RUNS, run))

    # units

    def open_units(self, run: str, node: str, units: Sequence[str]) -> int:
        """Count units that are about to be published; each id is counted once."""
        keys = [self._key(run), self._key(run, "opened"), self._key(run, "counts")]
        return int(self._open(keys=keys, args=[node, *units]))

    def withdraw_units(self, run: str, node: str, units: Sequence[str]) -> int:
        """Count units no more that could not be published, unless they have ended."""
        parts = ("opened", "counts", "finished")
        keys = [self._key(run), *(self._key(run, part) for part in parts)]
        return int(self._withdraw(keys=keys, args=[node, *units]))

    def finish_units(self, run: str, endings: Sequence[Ending]) -> list[Settled]:
        """Record how units have ended, in their order; each counts once.

        Each is recorded whole or not at all, but if this fails it is not known which.

        Returns:
            How the run stood after each.
        """
        calls = [self._settle_arguments(run, ending) for ending in endings]
        if len(calls) == 1:
            answers = [self._settle(keys=calls[0][0], args=calls[0][1])]
        else:
            answers = run_together(self.client, self._settle, calls)
        return [Settled.of(answer) for answer in answers]

    def endings(self, run: str) -> Endings:
        """Return what records the ends of several units of the run in turn."""
        calls = ScriptCalls(self.client, self._settle)
        return Endings(calls, partial(self._settle_arguments, run))

    def _settle_arguments(self, run: str, ending: Ending) -> ScriptArguments:
        """Return the keys and arguments that `settle` takes for the end of a unit."""
        part, entries = ending.part, ending.entries
        gathers = (self._key(run, "gather", gather) for gather, _ in entries)
        keys = [*part.keys, *_keys_of_ends(run), *gathers]
        args = [len(part.keys), len(part.args), *part.args]
        args += [ending.unit, ending.state, ending.told(), ending.node]
        for _, entry in entries:
            args += [entry.key, entry.dump()]
        return keys, args

    def park_unit(
        self, run: str, unit: str, node: str, event: Mapping[str, Any]
    ) -> int:
        """Record that a unit waits as a dead letter; return how many are under way."""
        keys = [
            self._key(run),
            self._key(run, "parked"),
            self._key(run, "counts"),
            self._key(run, "events"),
            self._key(run, "finished"),
            self._key(run, "told"),
        ]
        args = [unit, f"{node}:parked", json.dumps(event)]
        return int(self._park(keys=keys, args=args))

    def parked_count(self, run: str) -> int:
        """Return how many units of the run wait as dead letters."""
        return int(self.client.scard(self._key(run, "parked")))

    def is_finished(self, run: str, unit: str) -> bool:
        """Whether the unit has ended before."""
        return bool(self.client.sismember(self._key(run, "finished"), unit))

    def is_opened(self, run: str, unit: str) -> bool:
        """Whether the unit has been counted and published, ended or not."""
        return bool(self.client.sismember(self._key(run, "opened"), unit))

    def counts(self, run: str) -> dict[str, dict[str, int]]:
        """Return for each node how many units are known and how they ended."""
        counts: dict[str, dict[str, int]] = {}
        for field, number in self.client.hgetall(self._key(run, "counts")).items():
            node, _, state = field.rpartition(":")
            counts.setdefault(node, {})[state] = int(number)
        return counts

    def note_spoken(self, run: str, unit: str, channel: str) -> None:
        """Note that a unit has sent on a channel for one message, in any try."""
        self.client.sadd(self._key(run, "spoken"), f"{unit}|{channel}")

    def spoken(self, run: str, unit: str, channels: Sequence[str]) -> set[str]:
        """Return those of `channels` that `note_spoken` noted for a unit."""
        key = self._key(run, "spoken")
        with self.client.pipeline(transaction=False) as pipe:
            for channel in channels:
                pipe.sismember(key, f"{unit}|{channel}")
            noted = pipe.execute()
        return {c for c, is_noted in zip(channels, noted, strict=True) if is_noted}

    def save_answer(self, run: str, unit: str, answer: Any) -> None:
        """Keep what a unit answered, for the case that it is delivered again."""
        self.client.hset(self._key(run, "answers"), unit, json.dumps(answer))

    def answer(self, run: str, unit: str) -> Any:
        """Return what `save_answer` kept, or None."""
        text = self.client.hget(self._key(run, "answers"), unit)
        return json.loads(text) if text else None

    # events

    def note_progress(self, run: str, node: str, told: Mapping[str, Any]) -> None:
        """Keep how far the program of a node is, for those who ask later."""
        with self.client.pipeline() as pipe:
            pipe.hset(self._key(run, "progress"), node, json.dumps(told))
            pipe.sadd(self._key(run, "names"), "progress")
            pipe.execute()

    def progress(self, run: str) -> dict[str, dict[str, Any]]:
        """Return what `note_progress` has kept, by node."""
        found = self.client.hgetall(self._key(run, "progress"))
        return {node: json.loads(text) for node, text in found.items()}

    def tell(self, run: str, event: Mapping[str, Any]) -> None:
        """Tell live listeners of the run."""
        self.client.xadd(self._key(run, "events"), {"e": json.dumps(event)})

    def events(
        self, run: str, since: str = "0", wait: float = 0.0, limit: int = 1000
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return events after `since` with their ids, waiting `wait` s for one."""
        block = max(1, int(wait * 1000)) if wait else None
        name = self._key(run, "events")
        answer = self.client.xread({name: since}, count=limit, block=block)
        if not answer:
            return []
        return [(ident, json.loads(fields["e"])) for ident, fields in answer[0][1]]

    # streams

    def open_fan(self, run: str, stream: str, record: FanRecord) -> None:
        """Store who emits a stream; the second time changes nothing."""
        fields = asdict(record)
        with self.client.pipeline() as pipe:
            pipe.hset(self._key(run, "fan", stream), mapping=fields)
            pipe.sadd(self._key(run, "names"), f"fan:{stream}", f"fan:{stream}:items")
            pipe.execute()

    def fan(self, run: str, stream: str) -> FanRecord:
        """Return who emits the stream; KeyError if it is not known.

        It never changes: a process asks once, not for each member.
        """
        record = self._fans.get((run, stream))
        if record is None:
            fields = self.client.hgetall(self._key(run, "fan", stream))
            record = FanRecord(**{**fields, "depth": int(fields["depth"])})
            while len(self._fans) >= KEPT_FANS:
                self._fans.pop(next(iter(self._fans)), None)
            self._fans[run, stream] = record
        return record

    def add_items(self, run: str, stream: str, items: Iterable[str]) -> None:
        """Note members of a stream that are about to be published."""
        self.client.sadd(self._key(run, "fan", stream, "items"), *items)

    def items(self, run: str, stream: str) -> set[str]:
        """Return the members of a stream that were ever published."""
        return set(self.client.smembers(self._key(run, "fan", stream, "items")))

    def item_count(self, run: str, stream: str) -> int:
        """Return how many members of a stream were ever published."""
        return int(self.client.scard(self._key(run, "fan", stream, "items")))

    # gathers

    def add_entries(
        self, run: str, gather: str, entries: Sequence[Entry] | Iterator[Entry]
    ) -> None:
        """Leave entries for a gather; what is there under the same key stays."""
        with self.client.pipeline() as pipe:
            for entry in entries:
                pipe.hsetnx(self._key(run, "gather", gather), entry.key, entry.dump())
            pipe.execute()

    def entries(self, run: str, gather: str) -> list[Entry]:
        """Return what was left for a gather."""
        found = self.client.hgetall(self._key(run, "gather", gather))
        return [Entry.load(key, text) for key, text in found.items()]

    def entry_count(self, run: str, gather: str) -> int:
        """Return how much was left for a gather."""
        return int(self.client.hlen(self._key(run, "gather", gather)))

    def await_gather(self, run: str, gather: str, record: Mapping[str, Any]) -> None:
        """Note a gather that has not run yet, for the janitor."""
        with self.client.pipeline() as pipe:
            pipe.hsetnx(self._key(run, "gathers"), gather, json.dumps(record))
            pipe.sadd(self._key(run, "names"), f"gather:{gather}", f"streams:{gather}")
            pipe.execute()

    def awaited_gathers(self, run: str) -> dict[str, dict[str, Any]]:
        """Return the gathers that have not run yet, by unit id."""
        found = self.client.hgetall(self._key(run, "gathers"))
        return {gather: json.loads(text) for gather, text in found.items()}

    def gather_ran(self, run: str, gather: str) -> None:
        """Forget an awaited gather."""
        self.client.hdel(self._key(run, "gathers"), gather)

    def note_mark(self, run: str, mark: str) -> None:
        """Note that a marker has been taken from its queue."""
        self.client.sadd(self._key(run, "marks"), mark)

    def marks(self, run: str) -> set[str]:
        """Return the markers that have been taken from their queues."""
        return set(self.client.smembers(self._key(run, "marks")))

    def note_stream(self, run: str, gather: str, stream: str, closed: bool) -> None:
        """Note for a gather that one of its streams has begun or has ended."""
        key = self._key(run, "streams", gather)
        if closed:
            self.client.hset(key, stream, "closed")
        else:
            self.client.hsetnx(key, stream, "open")

    def streams(self, run: str, gather: str) -> dict[str, bool]:
        """Return the streams that feed a gather, and whether each has ended."""
        found = self.client.hgetall(self._key(run, "streams", gather))
        return {stream: state == "closed" for stream, state in found.items()}

    _key = staticmethod(run_key)
