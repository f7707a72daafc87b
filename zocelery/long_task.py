"""Long tasks: programs that run for minutes to days, at most one per slot of a worker.

A message for one is acknowledged as soon as its row is stored, so that no broker waits
for a program to end. A foreman in each worker of the queue `wrappers` adopts rows, as
many as the worker has slots, and holds a lease of each. If the worker dies, so do its
programs; the lease lapses and another foreman begins again.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from celery import Celery

from zocelery import identity
from zocelery.canvas import Place
from zocelery.catalogue import TaskSpec
from zocelery.context import RunContext, get_context
from zocelery.deployment import Deployment
from zocelery.errors import (
    NotYetError,
    PermanentError,
    ProgramError,
    StoppedError,
    TemporaryError,
)
from zocelery.execution import end_gather, end_unit, make_step, start_try
from zocelery.gather import NothingReachedError
from zocelery.logs import log_context
from zocelery.long_row import ROWS, WAKE, LongRow, wake_foreman
from zocelery.messages import Step
from zocelery.outbox import Outbox, check_json
from zocelery.pauses import Pauses
from zocelery.recipe import Retry
from zocelery.registry import task_function
from zocelery.run_log import RunLog
from zocelery.store import RunStore
from zocelery.task import PASSING_ERRORS, one_line, retry_pause
from zocelery.unit import Unit

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
END_SECONDS = 10.0
"""A program that is ended needs less than this, beside its grace."""
RECORD_PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class _Begun:
    """A long task that runs in this process."""

    thread: threading.Thread
    stopping: threading.Event
    is_over: threading.Event


class Foreman:
    """Runs the long tasks that this worker has adopted, each in a thread of its own."""

    def __init__(self, app: Celery, deployment: Deployment, slots: int) -> None:
        """Run at most `slots` long tasks at once."""
        self._app = app
        self._deployment = deployment
        self._slots = slots
        self._owner = f"{identity.host_name()}:{time.time_ns()}"
        self._lease = deployment.settings.workers.task_lease
        self._beamline = deployment.settings.workers.beamline
        self._begun: dict[str, _Begun] = {}
        self._ended = threading.Event()
        self._idle = threading.Event()

    def run(self) -> None:
        """Adopt and run long tasks until `stop` is called."""
        next_renewal = 0.0
        while not self._ended.is_set():
            try:
                store = self._deployment.store
                store.client.brpop([WAKE], timeout=LOOK_SECONDS)
                if time.monotonic() >= next_renewal:
                    self._renew(store)
                    next_renewal = time.monotonic() + self._lease / 4
                self._adopt(store)
            except Exception:
                logger.exception("The foreman could not look for work")
                self._ended.wait(2.0)
        self._idle.set()

    def stop(self) -> None:
        """Wait for programs as long as is configured; give back what has not ended."""
        self._ended.set()
        settings = self._deployment.settings.wrappers
        self._idle.wait(2 * LOOK_SECONDS)
        store, give_up = self._deployment.store, time.monotonic() + settings.stop_wait
        while self._running() and time.monotonic() < give_up:
            time.sleep(min(LOOK_SECONDS, self._lease / 4))
            with suppress(*PASSING_ERRORS):
                self._renew(store)
        for begun in self._begun.values():
            begun.stopping.set()
        for begun in self._begun.values():
            begun.thread.join(timeout=settings.grace + END_SECONDS)
        with suppress(*PASSING_ERRORS):
            wake_foreman(store)

    def _running(self) -> dict[str, _Begun]:
        self._begun = {u: b for u, b in self._begun.items() if not b.is_over.is_set()}
        return self._begun

    def _renew(self, store: RunStore) -> None:
        """Hold the leases of what runs; end what somebody else has taken over."""
        for unit, begun in self._running().items():
            if not store.leases.acquire(f"long:{unit}", self._owner, self._lease):
                logger.error("The lease of long task %s has lapsed", unit)
                begun.stopping.set()

    def _adopt(self, store: RunStore) -> None:
        """Begin what nobody runs, first come first served, while there are slots.

        What has been cancelled needs no slot.
        """
        running = self._running()
        paused = Pauses(store.client).paused(self._beamline)
        slots = 0 if "wrappers" in paused else self._slots
        rows = [LongRow.load(text) for text in store.client.hvals(ROWS)]
        for row in sorted(rows, key=lambda row: row.order):
            if row.unit in running or row.not_before > time.time():
                continue
            full = len(running) >= slots
            if full and store.state(row.run) != "cancelled":
                continue
            if store.leases.acquire(f"long:{row.unit}", self._owner, self._lease):
                self._begin(store, row.unit)

    def _begin(self, store: RunStore, unit: str) -> None:
        text = store.client.hget(ROWS, unit)  # it may have changed before the lease
        if text is None:
            store.leases.release(f"long:{unit}", self._owner)
            return
        row, begun = LongRow.load(text), (threading.Event(), threading.Event())
        thread = threading.Thread(
            target=self._work,
            args=(row, *begun),
            name=f"long {row.node}",
            daemon=True,
        )
        self._begun[unit] = _Begun(thread, *begun)
        thread.start()

    def _work(
        self, row: LongRow, stopping: threading.Event, is_over: threading.Event
    ) -> None:
        store = self._deployment.store
        with log_context(run=row.run, node=row.node, item=row.item):
            try:
                LongTask(self._app, self._deployment, row, stopping).run()
            except PermanentError:
                logger.exception("The long task can never run; it is forgotten")
                store.client.hdel(ROWS, row.unit)
            except Exception:
                logger.exception("The long task broke off; it is begun again")
                stopping.wait(RECORD_PAUSE)
            finally:
                try:
                    store.leases.release(f"long:{row.unit}", self._owner)
                finally:
                    is_over.set()  # before others are woken: its slot is free
                wake_foreman(store)


class LongTask:
    """One long task: begun, ended, recorded; and the desk of its function."""

    def __init__(
        self,
        app: Celery,
        deployment: Deployment,
        row: LongRow,
        stopping: threading.Event,
    ) -> None:
        """Run the task in `row` until its end or until `stopping` is set."""
        self._store = deployment.store
        self._row = row
        self._stopping = stopping
        self._context: RunContext = get_context(app, row.run)
        place = Place(row.stream, row.item, row.depth)
        self._unit = Unit(row.unit, row.node, place)
        self._outbox = Outbox(self._context, self._unit)
        self._log = RunLog(deployment.store.client, row.run)
        self.unit = row.unit
        self.settings = deployment.settings.wrappers
        self.timeout = self._context.recipe.nodes[row.node].timeout

    @property
    def number(self) -> int:
        """Which try this is, from 1."""
        return self._row.tries

    # the desk

    def must_stop(self) -> bool:
        """Whether the run is cancelled, or the worker gives the task back."""
        if self._stopping.is_set():
            return True
        with suppress(*PASSING_ERRORS):
            return self._context.is_cancelled()
        return False

    def tell_progress(
        self, message: str, seen: int = 0, expected: int | None = None
    ) -> None:
        """Tell those who watch the run how far it is."""
        told = {"seen": seen, "expected": expected, "message": message}
        event = {"node": self._unit.node, "item": self._unit.place.item, **told}
        with suppress(*PASSING_ERRORS):
            self._store.note_progress(self._row.run, self._unit.node, told)
            self._store.tell(self._row.run, {**event, "state": "progress"})

    def write_log(self, text: str) -> None:
        """Show those who watch the run what a program has printed."""
        with suppress(*PASSING_ERRORS):
            self._log.write(self._unit.node, self._unit.place.item, text)

    def record_program(self, position: int, columns: Mapping[str, Any]) -> None:
        """Write to the history how a program is."""
        where = {"run": self._row.run, "unit": self.unit, "number": self.number}
        place = {"node": self._unit.node, "item": self._unit.place.item}
        row = {**where, **place, "position": position, "host": identity.host_name()}
        with suppress(TemporaryError):
            self._context.history.record_program({**row, **columns})

    # its life

    def run(self) -> None:
        """Work until the task has ended, or has to be begun again later."""
        context, unit = self._context, self._unit
        spec = context.plan.spec(unit.node)
        if spec is None or context.store.is_finished(context.run, unit.id):
            self._forget()
        elif context.is_cancelled():
            self._end_as_cancelled()
        else:
            self._note_crash()
            limit = context.deployment.settings.workers.delivery_limit
            if self._row.crashes >= limit:
                times = f"its worker died {limit} times while running it"
                self._give_up(PermanentError(times))
            else:
                self._begin(spec)

    def _note_crash(self) -> None:
        if self._row.is_begun:
            crashes = self._row.crashes + 1
            self._end_try("lost", "its worker died")
            self._save(replace(self._row, crashes=crashes, is_begun=False))

    def _begin(self, spec: TaskSpec) -> None:
        context, unit = self._context, self._unit
        self._save(replace(self._row, tries=self._row.tries + 1, is_begun=True))
        start_try(context, unit, spec, self.number)
        self._outbox.open_fans()
        try:
            step = make_step(context, unit, self._outbox, self._row.payload)
        except NothingReachedError:
            context.store.gather_ran(context.run, unit.id)
            self._end("skipped")
            return
        try:
            answer = task_function(spec)(step, self)
            check_json(answer, unit.node)
        except StoppedError:
            self._end_early()
        except NotYetError as error:
            self._put_back("waiting", one_line(error), error.pause)
        except PASSING_ERRORS as error:
            self._try_again(error)
        except Exception as error:
            self._give_up(error)
        else:
            self._succeed(step, answer)

    def _succeed(self, step: Step, answer: Any) -> None:
        def _record() -> None:
            spoken = set(self._outbox.spoken)
            try:
                if answer is not None:
                    self._outbox.answer(answer)
                if self._context.plan.is_gather(self._unit.node):
                    end_gather(self._context, self._unit, step)
            except PASSING_ERRORS:
                self._outbox.spoken.clear()
                self._outbox.spoken.update(spoken)
                raise

        self._insist(_record)
        self._end("done", answer)

    def _try_again(self, error: Exception) -> None:
        policy = self._context.recipe.nodes[self._unit.node].retry or Retry()
        failures = self._row.failures + 1
        if failures >= policy.attempts:
            self._give_up(error)
            return
        pause = retry_pause(policy, failures - 1)
        logger.warning("Try %d failed, next in %d s: %s", self.number, pause, error)
        self._row = replace(self._row, failures=failures)
        self._put_back("retry", one_line(error), pause)

    def _end_early(self) -> None:
        if self._context.is_cancelled():
            self._end_as_cancelled()
        else:
            self._put_back("stopped", "its worker was told to stop", 0.0)

    def _put_back(self, state: str, reason: str, pause: float) -> None:
        """Let any worker begin the task again, after `pause` s."""
        later = time.time() + pause
        row = replace(self._row, is_begun=False, not_before=later)
        self._insist(lambda: self._save(row))
        self._end_try(state, reason)

    def _end_try(self, state: str, reason: str) -> None:
        if not self._unit.place.stream:
            with suppress(TemporaryError):
                history, run = self._context.history, self._row.run
                history.end_try(run, self.unit, self._row.tries, state, reason)

    def _end_as_cancelled(self) -> None:
        if self._context.plan.is_gather(self._unit.node):
            self._store.gather_ran(self._row.run, self.unit)
        self._end("cancelled")

    def _give_up(self, error: Exception) -> None:
        text = one_line(error)
        logger.error("The long task failed: %s", text)
        details = error.details if isinstance(error, ProgramError) else {}
        told = {"node": self._unit.node, "item": self._unit.place.item, "error": text}

        def _record() -> None:
            for channel in ("failure", "completed"):
                if channel not in self._outbox.spoken:
                    ended = {**details, **told, "ok": False, "message": text}
                    self._outbox.send(channel, ended)
            self._outbox.send_error({**told, "payload": self._row.payload})
            if self._context.plan.is_gather(self._unit.node):
                self._store.gather_ran(self._row.run, self.unit)

        self._insist(_record)
        self._outbox.leave_error(text)
        self._end("failed", error=text)

    def _end(self, state: str, answer: Any = None, error: str | None = None) -> None:
        context, unit, outbox = self._context, self._unit, self._outbox
        self._insist(
            lambda: end_unit(context, unit, outbox, self.number, state, answer, error)
        )
        self._insist(self._forget)

    def _insist(self, record: Callable[[], None]) -> None:
        """Record what hours of work have given, however long a server is away."""
        while True:
            try:
                record()
            except PASSING_ERRORS as error:
                if self._stopping.wait(RECORD_PAUSE):
                    raise
                logger.warning("Trying again to record the end: %s", error)
            else:
                return

    def _save(self, row: LongRow) -> None:
        self._store.client.hset(ROWS, row.unit, row.dump())
        self._row = row

    def _forget(self) -> None:
        self._store.client.hdel(ROWS, self.unit)
