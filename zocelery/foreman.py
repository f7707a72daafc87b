"""Foremen: in workers of `wrappers` they adopt long tasks, one for each slot.

A foreman holds a lease of each task that it has begun. If its worker dies, so do its
programs; the lease lapses and another foreman begins again.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from celery import Celery

from zocelery import identity
from zocelery.deployment import Deployment
from zocelery.errors import PermanentError
from zocelery.logs import log_context
from zocelery.long_row import ROWS, WAKE, LongRow, wake_foreman
from zocelery.long_task import RECORD_PAUSE, LongTask
from zocelery.pauses import Pauses
from zocelery.registry import current_catalogue
from zocelery.store import RunStore
from zocelery.task import PASSING_ERRORS

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
END_SECONDS = 10.0
"""A program that is ended needs less than this, beside its grace."""


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
        self._unreadable: set[str] = set()
        self._ended = threading.Event()
        self._idle = threading.Event()
        self._freed = threading.Event()

    def run(self) -> None:
        """Adopt and run long tasks until `stop` is called."""
        self._warm_up()
        next_renewal = 0.0
        while not self._ended.is_set():
            try:
                store = self._deployment.store
                self._wait_for_work(store)
                if time.monotonic() >= next_renewal:
                    self._renew(store)
                    next_renewal = time.monotonic() + self._lease / 4
                self._adopt(store)
            except Exception:
                logger.exception("The foreman could not look for work")
                self._ended.wait(2.0)
        self._idle.set()

    def _warm_up(self) -> None:
        """Import and open what the first long task would have to wait for."""
        try:
            current_catalogue()
            _ = self._deployment.history
            with self._app.producer_or_acquire() as producer:
                producer.connection.ensure_connection(max_retries=1)
        except Exception as error:  # whoever needs it says so then
            logger.info("The foreman begins without its servers: %s", error)

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
        all_begun = list(self._begun.values())
        for begun in all_begun:
            begun.stopping.set()
        for begun in all_begun:
            begun.thread.join(timeout=settings.grace + END_SECONDS)
        with suppress(*PASSING_ERRORS):
            wake_foreman(store)

    def _wait_for_work(self, store: RunStore) -> None:
        """Wait a while for a call, or for a slot: a call is left to who has one."""
        if len(self._running()) < self._slots:
            store.client.brpop([WAKE], timeout=LOOK_SECONDS)
        elif self._freed.wait(LOOK_SECONDS):
            self._freed.clear()

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
        for row in sorted(self._rows(store), key=lambda row: row.order):
            if row.unit in running or row.not_before > time.time():
                continue
            full = len(running) >= slots
            if full and store.state(row.run) != "cancelled":
                continue
            if store.leases.acquire(f"long:{row.unit}", self._owner, self._lease):
                self._begin(store, row.unit)

    def _rows(self, store: RunStore) -> Iterator[LongRow]:
        """Yield all rows; one that cannot be read is told once, and left to others."""
        for unit, text in store.client.hgetall(ROWS).items():
            try:
                yield LongRow.load(text)
            except (ValueError, KeyError, TypeError):
                if unit not in self._unreadable:
                    logger.exception("The row of long task %s cannot be read", unit)
                    self._unreadable.add(unit)

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
                    self._freed.set()
                wake_foreman(store)
