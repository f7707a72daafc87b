"""What a task is given and what it says: steps, members, bursts."""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a fan-out, as a gather sees it."""

    item: str
    """What tells members apart, e.g. the image number "17"."""
    source: str
    """The start of its branch: `NODE/CHANNEL` of the fan-out that made it."""
    ok: bool
    value: Any = None
    """What the member's last task answered, if ok."""
    error: str | None = None
    """Why it has no value, if not ok: one line."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A member that never answered before the gather's deadline."""

    item: str
    source: str


class Outlet(Protocol):
    """Where a step sends to."""

    def send(self, channel: str, payload: Any, item: str | None = None) -> None:
        """Send one message on a channel."""

    def send_members(self, channel: str, emissions: "Sequence[Emission]") -> None:
        """Send members of a stream, all at once."""


class _Nowhere:
    """The outlet of a step that stands outside of a run."""

    def send(self, channel: str, payload: Any, item: str | None = None) -> None:
        """Send nothing."""

    def send_members(self, channel: str, emissions: "Sequence[Emission]") -> None:
        """Send nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    """One execution of one node: everything that its task may know."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The node's `parameters`, placeholders filled in."""
    payload: Any = None
    """What the node before sent."""
    job_parameters: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """The node's other keys (`gridinfo` ...), placeholders filled in."""
    environment: MutableMapping[str, Any] = field(default_factory=dict)
    """Variables: `ID` is the run's id; all that descends from here sees what is set."""
    run_id: str = ""
    unit: str = ""
    """Tells this execution from all others, the same in every try."""
    node: str = ""
    item: str = ""
    """Which member of a fan-out this is; "" outside of one."""
    members: Sequence[Member] = ()
    """Gathers only: the members in the order of their items."""
    missing: Sequence[Missing] = ()
    """Gathers only: members that were sent but never answered."""
    channels: frozenset[str] = frozenset()
    """The channels that the recipe connects: nobody hears the others."""
    outlet: Outlet = field(default_factory=_Nowhere)

    def send(self, channel: str, payload: Any, item: str | None = None) -> None:
        """Send `payload` on a named channel now; silently nothing if not connected.

        A member of a stream channel needs an `item` that is the same in every try.
        """
        self.outlet.send(channel, payload, item)

    def send_members(self, channel: str, emissions: "Sequence[Emission]") -> None:
        """Send members of a stream, all at once: much cheaper than one by one."""
        self.outlet.send_members(channel, emissions)


@dataclass(frozen=True, slots=True)
class Emission:
    """Something that a watch has seen, on its way to the nodes of a channel."""

    channel: str
    payload: Any
    item: str | None = None
    """For stream channels: what tells the members apart, the same in every try."""


@dataclass(frozen=True, slots=True)
class Burst:
    """What a watch says after each look: news, and where to go on after a crash."""

    emissions: Sequence[Emission] = ()
    state: Mapping[str, Any] = field(default_factory=dict)
    """Small JSON object; a watch that resumes is given the last one stored. It counts
    as stored only after the emissions have been sent."""
    pause: float = 0.0
    """Seconds until the next look is worth while."""
    progress: tuple[int, int | None] | None = None
    """Seen and expected members so far, for the progress display."""
