"""How units end: what is recorded of each, and how that is done for several in turn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from zocelery.chords import NO_PART, Part
from zocelery.records import Entry, Written
from zocelery.script_calls import ScriptArguments, ScriptCalls


@dataclass(frozen=True, slots=True)
class Ending:
    """How a unit has ended, and what it leaves for gathers."""

    unit: str
    node: str
    state: str
    """ "done", "failed", "skipped", "cancelled", "reused" or "shed"."""
    event: Mapping[str, Any]
    """What live listeners are told."""
    entries: Sequence[tuple[str, Entry]] = ()
    """Pairs of a gather's unit id and the entry that it shall find."""
    part: Part = NO_PART
    """Of a chord; it arrives as well unless it may complete the chord."""
    answer: Written | None = None
    """Perhaps the event's `value` with its JSON."""

    def told(self) -> str:
        """Return the event as JSON."""
        return Written.dumps(self.event, "value", self.answer)


class Settled(NamedTuple):
    """How a run stands after the end of a unit has been recorded."""

    still_open: int
    """Units under way."""
    arrived: bool
    """Whether the unit's part of a chord has."""
    parked: int
    """Units that wait as dead letters."""

    @classmethod
    def of(cls, answer: Sequence[Any]) -> Self:
        """Read what the script of `store_scripts.settle` answers."""
        still_open, arrived, parked = map(int, answer)
        return cls(still_open, bool(arrived), parked)


class Endings:
    """Ends of several units that are recorded at once, but asked about together.

    Each is sent to Redis when it is added, so that who is killed has hardly anything to
    do again; what Redis answers is read by `settle`. Until that has returned a message
    of the units must not be acknowledged.
    """

    def __init__(
        self, calls: ScriptCalls, arguments: Callable[[Ending], ScriptArguments]
    ) -> None:
        """Send by `calls` what `arguments` makes of each."""
        self._calls = calls
        self._arguments = arguments
        self._sequels: list[Callable[[Settled], None]] = []

    def add(self, ending: Ending, sequel: Callable[[Settled], None]) -> None:
        """Send an end; `sequel` follows when it is known to have been recorded."""
        self._sequels.append(sequel)
        self._calls.send(self._arguments(ending))

    def settle(self) -> None:
        """Make sure that all have been recorded, and do what follows, in their order.

        Raises:
            RedisError: it is not known which of them have been recorded; recording
                them again changes nothing.
        """
        sequels, self._sequels = self._sequels, []
        for sequel, answer in zip(sequels, self._calls.answers(), strict=True):
            sequel(Settled.of(answer))
