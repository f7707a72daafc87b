"""Janitor: looks again and again at gathers that have not run and at runs that wait.

It sets going what a dying worker left undone, and lets a gather whose deadline has
passed run with what is there. Any worker of `control` may be the janitor; one is.
"""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from celery import Celery

from zocelery import chords, identity
from zocelery.canvas import Place
from zocelery.context import RunContext, get_context
from zocelery.deployment import Deployment
from zocelery.errors import PermanentError
from zocelery.outbox import ask_for_end
from zocelery.plan import Fan
from zocelery.store import RunStore

logger = logging.getLogger(__name__)
LEASE = "janitor"


class Janitor:
    """Goes its rounds in a thread of a worker."""

    def __init__(self, app: Celery, deployment: Deployment) -> None:
        """Look after all runs of `deployment`."""
        self._app = app
        self._deployment = deployment
        self._interval = deployment.settings.workers.janitor_interval
        self._owner = f"{identity.host_name()}:{time.time_ns()}"
        self._ended = threading.Event()
        self._quiet_since: dict[str, tuple[int, float]] = {}

    def run(self) -> None:
        """Go a round every few seconds until `stop` is called."""
        while not self._ended.wait(self._interval):
            try:
                store = self._deployment.store
                if store.leases.acquire(LEASE, self._owner, 3 * self._interval):
                    self.round(store)
            except Exception:
                logger.exception("A round of the janitor broke off")

    def stop(self) -> None:
        """End after the round that is going on."""
        self._ended.set()

    def round(self, store: RunStore) -> None:
        """Look once at every run that has not ended."""
        awaited: set[str] = set()
        for run in store.waiting_runs():
            store.keep_recipe(run, self._deployment.settings.redis.gather_expires)
            try:
                context = get_context(self._app, run)
            except PermanentError as error:
                self._give_up(run, str(error))
                continue
            for unit, record in store.awaited_gathers(run).items():
                awaited.add(unit)
                self._look_at(context, unit, record)
            if store.open_count(run) <= 0:
                ask_for_end(context)
        for unit in self._quiet_since.keys() - awaited:
            del self._quiet_since[unit]

    def _look_at(
        self, context: RunContext, unit: str, record: Mapping[str, Any]
    ) -> None:
        gather = record["node"]
        place = Place(record["stream"], record["item"], record["depth"])
        streams = context.store.streams(context.run, unit)
        for stream in streams:
            chords.nudge(self._app, *context.canvas.stream_chord(gather, stream))
        chords.nudge(self._app, *context.canvas.chord_of(gather, place))
        known = context.store.is_finished(context.run, unit)
        if not known and self._is_overdue(context, unit, gather, streams):
            logger.warning("The deadline of %s of run %s is over", gather, context.run)
            context.canvas.gather_body(gather, place).apply_async()

    def _give_up(self, run: str, reason: str) -> None:
        """End a run whose live state has been lost."""
        logger.error("Run %s is lost: %s", run, reason)
        self._deployment.history.end_run(run, "failed", reason, {})
        expires = self._deployment.settings.redis.expires
        self._deployment.store.end_run(run, "failed", expires)

    def _is_overdue(
        self,
        context: RunContext,
        unit: str,
        gather: str,
        streams: Mapping[str, bool],
    ) -> bool:
        """Whether nothing has reached the gather for as long as it may wait.

        The time begins when all its sources have ended, or, without a source that is
        a stream, when the first member has come.
        """
        deadline = context.recipe.nodes[gather].deadline
        if deadline is None or not all(streams.values()):
            return False
        records = [context.store.fan(context.run, stream) for stream in streams]
        begun = {Fan(record.node, record.channel) for record in records}
        if not begun >= context.plan.sources(gather):
            return False
        now, count = time.monotonic(), context.store.entry_count(context.run, unit)
        if not count and not streams:
            return False
        known, since = self._quiet_since.get(unit, (-1, now))
        if known != count:
            self._quiet_since[unit] = (count, now)
            return False
        return now - since >= deadline
