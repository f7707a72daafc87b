"""Unit: one execution of one node, the thing that has an id and ends once."""

from dataclasses import dataclass

from zocelery.canvas import RUN_ITSELF, Place


@dataclass(frozen=True, slots=True)
class Unit:
    """One execution of one node in one place of a run."""

    id: str
    node: str
    place: Place = RUN_ITSELF
    carries: str | None = None
    """Id of the chord of which the unit's own message is a part."""
    is_chained: bool = False
    """Whether Celery itself passes the unit's answer on to the next in a chain."""
