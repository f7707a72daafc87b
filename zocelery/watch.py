"""Watches: what waits for hours holds a stored row and a lease, not a broker message.

A message for a watch task is acknowledged as soon as its row is stored. Any worker of
the queue `watch` adopts a row whose lease has lapsed, goes on from the state that was
stored last, and repeats at most what was sent since: with the same ids.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from celery import Celery
from redis.exceptions import RedisError

from zocelery import identity
from zocelery.canvas import Place
from zocelery.context import RunContext, get_context
from zocelery.deployment import Deployment
from zocelery.errors import PermanentError, UserError
from zocelery.execution import end_unit, make_step, start_try
from zocelery.flow import has_room
from zocelery.logs import log_context
from zocelery.messages import Burst, Emission
from zocelery.outbox import Outbox
from zocelery.pauses import Pauses
from zocelery.registry import task_function
from zocelery.store import RunStore
from zocelery.task import PASSING_ERRORS
from zocelery.unit import Unit
from zocelery.watch_row import ROWS, WAKE, WatchRow

logger = logging.getLogger(__name__)

SHORTEST_WAIT, LONGEST_WAIT = 0.05, 1.0
"""Seconds between two looks whether a run has room for more members."""
MOST_TRIES = 5
"""A watch that fails this often with an unexpected error is given up."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A watch that runs in this process."""

    thread: threading.Thread
    ended: threading.Event


class Keeper:
    """Runs the watches that this worker has adopted, each in a thread of its own."""

    def __init__(self, app: Celery, deployment: Deployment, most: int = 200) -> None:
        """Keep at most `most` watches at once."""
        self._app = app
        self._deployment = deployment
        self._most = most
        self._beamline = deployment.settings.workers.beamline
        self._owner = f"{identity.host_name()}:{time.time_ns()}"
        self._kept: dict[str, _Kept] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        """Adopt and keep watches until `stop` is called."""
        store = self._deployment.store
        lease = self._deployment.settings.workers.watch_lease
        next_look = 0.0
        while not self._ended.is_set():
            try:
                woken = store.client.brpop([WAKE], timeout=1)
                if woken or time.monotonic() >= next_look:
                    self._adopt(store, lease)
                    next_look = time.monotonic() + lease / 4
            except Exception:
                logger.exception("The keeper of watches could not look for work")
                self._ended.wait(2.0)

    def stop(self) -> None:
        """Let all watches go; others adopt them when their leases have lapsed."""
        self._ended.set()
        store = self._deployment.store
        for kept in list(self._kept.values()):
            kept.ended.set()
        for unit, kept in list(self._kept.items()):
            kept.thread.join(timeout=2.0)
            if not kept.thread.is_alive():
                with suppress(RedisError):  # the lease lapses by itself
                    store.leases.release(f"watch:{unit}", self._owner)
        if self._kept:
            with suppress(RedisError):
                store.client.lpush(WAKE, "")

    def _adopt(self, store: RunStore, lease: float) -> None:
        """Renew the leases of what is kept; take every row that nobody keeps."""
        self._kept = {u: k for u, k in self._kept.items() if k.thread.is_alive()}
        paused = Pauses(store.client).paused(self._beamline)
        most = 0 if "watch" in paused else self._most
        for unit, text in store.client.hgetall(ROWS).items():
            if unit not in self._kept and len(self._kept) >= most:
                continue
            ours = store.leases.acquire(f"watch:{unit}", self._owner, lease)
            if unit in self._kept and not ours:  # it has lapsed: somebody else has it
                self._kept.pop(unit).ended.set()
            elif unit not in self._kept and ours:
                self._begin(unit, text)

    def _begin(self, unit: str, text: str) -> None:
        try:
            row = WatchRow.load(text)
        except (ValueError, KeyError, TypeError):
            logger.exception("The row of watch %s cannot be read", unit)
            return
        ended = threading.Event()
        thread = threading.Thread(
            target=self._keep, args=(row, ended), name=f"watch {row.node}", daemon=True
        )
        self._kept[unit] = _Kept(thread, ended)
        thread.start()

    def _keep(self, row: WatchRow, ended: threading.Event) -> None:
        with log_context(run=row.run, node=row.node, item=row.item):
            try:
                Watch(self._app, self._deployment, row, ended).run()
            except PermanentError:
                logger.exception("The watch can never run; it is forgotten")
                self._deployment.store.client.hdel(ROWS, row.unit)
            except Exception:
                logger.exception("The watch broke off; it is adopted again")
                ended.wait(1.0)
                with suppress(RedisError):  # the lease lapses by itself
                    leases = self._deployment.store.leases
                    leases.release(f"watch:{row.unit}", self._owner)


class Watch:
    """One watch: its bursts are sent, its state is stored, its end is recorded."""

    def __init__(
        self, app: Celery, deployment: Deployment, row: WatchRow, ended: threading.Event
    ) -> None:
        """Go on with the watch in `row` until its end or until `ended` is set."""
        self._store = deployment.store
        self._row = row
        self._ended = ended
        self._context: RunContext = get_context(app, row.run)
        place = Place(row.stream, row.item, row.depth)
        self._unit = Unit(row.unit, row.node, place)
        self._outbox = Outbox(self._context, self._unit, spoken=row.sent)

    def run(self) -> None:
        """Watch until there is nothing more to see."""
        context, unit = self._context, self._unit
        spec = context.plan.spec(unit.node)
        number = self._row.tries + 1
        if spec is None or context.store.is_finished(context.run, unit.id):
            self._forget()
            return
        self._save(replace(self._row, tries=number))
        start_try(context, unit, spec, number)
        self._outbox.open_fans()
        try:
            ended = self._follow()
        except PASSING_ERRORS:  # a server is away: that is no failure of the watch
            self._save(replace(self._row, tries=self._row.tries - 1))
            raise
        except (PermanentError, UserError) as error:
            self._give_up(error, number)
        except Exception as error:
            if number < MOST_TRIES:
                raise
            self._give_up(error, number)
        else:
            if ended:
                self._outbox.close_fans()  # its gathers need not wait for the history
                state = "cancelled" if context.is_cancelled() else "done"
                end_unit(context, unit, self._outbox, number, state)
                self._forget()

    def _follow(self) -> bool:
        """Send burst after burst; False if the worker stops before the watch ends."""
        context = self._context
        step = make_step(context, self._unit, self._outbox, self._row.payload)
        spec = context.plan.spec(self._unit.node)
        bursts: Iterator[Burst] = task_function(spec)(step, dict(self._row.state))
        for burst in bursts:
            looked = time.monotonic()
            if burst.emissions and not self._wait_for_room():
                return False
            self._send(burst)
            if context.is_cancelled():
                return True
            pause = looked + burst.pause - time.monotonic()
            if self._ended.wait(pause) if pause > 0 else self._ended.is_set():
                return False
        return True

    def _wait_for_room(self) -> bool:
        """Wait while too much of the run is under way; False if the worker stops.

        What is not sent now is seen again by whoever takes the watch over.
        """
        context, pause = self._context, SHORTEST_WAIT
        while not has_room(context):
            if context.is_cancelled():
                return True
            if self._ended.wait(pause):
                return False
            pause = min(2 * pause, LONGEST_WAIT)
        return True

    def _send(self, burst: Burst) -> None:
        streams: dict[str, list[Emission]] = {}
        for emission in burst.emissions:
            if emission.item is None:
                self._outbox.send(emission.channel, emission.payload)
            else:
                streams.setdefault(emission.channel, []).append(emission)
        for channel, emissions in streams.items():
            self._outbox.send_members(channel, emissions)
        if burst.emissions or burst.state != self._row.state:
            self._outbox.flush()
            spoken = tuple(sorted(self._outbox.spoken))
            state = dict(burst.state)
            self._save(replace(self._row, state=state, sent=spoken, tries=0))
        if burst.progress is not None and burst.emissions:
            seen, expected = burst.progress
            event = {"node": self._unit.node, "seen": seen, "expected": expected}
            self._store.tell(self._row.run, {**event, "state": "progress"})

    def _give_up(self, error: Exception, number: int) -> None:
        text = " ".join(str(error).split()) or type(error).__name__
        logger.error("The watch failed: %s", text)
        told = {"node": self._unit.node, "item": self._unit.place.item, "error": text}
        self._outbox.send_error({**told, "payload": self._row.payload})
        self._outbox.leave_error(text)
        end_unit(self._context, self._unit, self._outbox, number, "failed", error=text)
        self._forget()

    def _save(self, row: WatchRow) -> None:
        self._row = row
        self._store.client.hset(ROWS, row.unit, row.dump())

    def _forget(self) -> None:
        self._store.client.hdel(ROWS, self._row.unit)
