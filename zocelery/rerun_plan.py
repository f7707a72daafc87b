"""What a re-run may take over from the run before it, and what has to run again.

A node is run again if it did not finish, if somebody asks for it, or if anything that
feeds it is run again. Members of a fan-out leave no answers in the history: a node that
emits a stream is run again, as a whole, unless every gather of that stream is reused.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from zocelery import identity
from zocelery.catalogue import ChannelKind
from zocelery.plan import ERROR_CHANNEL, Edge, Fan, Plan
from zocelery.recipe import DEFAULT_CHANNEL

ANSWERED = ("done", "reused")
"""States of a unit whose answer stands in the history."""
ENDED_WELL = (*ANSWERED, "skipped")


@dataclass(frozen=True)
class Past:
    """What the history says of the run that is run again."""

    run: str
    units: Mapping[str, Mapping[str, Any]]
    """Rows of the table `zocelery_nodes`, by unit."""
    counts: Mapping[str, Mapping[str, int]]
    """How many units of each node ended how; empty if nobody knows."""
    reused: frozenset[str] = frozenset()
    """The nodes that the run itself had taken over from another."""


@dataclass(frozen=True)
class _Step:
    """One unit of the run itself, in the past run and in the new one."""

    node: str
    old: str
    new: str
    is_expected: bool


class RerunPlan:
    """Which nodes of a recipe are run again, and which answers are reused."""

    def __init__(self, plan: Plan, past: Past, wanted: Collection[str]) -> None:
        """Work it out for a new run of `plan`.

        `wanted` are the nodes that are to be run again although they have finished.
        """
        self._plan = plan
        self._past = past
        self.again: frozenset[str] = self._with_what_follows(
            {*wanted, *self._unfinished()}
        )

    def units(self, run: str) -> dict[str, str]:
        """Return the units of the new run that are reused: new id to old id."""
        return {
            step.new: step.old
            for step in self._walk(run)
            if step.node not in self.again
            and self._past.units.get(step.old, {}).get("state") in ANSWERED
        }

    @cached_property
    def reused(self) -> tuple[str, ...]:
        """The nodes whose answers are reused, members of fan-outs included."""
        units = self.units(self._past.run)
        found = {str(self._past.units[old]["node"]) for old in units.values()}
        for node in tuple(found):
            for fan in self._plan.fans(node):
                found |= self._region(fan)
        return tuple(n for n in self._plan.recipe.nodes if n in found - self.again)

    # what did not finish

    def _unfinished(self) -> set[str]:
        found = set()
        for step in self._walk(self._past.run):
            row = self._past.units.get(step.old)
            if (step.is_expected or row) and not _ended_well(row):
                found.add(step.node)
        return found | set(self._unfinished_members())

    def _unfinished_members(self) -> Iterator[str]:
        """Yield nodes in fan-outs, heard by no gather, of which units are missing."""
        for node in self._plan.recipe.nodes:
            for fan in self._plan.fans(node):
                closing = set(self._plan.closing_gathers(fan))
                for member in self._region(fan) - closing - self._past.reused:
                    heard = self._plan.reachable_gathers(member)
                    if not heard and not self._is_complete(member):
                        yield member

    def _is_complete(self, node: str) -> bool:
        if self._plan.spec(node) is None:
            return True  # whoever serves the queue knows
        counts = self._past.counts.get(node, {})
        done = sum(counts.get(state, 0) for state in ("done", "skipped", "shed"))
        return bool(self._past.counts) and done == counts.get("total", 0)

    # what follows from it

    def _with_what_follows(self, seeds: set[str]) -> frozenset[str]:
        again, before = set(seeds), -1
        while len(again) != before:
            before = len(again)
            again |= self._plan.descendants(again)
            again |= {n for n in self._plan.recipe.nodes if self._is_needed(n, again)}
        return frozenset(again)

    def _is_needed(self, node: str, again: set[str]) -> bool:
        """Whether what runs again needs something that only `node` can send."""
        for edge in self._plan.edges[node]:
            if edge.kind is ChannelKind.STREAM:
                fan = Fan(node, edge.channel)
                if again & self._region(fan):
                    return True
            elif self._is_unknown(node, edge):
                behind = {*edge.targets, *self._plan.descendants(edge.targets)}
                if again & behind:
                    return True
        return False

    def _is_unknown(self, node: str, edge: Edge) -> bool:
        """Whether nobody knows what the finished node has sent on a channel."""
        if edge.channel == ERROR_CHANNEL or edge == self._default_edge(node):
            return False
        rows = [row for row in self._past.units.values() if row["node"] == node]
        return any(row["sent"] is None for row in rows)

    def _default_edge(self, node: str) -> Edge | None:
        return self._plan.edge(node, DEFAULT_CHANNEL)

    def _region(self, fan: Fan) -> frozenset[str]:
        """Return the nodes that run in the members of a fan-out, and its gathers."""
        closing = set(self._plan.closing_gathers(fan))
        edge = self._plan.edge(fan.node, fan.channel)
        waiting = list(edge.targets) if edge else []
        found: set[str] = set()
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                edges = () if node in closing else self._plan.edges[node]
                waiting += [target for edge in edges for target in edge.targets]
        return frozenset(found)

    # units

    def _walk(self, run: str) -> Iterator[_Step]:
        """Yield the units of the run itself, as far as the past run had come."""
        past = self._past.run
        steps = [
            _Step(
                start.node,
                identity.start_unit(past, index),
                identity.start_unit(run, index),
                is_expected=True,
            )
            for index, start in enumerate(self._plan.recipe.start)
        ]
        for gather in self._plan.scope_gathers(()):
            old, new = (identity.gather_unit(of, gather) for of in (past, run))
            steps.append(_Step(gather, old, new, is_expected=True))
        while steps:
            step = steps.pop()
            yield step
            steps += self._children(step)

    def _children(self, step: _Step) -> Iterator[_Step]:
        row = self._past.units.get(step.old)
        if row is None:
            return
        for edge in self._plan.edges[step.node]:
            if edge.kind is ChannelKind.STREAM:
                continue
            is_sent = self._is_sent(row, edge)
            for target, copy in edge.copies():
                if self._plan.is_gather(target) or self._plan.spec(target) is None:
                    continue
                old, new = (
                    identity.child_unit(unit, edge.channel, target, None, copy)
                    for unit in (step.old, step.new)
                )
                if is_sent or old in self._past.units:
                    yield _Step(target, old, new, is_sent)

    def _is_sent(self, row: Mapping[str, Any], edge: Edge) -> bool:
        if row["state"] not in ANSWERED:
            return False
        if edge == self._default_edge(row["node"]) and row["result"] is not None:
            return True
        return edge.channel in (row["sent"] or {})


def _ended_well(row: Mapping[str, Any] | None) -> bool:
    return row is not None and row["state"] in ENDED_WELL
