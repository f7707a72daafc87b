"""Predicates: named conditions on a data collection, joined by `&`, `|` and `~`.

    is_ours = beamline("i03", "i04") & is_rotation & ~visit("nt")

Each can say in words why it holds, or why it does not.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zocelery.rules.scenario import Scenario


class Predicate(ABC):
    """Something that holds of a data collection, or does not."""

    @abstractmethod
    def holds(self, scenario: Scenario) -> bool:
        """Whether it does."""

    @abstractmethod
    def why(self, scenario: Scenario) -> str:
        """Say in words what decides it."""

    def __and__(self, other: "Predicate") -> "Predicate":
        """Return what holds if both do."""
        return AllOf((*_parts(self, AllOf), *_parts(other, AllOf)))

    def __or__(self, other: "Predicate") -> "Predicate":
        """Return what holds if one does."""
        return AnyOf((*_parts(self, AnyOf), *_parts(other, AnyOf)))

    def __invert__(self) -> "Predicate":
        """Return what holds if this does not."""
        return Not(self)


@dataclass(frozen=True)
class AllOf(Predicate):
    """Holds if all parts do."""

    parts: tuple[Predicate, ...]

    def holds(self, scenario: Scenario) -> bool:
        """Whether all parts hold."""
        return all(part.holds(scenario) for part in self.parts)

    def why(self, scenario: Scenario) -> str:
        """Name the parts that do not hold, or else all."""
        failing = [part for part in self.parts if not part.holds(scenario)]
        return _joined(failing or self.parts, scenario)

    def __str__(self) -> str:
        return " & ".join(map(_bracketed, self.parts))


@dataclass(frozen=True)
class AnyOf(Predicate):
    """Holds if one part does."""

    parts: tuple[Predicate, ...]

    def holds(self, scenario: Scenario) -> bool:
        """Whether one of the parts holds."""
        return any(part.holds(scenario) for part in self.parts)

    def why(self, scenario: Scenario) -> str:
        """Name the parts that hold, or else all."""
        holding = [part for part in self.parts if part.holds(scenario)]
        return _joined(holding or self.parts, scenario)

    def __str__(self) -> str:
        return " | ".join(map(_bracketed, self.parts))


@dataclass(frozen=True)
class Not(Predicate):
    """Holds if its part does not."""

    part: Predicate

    def holds(self, scenario: Scenario) -> bool:
        """Whether the part does not hold."""
        return not self.part.holds(scenario)

    def why(self, scenario: Scenario) -> str:
        """Say what the part says."""
        return self.part.why(scenario)

    def __str__(self) -> str:
        return f"~{_bracketed(self.part)}"


@dataclass(frozen=True)
class OneOf(Predicate):
    """Holds if a property of the data collection has one of some values."""

    subject: str
    """What the property is called."""
    values: tuple[str, ...]
    find: Callable[[Scenario], Any]

    def holds(self, scenario: Scenario) -> bool:
        """Whether the property has one of the values."""
        return self.find(scenario) in self.values

    def why(self, scenario: Scenario) -> str:
        """Say what the property is, and what was wanted."""
        found = self.find(scenario)
        said = f"{self.subject} is {'not known' if found is None else found}"
        if self.holds(scenario):
            return said
        return f"{said}, not {' or '.join(self.values)}"

    def __str__(self) -> str:
        return f"{self.subject} {'/'.join(self.values)}"


@dataclass(frozen=True)
class Check(Predicate):
    """Holds if a function says so."""

    name: str
    """What it checks, to stand behind "it ..." and "it is not so that it ..."."""
    function: Callable[[Scenario], bool]

    def holds(self, scenario: Scenario) -> bool:
        """Whether the function says so."""
        return bool(self.function(scenario))

    def why(self, scenario: Scenario) -> str:
        """Say whether it is so."""
        return self.name if self.holds(scenario) else f"not so: {self.name}"

    def __str__(self) -> str:
        return self.name


def beamline(*names: str) -> Predicate:
    """Return what holds at these beamlines."""
    return OneOf("beamline", names, lambda scenario: scenario.beamline)


def event(*names: str) -> Predicate:
    """Return what holds when this happens: "start" or "end" of the collection."""
    return OneOf("event", names, lambda scenario: scenario.event)


def kind(*names: str) -> Predicate:
    """Return what holds for these classes of data collections; see `Scenario.kind`."""
    return OneOf("kind", names, lambda scenario: scenario.kind)


def detector(*names: str) -> Predicate:
    """Return what holds for these detectors: "eiger", "pilatus"."""
    return OneOf("detector", names, lambda scenario: scenario.detector)


def experiment(*names: str) -> Predicate:
    """Return what holds for these experiment types of the group: "Mesh3D", "SAD"."""
    return OneOf("experiment", names, lambda scenario: scenario.experiment_type)


def visit(*beginnings: str) -> Predicate:
    """Return what holds for visits that begin so: "cm", "mx12345"."""
    return Check(
        f"visit begins with {' or '.join(beginnings)}",
        lambda scenario: (scenario.visit or "").startswith(beginnings),
    )


is_start = event("start")
is_end = event("end")
is_grid = kind("grid")
is_rotation = kind("rotation")
is_screening = kind("screening")
is_characterization = kind("characterization")
is_serial = kind("serial_fixed", "serial_jet")
is_eiger = detector("eiger")
is_pilatus = detector("pilatus")
is_mesh_3d = experiment("Mesh3D")
has_partner = Check(
    "its group has a second grid at right angles", lambda s: s.pair is not None
)


def _parts(
    predicate: Predicate, kind_of: type[AllOf] | type[AnyOf]
) -> tuple[Predicate, ...]:
    return predicate.parts if isinstance(predicate, kind_of) else (predicate,)


def _bracketed(predicate: Predicate) -> str:
    return f"({predicate})" if isinstance(predicate, AllOf | AnyOf) else str(predicate)


def _joined(parts: Sequence[Predicate], scenario: Scenario) -> str:
    return "; ".join(dict.fromkeys(part.why(scenario) for part in parts))
