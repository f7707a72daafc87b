"""The life of a unit: what its function is given, and how its end is recorded."""

import time
from collections.abc import Sequence
from typing import Any

from zocelery import identity
from zocelery.catalogue import TaskSpec
from zocelery.context import RunContext
from zocelery.gather import gathered
from zocelery.messages import Member, Missing, Step
from zocelery.outbox import Outbox
from zocelery.records import SHED
from zocelery.unit import Unit
from zocelery.variables import Variables


def make_step(context: RunContext, unit: Unit, outbox: Outbox, payload: Any) -> Step:
    """Return what the task's function is given for a unit."""
    node = context.recipe.nodes[unit.node]
    members: Sequence[Member] = ()
    missing: Sequence[Missing] = ()
    if context.plan.is_gather(unit.node):
        members, missing = gathered(context, unit)
    return Step(
        parameters=node.parameters,
        payload=payload,
        job_parameters=node.job_parameters,
        extra=node.extra,
        environment=Variables(context, unit),
        run_id=context.run,
        unit=unit.id,
        node=unit.node,
        item=unit.place.item,
        members=members,
        missing=missing,
        channels=frozenset(node.outputs),
        outlet=outbox,
    )


def start_try(context: RunContext, unit: Unit, spec: TaskSpec, number: int) -> None:
    """Record that try `number` (1-based) has begun; members of a fan-out leave none."""
    if unit.place.stream:
        return
    context.history.start_try(
        context.run, unit.id, unit.node, spec.name, number, identity.host_name()
    )
    event = {"node": unit.node, "item": "", "state": "running", "try": number}
    context.store.tell(context.run, event)


def end_unit(
    context: RunContext,
    unit: Unit,
    outbox: Outbox,
    number: int,
    state: str,
    answer: Any = None,
    error: str | None = None,
) -> None:
    """Record how a unit ended and what it answered, and let go on what waits for it."""
    event: dict[str, Any] = {
        "node": unit.node,
        "item": unit.place.item,
        "state": state,
        "time": time.time(),
    }
    if answer is not None:
        event["value"] = answer
    if error is not None:
        event["error"] = error
    if not unit.place.stream:
        history = context.history
        history.end_try(context.run, unit.id, number, state, error)
        sent = outbox.told()
        history.end_unit(context.run, unit.id, unit.node, state, answer, error, sent)
    outbox.finish(state, event)


def end_gather(context: RunContext, unit: Unit, step: Step) -> None:
    """Note that a gather has run, and name the members that it had to do without."""
    failed = (m for m in step.members if not m.ok and m.error != SHED)
    errors = {m.item: m.error or "" for m in failed}
    errors |= {m.item: "never answered" for m in step.missing}
    context.store.gather_ran(context.run, unit.id)
    if errors:
        context.history.add_failures(context.run, unit.node, errors)
