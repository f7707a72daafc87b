"""Runs that are ended from outside: overdue ones, and those that Redis has lost."""

import logging
import time

from zocelery.context import RunContext
from zocelery.deployment import Deployment
from zocelery.open_programs import close_programs_later

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
    logger.error("Run %s has failed: %s", run, reason)
    store = deployment.store
    store.stop_run(run, reason)
    deployment.history.end_run(run, "failed", reason, store.counts(run))
    store.tell(run, {"run": run, "state": "failed", "error": reason})
    close_programs_later(store, run, f"the run failed: {reason}")
    store.end_run(run, "failed", deployment.settings.redis.expires)
