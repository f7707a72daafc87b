"""Reuse: a unit of a re-run is answered from the history instead of being run.

Its message travels as any other, to the queue `control`, so that chains, chords and
counts are what they always are; only the work is not done again.
"""

import time
from collections.abc import Mapping
from typing import Any

from celery.exceptions import Ignore

from zocelery.context import RunContext
from zocelery.errors import PermanentError
from zocelery.outbox import Outbox
from zocelery.unit import Unit


def reuse_answer(context: RunContext, unit: Unit, outbox: Outbox) -> Any:
    """Send what the unit has sent and answered in the run before.

    Returns:
        What Celery passes on in a chain, else None.

    Raises:
        Ignore: the next in the chain gets nothing, as in the run before.
        PermanentError: the answer has gone from the history.
    """
    row = context.history.unit(context.run, unit.id)
    if row is None:
        raise PermanentError(f"the answer of {unit.node!r} is not in the history")
    outbox.open_fans()
    for channel, payload in (row["sent"] or {}).items():
        outbox.send(channel, payload)
    answer = row["result"]
    if answer is not None:
        outbox.answer(answer)
        if unit.is_chained:
            context.store.save_answer(context.run, unit.id, answer)
    if context.plan.is_gather(unit.node):
        context.store.gather_ran(context.run, unit.id)
    outbox.finish("reused", _event(unit, row))
    if not unit.is_chained:
        return None
    if answer is None:
        raise Ignore
    return answer


def _event(unit: Unit, row: Mapping[str, Any]) -> dict[str, Any]:
    event = {"node": unit.node, "item": "", "state": "reused", "time": time.time()}
    return event if row["result"] is None else {**event, "value": row["result"]}
