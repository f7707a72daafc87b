"""Parking: a unit's message becomes a dead letter, and its run is told of it.

The run ends as failed as soon as nothing else of it can go on, and goes on where it was
when the letter is re-injected.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from zocelery.deployment import Deployment
from zocelery.store import RunStore, run_key
from zocelery.unit import Unit


@contextmanager
def parked(deployment: Deployment, run: str, unit: Unit, error: str) -> Iterator[bool]:
    """Tell a run that one of its units waits as a dead letter, published inside.

    Before the letter the history is told: while it is away nothing is parked. After it
    the live state: who looks for the letter finds it. What goes wrong in between does
    no harm when it is done again. The janitor asks for the end of the run.

    Nobody is told of a message that only says that it is a run's: its id has to be
    that of a unit which is under way.

    Args:
        deployment: where the run is.
        run: the run's id.
        unit: what its message was for.
        error: why it could not be done, one line.

    Yields:
        Whether it is a unit of the run, which is told.

    Raises:
        RedisError, TemporaryError, ServerUnreachableError: trying again may help.
    """
    store, is_member = deployment.store, bool(unit.place.stream)
    known = is_under_way(store, run, unit.id)
    if known and not is_member:
        deployment.history.end_unit(run, unit.id, unit.node, "parked", None, error)
    yield known
    if known:
        told = {"node": unit.node, "item": unit.place.item, "state": "parked"}
        store.park_unit(run, unit.id, unit.node, {**told, "error": error})


def is_under_way(store: RunStore, run: str, unit: str) -> bool:
    """Whether the id is that of a unit of the run which has not ended."""
    return store.is_opened(run, unit) and not store.is_finished(run, unit)


def is_parked(store: RunStore, run: str, unit: str) -> bool:
    """Whether the unit waits as a dead letter."""
    return bool(store.client.sismember(run_key(run, "parked"), unit))


def parked_problems(
    store: RunStore, run: str, known: Collection[str] = ()
) -> list[str]:
    """Return for each node with parked units, but those `known`, how many and why."""
    problems = []
    for node, counts in store.counts(run).items():
        count = counts.get("parked", 0)
        if count > 0 and node not in known:
            many = f"{count} wait as dead letters; " if count > 1 else ""
            problems.append(f"{node}: {many}{first_error(store, run, node, 'parked')}")
    return problems


def first_error(store: RunStore, run: str, node: str, state: str) -> str:
    """Return the error of the first unit of `node` that is told of in `state`."""
    since = "0"
    while events := store.events(run, since):
        for _, event in events:
            if event.get("node") == node and event.get("state") == state:
                return str(event.get("error"))
        since = events[-1][0]
    return "no reason is known"
