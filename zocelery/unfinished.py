"""Runs that are ended from outside: overdue, lost by Redis, or not understood here."""

import logging
import time

from zocelery.context import RunContext
from zocelery.deployment import Deployment
from zocelery.open_programs import close_programs_later
from zocelery.parking import parked_problems
from zocelery.run_end import ENDING_SECONDS, ending_lease

logger = logging.getLogger(__name__)
LOST = (
    "its live state in Redis is lost; 'zocelery rerun --failed RUN' goes on from what "
    "the history knows"
)


def end_lost(deployment: Deployment) -> None:
    """End the runs of the history that Redis does not know, if it has lost its data.

    It has if its mark is gone. A run is stored in Redis before it enters the history.
    """
    store = deployment.store
    if store.has_mark():
        return
    for run in deployment.history.unfinished_runs():
        if store.state(run) is None:
            end_unfinished(deployment, run, LOST)
    store.set_mark()


def is_overdue(context: RunContext) -> bool:
    """Whether the run takes longer than its deadline, if it has one."""
    deadline = context.record.get("deadline")
    if not deadline:
        return False
    return time.time() - context.store.submitted(context.run) > float(deadline)


def end_overdue(context: RunContext) -> None:
    """End a run whose deadline is over."""
    deadline = float(context.record["deadline"])
    reason = f"its deadline of {deadline:g} s is over"
    end_unfinished(context.deployment, context.run, reason)


def end_unfinished(deployment: Deployment, run: str, reason: str) -> None:
    """Record that a run has failed for `reason`, wherever it stands.

    What is under way ends without effect: of a run that Redis has lost it would count
    only what came after the loss, and take that for the whole.
    """
    deployment.store.stop_run(run, reason)
    _end_as_failed(deployment, run, reason)


def end_parked(deployment: Deployment, run: str) -> bool:
    """End a run that waits for nothing but its dead letters; False if it does not.

    For those who cannot read its recipe, and so not tell which gathers can still run:
    all are taken for waiting. The run goes on when its letters are re-injected.
    """
    store = deployment.store
    waiting = len(store.awaited_gathers(run))
    if not store.parked_count(run) or store.open_count(run) > waiting:
        return False
    with store.leases.hold(ending_lease(run), ENDING_SECONDS) as held:
        if held:
            reason = "; ".join(parked_problems(store, run))
            _end_as_failed(deployment, run, reason)
    return held


def _end_as_failed(deployment: Deployment, run: str, reason: str) -> None:
    logger.error("Run %s has failed: %s", run, reason)
    store = deployment.store
    deployment.history.end_run(run, "failed", reason, store.counts(run))
    store.tell(run, {"run": run, "state": "failed", "error": reason})
    close_programs_later(store, run, f"the run failed: {reason}")
    store.end_run(run, "failed", deployment.settings.redis.expires)
