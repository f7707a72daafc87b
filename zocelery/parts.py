"""Parts: the ids under which a unit, or what it feeds, arrives at a gather.

They follow from the recipe alone. A part is paid by the unit that reaches the gather,
or in its stead by the one that knows that it will never run: under the same id, so
that it counts once whoever pays, and however often.
"""

from collections.abc import Iterator

from zocelery import identity
from zocelery.catalogue import ChannelKind
from zocelery.plan import Edge, Fan, Plan


def owed_parts(plan: Plan, unit: str, node: str, gather: str) -> Iterator[str]:
    """Yield the ids of all parts that the unit `unit` of `node` owes to `gather`."""
    yield from own_parts(plan, unit, node, gather)
    for edge in plan.edges[node]:
        if edge.kind is ChannelKind.STREAM:
            if gather in plan.closing_gathers(Fan(node, edge.channel)):
                yield stream_part(identity.stream_id(unit, edge.channel), gather)
        else:
            yield from passed_on_parts(plan, unit, edge, gather)


def own_parts(plan: Plan, unit: str, node: str, gather: str) -> Iterator[str]:
    """Yield the parts by which the unit itself feeds the gather on once channels.

    The first is the unit's own id: the message of the unit carries it.
    """
    number = 0
    for edge in plan.edges[node]:
        if edge.kind is ChannelKind.STREAM:
            continue
        for target in edge.targets:
            if target == gather:
                first = number == 0 and plan.carried_gather(node) == gather
                yield unit if first else identity.part_id(unit, gather, number)
                number += 1


def passed_on_parts(plan: Plan, unit: str, edge: Edge, gather: str) -> Iterator[str]:
    """Yield the parts that the nodes fed by a once channel of the unit owe."""
    for target, copy in edge.copies():
        if plan.parts(target, gather) and not plan.is_gather(target):
            child = identity.child_unit(unit, edge.channel, target, None, copy)
            yield from owed_parts(plan, child, target, gather)


def stream_part(stream: str, gather: str) -> str:
    """Return the part as which a whole stream arrives at an outer gather."""
    return identity.part_id(stream, gather, 0)
