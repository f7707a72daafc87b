"""Long tasks: programs that run for minutes to days.

A message for one is acknowledged as soon as its row is stored, so that no broker waits
for a program to end. A foreman adopts the row and runs the task from it.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
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
from zocelery.long_row import ROWS, LongRow
from zocelery.messages import Step
from zocelery.outbox import Outbox, check_json
from zocelery.recipe import Retry
from zocelery.registry import task_function
from zocelery.run_log import RunLog
from zocelery.task import PASSING_ERRORS, one_line, retry_pause
from zocelery.unit import Unit

logger = logging.getLogger(__name__)

RECORD_PAUSE = 2.0
CANCEL_SECONDS = 0.2
"""What a program's worker knows of a cancellation is not older than this."""


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
        self.slurm = deployment.settings.slurm
        self.timeout = self._context.recipe.nodes[row.node].timeout

    @property
    def number(self) -> int:
        """Which try this is, from 1."""
        return self._row.tries

    @property
    def kept(self) -> Mapping[str, Any]:
        """What was kept for this try, by this worker or by one that is gone."""
        return self._row.kept or {}

    # the desk

    def must_stop(self) -> bool:
        """Whether the run is cancelled, or the worker gives the task back."""
        return self._stopping.is_set() or self.is_cancelled()

    def is_cancelled(self) -> bool:
        """Whether the run is cancelled, as far as Redis can be asked."""
        with suppress(*PASSING_ERRORS):
            return self._context.is_cancelled(CANCEL_SECONDS)
        return False

    def keep(self, kept: Mapping[str, Any], *, is_away: bool) -> None:
        """Keep in the row what another worker needs to go on with this try."""
        row = replace(self._row, kept=dict(kept), is_away=is_away)
        self._insist(lambda: self._save(row))

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
        elif context.is_cancelled() and not self._row.is_away:
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
            crashes = self._row.crashes + (not self._row.is_away)
            if not self._row.kept:
                self._end_try("lost", "its worker died")
            self._save(replace(self._row, crashes=crashes, is_begun=False))

    def _begin(self, spec: TaskSpec) -> None:
        context, unit = self._context, self._unit
        tries = self._row.tries + (not self._row.kept)
        self._save(replace(self._row, tries=tries, is_begun=True))
        if not self._row.kept:
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
        goes_on = state == "stopped" and row.kept
        if not goes_on:
            row = replace(row, kept=None, is_away=False)
        self._insist(lambda: self._save(row))
        if not goes_on:
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
