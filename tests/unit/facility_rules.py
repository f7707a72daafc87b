"""Rules of a facility, as an installed package of it would have them."""

from collections.abc import Iterator

from zocelery.rules.decision import Invocation, rule
from zocelery.rules.predicates import beamline, is_end, is_rotation, visit
from zocelery.rules.scenario import Scenario


@rule("processing", when=beamline("i99") & is_rotation & is_end & ~visit("nt"))
def processing(scenario: Scenario) -> Iterator[Invocation]:
    """Process as i99 does."""
    yield Invocation("i99-processing", {"group": scenario.group})


@rule("broken", when=beamline("i98"))
def broken(scenario: Scenario) -> Iterator[Invocation]:
    """Fail."""
    yield Invocation(str(scenario.grid["steps_x"]))


RULES = [processing, broken]
NOT_RULES = ["processing"]
