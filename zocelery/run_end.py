"""The end of a run: when nothing of it can go on, and who may bring it about."""

from celery import Signature

from zocelery.context import RunContext

END_RUN_TASK = "zocelery.end_run"
"""Brings a run to its end once nothing of it is under way."""
ENDING_SECONDS = 10.0
"""The lease of a run's end is held for much less."""
MOST_BLOCKED = 100
"""While more than this is under way nobody asks whether the rest waits in vain."""


def is_idle(context: RunContext, still_open: int, parked: int | None = None) -> bool:
    """Whether nothing that can go on is under way.

    Args:
        context: the run.
        still_open: how many of its units are under way.
        parked: how many wait as dead letters; asked for if not given.
    """
    return still_open <= 0 or still_open <= _blocked_gathers(
        context, still_open, parked
    )


def _blocked_gathers(context: RunContext, still_open: int, parked: int | None) -> int:
    """Return how many gathers cannot run until a dead letter is re-injected."""
    if still_open > MOST_BLOCKED:
        return 0
    if not (context.store.parked_count(context.run) if parked is None else parked):
        return 0
    counts = context.store.counts(context.run)
    nodes = [node for node, c in counts.items() if c.get("parked", 0) > 0]
    behind = context.plan.descendants(nodes)
    awaited = context.store.awaited_gathers(context.run).values()
    return sum(record["node"] in behind for record in awaited)


def ending_lease(run: str) -> str:
    """Return the name of the lease of who ends the run, or lets it go on again."""
    return f"ending:{run}"


def ask_for_end(context: RunContext) -> None:
    """Publish the task that brings a run to its end; asking twice is harmless."""
    Signature(
        END_RUN_TASK,
        args=(context.run,),
        options={"queue": "control", "argsrepr": f"run {context.run[:8]}"},
        app=context.app,
    ).apply_async()
