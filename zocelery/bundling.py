"""Bundling: several members of a fan-out travel in one message, where that pays.

A message costs a worker more than a millisecond, whatever is in it. Where so many
members of milliseconds are sent at once that every slot has several of them to do
anyway, a message brings more than one. Each is a unit of its own all the same: it ends,
fails, is tried again and is told of by itself.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from celery import Signature

from zocelery.canvas import Place
from zocelery.confirms import confirmed_together
from zocelery.context import RunContext
from zocelery.flow import slots

TURNS = 4
"""Messages that each slot gets at least of members sent at once: all slots have done
their last of them at about the same time."""
FEWEST = 4
"""Members: for less than this a message is not worth taking apart in case of need."""
LONGEST_BUNDLE = 20_000
"""Characters of JSON: members with much to say travel alone."""


def publish_members(
    context: RunContext,
    node: str,
    units: Mapping[str, Any],
    places: Mapping[str, Place],
) -> None:
    """Publish what runs a node on members of one stream; see `signatures`.

    Raises:
        Exception: some may be published, some not: all have to be published again.
    """
    made = list(signatures(context, node, units, places))
    acquired = context.app.producer_pool.acquire(block=True)
    with acquired as producer, confirmed_together(producer):
        for signature in made:
            signature.apply_async(producer=producer)


def signatures(
    context: RunContext,
    node: str,
    units: Mapping[str, Any],
    places: Mapping[str, Place],
) -> Iterator[Signature[Any]]:
    """Yield what runs a node on members of one stream, in their order.

    Args:
        context: the run.
        node: the node; not a gather.
        units: payloads, by the ids of the units.
        places: where each of them runs.
    """
    most, idents = _most(context, node, len(units)), list(units)
    for start in range(0, len(idents), most):
        chosen = idents[start : start + most]
        members = [(unit, places[unit].item, units[unit]) for unit in chosen]
        if len(members) > 1 and len(json.dumps(members)) <= LONGEST_BUNDLE:
            yield context.canvas.bundle(node, places[chosen[0]], members)
        else:
            for unit in chosen:
                yield context.canvas.node(node, unit, units[unit], places[unit])


def _most(context: RunContext, node: str, count: int) -> int:
    """Return how many of `count` members one message brings."""
    spec, settings = context.plan.spec(node), context.recipe.nodes[node]
    if spec is None or spec.bundle <= 1 or count < FEWEST * TURNS:
        return 1
    apart = settings.timeout or settings.transport_delay or settings.shed
    if apart or context.reused:
        return 1
    running = slots(context, node, bundles=True)
    most = min(spec.bundle, count // (TURNS * running)) if running else 1
    return most if most >= FEWEST else 1
