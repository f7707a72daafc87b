"""Janitor: looks again and again at gathers that have not run and at runs that wait.

It sets going what a dying worker left undone, and lets a gather whose deadline has
passed run with what is there. Any worker of `control` may be the janitor; one is.
"""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from celery import Celery, Signature

from zocelery import chords, identity
from zocelery.canvas import Place
from zocelery.context import RunContext, get_context
from zocelery.deadlines import Deadlines, given_up, note_overdue
from zocelery.deployment import Deployment
from zocelery.errors import NewerVersionError, PermanentError, RecipeError
from zocelery.publication import begin_run
from zocelery.retention import prune_if_due
from zocelery.run_end import ask_for_end, is_idle
from zocelery.store import RunStore
from zocelery.unfinished import (
    end_lost,
    end_overdue,
    end_parked,
    end_unfinished,
    is_overdue,
)

logger = logging.getLogger(__name__)
LEASE = "janitor"
FIRE_AGAIN_SECONDS = 10.0
"""A gather that has been set going so long ago and has not ended is set going again."""
MISUNDERSTOOD_SECONDS = 60.0
"""In this time every worker of `control` has had its turn to be the janitor."""
SUBMISSION_SECONDS = 30.0
"""No submitter that lives takes longer to publish a run."""


class Janitor:
    """Goes its rounds in a thread of a worker."""

    def __init__(self, app: Celery, deployment: Deployment) -> None:
        """Look after all runs of `deployment`."""
        self._app = app
        self._deployment = deployment
        self._interval = deployment.settings.workers.janitor_interval
        self._owner = f"{identity.host_name()}:{time.time_ns()}"
        self._ended = threading.Event()
        self._deadlines = Deadlines()
        self._fired: dict[str, tuple[float, float]] = {}
        self._is_puzzled = False

    def run(self) -> None:
        """Go a round every few seconds until `stop` is called."""
        while not self._ended.wait(self._interval):
            try:
                store = self._deployment.store
                if store.leases.acquire(LEASE, self._owner, 3 * self._interval):
                    self.round(store)
                    prune_if_due(self._app, self._deployment)
                    if self._is_puzzled:
                        store.leases.release(LEASE, self._owner)
                        self._ended.wait(3 * self._interval)
            except Exception:
                logger.exception("A round of the janitor broke off")

    def stop(self) -> None:
        """End after the round that is going on."""
        self._ended.set()

    def round(self, store: RunStore) -> None:
        """Look once at every run that has not ended."""
        awaited: set[str] = set()
        self._is_puzzled = False
        waiting = store.waiting_runs()
        for run in waiting:
            try:
                awaited |= self._look_after(store, run)
            except Exception:  # one run must not keep it from the others
                logger.exception("The janitor could not look after run %s", run)
        end_lost(self._deployment)
        self._deadlines.forget_others(awaited)
        recent = time.monotonic() - FIRE_AGAIN_SECONDS
        self._fired = {c: due for c, due in self._fired.items() if due[0] > recent}

    def _look_after(self, store: RunStore, run: str) -> set[str]:
        """Set going what stands still in a run; return the gathers that it awaits."""
        store.keep_recipe(run, self._deployment.settings.redis.gather_expires)
        try:
            context = get_context(self._app, run)
        except NewerVersionError:
            return set()
        except RecipeError as error:
            self._leave_to_others(store, run, error)
            return set()
        except PermanentError as error:
            end_unfinished(self._deployment, run, str(error))
            return set()
        store.note_understood(run)
        if is_overdue(context):
            end_overdue(context)
            return set()
        if store.state(run) == "submitting":
            self._begin(context)
            return set()
        awaited = store.awaited_gathers(run)
        for unit, record in awaited.items():
            self._look_at(context, unit, record)
        if is_idle(context, store.open_count(run) - given_up(context)):
            ask_for_end(context)
        return set(awaited)

    def _leave_to_others(self, store: RunStore, run: str, error: RecipeError) -> None:
        """Leave a run with a task that is not installed here to who has it.

        After this round another worker may be the janitor. If none knows the task for
        long, the run has failed; at once if nothing but dead letters is left of it.
        """
        self._is_puzzled = True
        logger.warning("Run %s cannot be looked after here: %s", run, error)
        seconds = store.seconds_misunderstood(run)
        if not end_parked(self._deployment, run) and seconds > MISUNDERSTOOD_SECONDS:
            end_unfinished(self._deployment, run, f"no worker knows its tasks: {error}")

    def _look_at(
        self, context: RunContext, unit: str, record: Mapping[str, Any]
    ) -> None:
        gather = record["node"]
        place = Place(record["stream"], record["item"], record["depth"])
        streams = context.store.streams(context.run, unit)
        for stream, closed in streams.items():
            chord, body = context.canvas.stream_chord(gather, stream)
            chords.nudge(self._app, chord, body)
            if closed:
                self._fire_again(context, unit, chord, body)
        chord, body = context.canvas.chord_of(gather, place)
        chords.nudge(self._app, chord, body)
        self._fire_again(context, unit, chord, body)
        known = context.store.is_finished(context.run, unit)
        if not known and self._deadlines.is_over(context, unit, gather, streams):
            logger.warning("The deadline of %s of run %s is over", gather, context.run)
            note_overdue(context, gather)
            context.canvas.gather_body(gather, place).apply_async()

    def _fire_again(
        self, context: RunContext, unit: str, chord: str, body: Signature[Any]
    ) -> None:
        """Publish the body of a chord once more if it seems to be lost.

        Celery gives a chord up whose body it cannot publish. A gather may be published
        again, it runs once; ever more rarely, for it may only stand in a queue.
        """
        if chords.is_pending(self._app, chord) or context.store.leases.is_held(unit):
            self._fired.pop(chord, None)
            return
        now = time.monotonic()
        again, pause = self._fired.setdefault(
            chord, (now + FIRE_AGAIN_SECONDS, 2 * FIRE_AGAIN_SECONDS)
        )
        if now > again:
            logger.warning("The body of chord %s is published again", chord)
            body.apply_async()
            self._fired[chord] = now + pause, 2 * pause

    def _begin(self, context: RunContext) -> None:
        """Publish a run whose submitter was killed half way."""
        age = time.time() - context.store.submitted(context.run)
        if age > SUBMISSION_SECONDS:
            logger.warning("Publishing run %s in its submitter's stead", context.run)
            begin_run(context)
