"""Variables: what a node has named for the nodes that follow it.

A node sets one by `step.environment["name"] = value`. It is seen by what descends from
that node, in the same member of a fan-out or further inside of it, and by nobody else:
two branches never see each other's. They are kept in Redis, not in messages.
"""

import json
from collections.abc import Iterator, MutableMapping
from graphlib import TopologicalSorter
from typing import Any

from zocelery.context import RunContext
from zocelery.store import RunStore, run_key
from zocelery.unit import Unit

PART = "variables"
PROGRAMS = "zocelery_programs"
"""The programs that a node has registered in the LIMS: a run that ends closes them."""
RUN_ID = "ID"
"""The variable that is always there."""


class Variables(MutableMapping[str, Any]):
    """The variables that one unit sees; read from Redis when first asked for."""

    def __init__(self, context: RunContext, unit: Unit) -> None:
        """See what `unit` of the run of `context` sees."""
        self._context = context
        self._unit = unit
        self._own: dict[str, Any] = {}
        self._seen: dict[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        """Return the value of a variable; KeyError if there is none."""
        return self._context.run if name == RUN_ID else self._all()[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._all())

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._all())

    def __setitem__(self, name: str, value: Any) -> None:
        """Set a variable for all that descends from this unit's node."""
        self._own[name] = value
        self._all()[name] = value
        run, place = self._context.run, self._unit.place
        field = _field(self._unit.node, place.stream, place.item)
        client = self._context.store.client
        with client.pipeline() as pipe:
            pipe.hset(run_key(run, PART), field, json.dumps(self._own))
            pipe.sadd(run_key(run, "names"), PART)
            pipe.execute()

    def __delitem__(self, name: str) -> None:
        """Refuse: what descends from here may have seen it."""
        raise TypeError(f"variable {name!r} cannot be unset")

    def _all(self) -> dict[str, Any]:
        if self._seen is None:
            self._seen = {RUN_ID: self._context.run, **self._inherited()}
        return self._seen

    def _inherited(self) -> dict[str, Any]:
        fields = [
            _field(node, stream, item)
            for stream, item in self._places()
            for node in self._ancestors()
        ]
        found: dict[str, Any] = {}
        if not fields:
            return found
        before = (self._context.record.get("rerun") or {}).get("of")
        for run in (before, self._context.run):
            if run is not None:
                key = run_key(run, PART)
                for text in self._context.store.client.hmget(key, fields):
                    found |= json.loads(text) if text else {}
        return found

    def _ancestors(self) -> list[str]:
        """Return the nodes from which this one descends, first things first."""
        parents = {k: set(v) for k, v in self._context.recipe.parents().items()}
        wanted: set[str] = set()
        open_nodes = set(parents.get(self._unit.node, ()))
        while open_nodes:
            node = open_nodes.pop()
            wanted.add(node)
            open_nodes |= parents.get(node, set()) - wanted
        order = TopologicalSorter(parents).static_order()
        return [node for node in order if node in wanted]

    def _places(self) -> list[tuple[str, str]]:
        """Return where ancestors ran: the run itself first, this place last."""
        place = self._unit.place
        places = [(place.stream, place.item)]
        while places[0][0]:
            fan = self._context.store.fan(self._context.run, places[0][0])
            places.insert(0, (fan.stream, fan.item))
        return places


def programs_of(store: RunStore, run: str) -> list[int]:
    """Return the programs that the nodes of a run have registered in the LIMS."""
    found = store.client.hvals(run_key(run, PART))
    return sorted({p for text in found for p in json.loads(text).get(PROGRAMS, ())})


def _field(node: str, stream: str, item: str) -> str:
    return "\n".join((node, stream, item))
