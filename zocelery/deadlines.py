"""Deadlines: whether a gather has waited long enough for what is under way.

A member that stands in a queue behind other work is not late: the workers are busy. No
broker says where a message stands, and to note the begin of every image would cost a
call for each. So a marker is published behind the members, into their queue and with
their priority. When a worker takes it, everything before it has begun or is lost, and
only then the time begins; any news of the members begins it afresh.
"""

import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from zocelery.context import RunContext
from zocelery.plan import Fan

OVERDUE = "overdue:"
"""Begins the mark of a gather whose deadline is over."""
MARK_AGAIN_SECONDS = 5.0
"""A marker may be lost as any message: it is sent again after so long, or longer."""


@dataclass
class _Quiet:
    """A time without news of a gather's members."""

    news: Any
    """What was known when it began."""
    queues: frozenset[str]
    """Where members may be waiting."""
    mark: str = field(default_factory=lambda: str(uuid.uuid4()))
    marked: float = 0.0
    """When the markers were last sent, on the monotonic clock."""
    since: float | None = None
    """When all of them had come back."""


class Deadlines:
    """The gathers of all runs whose sources have ended, and how long it is quiet."""

    def __init__(self) -> None:
        """Know of no gather yet."""
        self._quiet: dict[str, _Quiet] = {}

    def forget_others(self, units: Collection[str]) -> None:
        """Forget all gathers but `units`."""
        for unit in self._quiet.keys() - set(units):
            del self._quiet[unit]

    def is_over(
        self,
        context: RunContext,
        unit: str,
        gather: str,
        streams: Mapping[str, bool],
    ) -> bool:
        """Whether nothing is heard of the members for as long as the gather may wait.

        Args:
            context: the run.
            unit: the gather's unit.
            gather: its node.
            streams: what feeds it, and whether each has ended.
        """
        deadline = context.recipe.nodes[gather].deadline
        if deadline is None or not _have_ended(context, unit, gather, streams):
            return False
        nodes = _members(context, gather)
        news = _news(context, unit, nodes)
        quiet, now = self._quiet.get(unit), time.monotonic()
        if quiet is None or quiet.news != news:
            quiet = self._quiet[unit] = _Quiet(news, _queues(context, nodes))
        if quiet.since is not None:
            return now - quiet.since >= deadline
        marks = {f"{quiet.mark}:{queue}" for queue in quiet.queues}
        missing = marks - context.store.marks(context.run)
        if not missing:
            quiet.since = now
        elif now - quiet.marked >= max(deadline, MARK_AGAIN_SECONDS):
            quiet.marked = now
            for mark in missing:
                queue = mark.rpartition(":")[2]
                context.canvas.mark(queue, mark).apply_async()
        return False


def note_overdue(context: RunContext, gather: str) -> None:
    """Note that `gather` runs without those members that have not come."""
    context.store.note_mark(context.run, OVERDUE + gather)


def given_up(context: RunContext) -> int:
    """Return how many units that have not ended nobody waits for any more.

    A lost member never ends. Where the gathers that it could have reached have run
    without it, the run need not wait for it either.
    """
    store, plan = context.store, context.plan
    marks = store.marks(context.run)
    overdue = {gather for gather in plan.gathers if OVERDUE + gather in marks}
    if not overdue:
        return 0
    awaited = store.awaited_gathers(context.run).values()
    overdue -= {record["node"] for record in awaited}
    total = 0
    for node, counts in store.counts(context.run).items():
        gathers = plan.reachable_gathers(node)
        if gathers and overdue.issuperset(gathers):
            ended = sum(n for state, n in counts.items() if state != "total")
            total += counts.get("total", 0) - ended
    return total


def _have_ended(
    context: RunContext, unit: str, gather: str, streams: Mapping[str, bool]
) -> bool:
    """Whether the gather's sources have ended, so that its members are known.

    Without a source that is a stream: whether the first member has come.
    """
    if not all(streams.values()):
        return False
    records = [context.store.fan(context.run, stream) for stream in streams]
    begun = {Fan(record.node, record.channel) for record in records}
    if not begun >= context.plan.sources(gather):
        return False
    return bool(streams or context.store.entry_count(context.run, unit))


def _members(context: RunContext, gather: str) -> list[str]:
    """Return the nodes whose units the gather waits for."""
    plan = context.plan
    return [n for n in plan.recipe.nodes if gather in plan.reachable_gathers(n)]


def _news(context: RunContext, unit: str, nodes: Collection[str]) -> Any:
    """Return what changes whenever a member is published, ends or arrives."""
    counts = context.store.counts(context.run)
    arrived = context.store.entry_count(context.run, unit)
    return arrived, {node: counts.get(node) for node in nodes}


def _queues(context: RunContext, nodes: Collection[str]) -> frozenset[str]:
    """Return the queues that the nodes' own tasks are taken from."""
    specs = map(context.plan.spec, nodes)
    return frozenset(spec.queue for spec in specs if spec is not None)
