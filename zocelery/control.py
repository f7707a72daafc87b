"""The engine's own tasks: the end of a stream, the end of a run."""

import logging
from typing import Any

from celery import Task, shared_task

from zocelery import chords
from zocelery.canvas import FORWARD_TASK, MARK_TASK
from zocelery.context import RunContext, get_context
from zocelery.deadlines import given_up
from zocelery.deployment import current_deployment
from zocelery.open_programs import close_programs_later
from zocelery.parking import first_error, parked_problems
from zocelery.parts import stream_part
from zocelery.run_end import END_RUN_TASK, ENDING_SECONDS, ending_lease, is_idle
from zocelery.task import PASSING_ERRORS

logger = logging.getLogger(__name__)

_POLICY: dict[str, Any] = {
    "bind": True,
    "ignore_result": True,
    "autoretry_for": PASSING_ERRORS,
    "retry_backoff": 1,
    "retry_backoff_max": 60,
    "max_retries": None,
    "retry_kwargs": {"max_retries": None},
}


@shared_task(name=FORWARD_TASK, **_POLICY)
def forward(self: "Task[Any, Any]", run: str, gather: str, stream: str) -> None:
    """Let the end of a stream arrive as one part at the outer chord of a gather."""
    context = get_context(self.app, run)
    place = context.canvas.outer_place(context.store.fan(run, stream))
    chord, body = context.canvas.chord_of(gather, place)
    chords.arrive(self.app, chord, stream_part(stream, gather), body)


@shared_task(name=MARK_TASK, **_POLICY)
def mark(self: "Task[Any, Any]", run: str, mark: str) -> None:
    """Note that a marker has been taken from the queue in which it stood."""
    del self
    current_deployment().store.note_mark(run, mark)


@shared_task(name=END_RUN_TASK, **_POLICY)
def end_run(self: "Task[Any, Any]", run: str) -> None:
    """Bring a run to its end: its history, what its listeners are told, its state."""
    store = current_deployment().store
    if not store.is_waiting(run):
        return
    context = get_context(self.app, run)
    with store.leases.hold(ending_lease(run), ENDING_SECONDS) as held:
        if not held:  # somebody re-injects one of its dead letters, or died doing it
            raise self.retry(countdown=1)
        if is_idle(context, store.open_count(run) - given_up(context)):
            close_run(context)


def close_run(context: RunContext) -> None:
    """Record how a run has ended of which nothing is under way any more."""
    store, run = context.store, context.run
    state, error = run_outcome(context)
    context.history.end_run(run, state, error, store.counts(run))
    store.tell(run, {"run": run, "state": state, "error": error})
    if state != "finished":
        close_programs_later(
            store,
            run,
            "the run was cancelled" if state == "cancelled" else "the run failed",
        )
    store.end_run(run, state, context.deployment.settings.redis.expires)
    logger.info("Run %s %s", run, state)


def run_outcome(context: RunContext) -> tuple[str, str | None]:
    """Return how a run has ended ("finished", "failed", "cancelled") and why."""
    if context.store.state(context.run) == "cancelled":
        return "cancelled", None
    problems = []
    rows = context.history.run_nodes(context.run)
    for row in rows:
        handled = row["state"] == "failed" and context.recipe.nodes[row["node"]].error
        if row["state"] in ("failed", "parked") and not handled:
            problems.append(f"{row['node']}: {row['error']}")
    # a row may be of another delivery of what is parked, which has only begun
    known = {row["node"] for row in rows if row["state"] != "running"}
    problems += parked_problems(context.store, context.run, known)
    problems += _failed_fans(context, known)
    return ("failed", "; ".join(problems)) if problems else ("finished", None)


def _failed_fans(context: RunContext, known: set[str]) -> list[str]:
    """Name the nodes of which not one member succeeded and that no gather heard."""
    problems = []
    for node, counts in context.store.counts(context.run).items():
        failed = counts.get("failed", 0)
        hopeless = failed > 0 and not counts.get("done") and node not in known
        if hopeless and not context.plan.reachable_gathers(node):
            reason = first_error(context.store, context.run, node, "failed")
            problems.append(f"{node}: all {failed} failed; {reason}")
    return problems
