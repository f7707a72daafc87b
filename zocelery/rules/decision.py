"""Decisions: which rules hold for a data collection, and what they ask for."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from zocelery.errors import ConfigurationError, ParameterError, ZoceleryError
from zocelery.installed import entry_points
from zocelery.rules.predicates import Predicate
from zocelery.rules.scenario import Scenario
from zocelery.settings import RuleSettings

ENTRY_POINTS = "zocelery.rules"
"""Entry-point group of facilities; each names a list of rules."""
Urgency = Literal["live", "reprocessing"]
_NAMESPACE = uuid.UUID("0a6a8f0e-7a3b-4f1b-9d55-2f6b7275c1e5")


@dataclass(frozen=True)
class Invocation:
    """A recipe that a rule asks for."""

    recipe: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Beside all that has been looked up, before which they go."""
    urgency: Urgency = "live"
    key: str = ""
    """What is the same whenever the same work is asked for; by default data collection,
    event and recipe. Both events may ask for what is to be done once."""
    job: Mapping[str, str] | None = None
    """If given, the LIMS gets a processing job with these parameters, in its words, as
    for what a user asks for."""

    def run_id(self, scenario: Scenario, guid: str | None = None) -> str:
        """Return the id of its run: the same each time, or for each `guid`."""
        key = self.key or f"{scenario.dcid}:{scenario.event}:{self.recipe}"
        return str(uuid.uuid5(_NAMESPACE, f"{guid or ''}\0{key}"))


@dataclass(frozen=True)
class Rule:
    """What is to be run for which data collections."""

    name: str
    when: Predicate
    asks: Callable[[Scenario], Iterable[Invocation]]
    summary: str = ""
    """First line of its docstring."""


@dataclass(frozen=True)
class Decision:
    """What a rule says of a data collection."""

    rule: Rule
    holds: bool
    why: str
    invocations: tuple[Invocation, ...] = ()


RuleFunction = Callable[[Scenario], Iterable[Invocation]]


def rule(name: str, when: Predicate) -> Callable[[RuleFunction], Rule]:
    """Make a rule of a function that says what is to be run where `when` holds."""

    def _make(function: RuleFunction) -> Rule:
        summary = (function.__doc__ or "").strip().partition("\n")[0]
        return Rule(name, when, function, summary)

    return _make


def load_rules(settings: RuleSettings) -> list[Rule]:
    """Return the rules of the configuration: bundled ones, then those of facilities.

    A facility's rule takes the place of a bundled one of the same name.

    Raises:
        ConfigurationError: an entry point names something else; a rule that is
            disabled is not there.
    """
    from zocelery.rules.bundled import RULES

    found = {one.name: one for one in RULES} if settings.bundled else {}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda e: e.name):
        found |= {one.name: one for one in _loaded(entry.name, entry.load())}
    known = {*found, *(one.name for one in RULES)}
    for name in settings.disabled:
        if name not in known:
            raise ConfigurationError(
                f"rules.disabled: there is no rule {name!r} (there are "
                f"{', '.join(sorted(known))})"
            )
    return [one for one in found.values() if one.name not in settings.disabled]


def decide(rules: Sequence[Rule], scenario: Scenario) -> list[Decision]:
    """Return what each rule says, in their order.

    Raises:
        ParameterError: a rule cannot say it.
    """
    return [_decide(one, scenario) for one in rules]


def _decide(one: Rule, scenario: Scenario) -> Decision:
    try:
        holds, why = one.when.holds(scenario), one.when.why(scenario)
        asked = tuple(one.asks(scenario)) if holds else ()
    except ZoceleryError:
        raise
    except Exception as error:
        raise ParameterError(
            f"rule {one.name!r}, data collection {scenario.dcid}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return Decision(one, holds, why, asked)


def _loaded(name: str, value: Any) -> Iterator[Rule]:
    rules = value if isinstance(value, list | tuple) else [value]
    for one in rules:
        if not isinstance(one, Rule):
            raise ConfigurationError(
                f"entry point {name!r} of {ENTRY_POINTS}: {one!r:.60} is no rule"
            )
        yield one
