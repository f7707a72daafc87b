"""A recipe starts another one, on conditions."""

from typing import Any

import pytest

from tests.unit.benches import Heard
from zocelery.errors import ParameterError, PermanentError
from zocelery.messages import Step
from zocelery_tasks import trigger as module
from zocelery_tasks.trigger import Condition, trigger

PAYLOAD = {"statistics": {"overall": {"ccHalf": 0.998}}, "mtz": "/d/x.mtz"}


def condition(key: str, comparison: str, value: Any = None) -> Condition:
    return Condition.model_validate({"key": key, "is": comparison, "value": value})


@pytest.mark.parametrize(
    ("key", "comparison", "value", "holds"),
    [
        ("statistics.overall.ccHalf", ">", 0.9, True),
        ("statistics.overall.ccHalf", "<=", 0.9, False),
        ("mtz", "exists", None, True),
        ("pdb", "exists", None, False),
        ("pdb", ">", 1, False),
        ("mtz", "<", 1, False),
        ("mtz", "in", ["/d/x.mtz"], True),
        ("mtz", "!=", "y", True),
    ],
)
def test_conditions_hold_or_not(
    key: str, comparison: str, value: Any, holds: bool
) -> None:
    assert condition(key, comparison, value).holds(PAYLOAD) is holds


def step(heard: Heard, **parameters: Any) -> Step:
    given = {"recipe": "dimple", **parameters}
    return Step(given, PAYLOAD, run_id="r", node="n", outlet=heard)  # type: ignore[arg-type]  # keeps lists


def test_a_condition_that_does_not_hold_starts_nothing_and_says_why() -> None:
    heard = Heard()
    conditions = [{"key": "mtz"}, {"key": "pdb"}]
    assert trigger(step(heard, conditions=conditions)) is None
    assert heard.on("skipped") == [{"recipe": "dimple", "unmet": ["pdb exists"]}]


def test_the_recipe_is_started_with_values_of_the_payload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[Any] = []

    def _submit(recipe: str, parameters: Any, **options: Any) -> None:
        started.append((recipe, parameters, options))

    monkeypatch.setattr("zocelery.submission.submit", _submit)
    given = {"parameters": {"pdb": "/d/m.pdb"}, "payload": {"mtz": "mtz"}}
    answer = trigger(step(Heard(), **given))
    assert trigger(step(Heard(), **given)) == answer
    (recipe, parameters, options), again = started
    assert (recipe, again) == ("dimple", started[0])
    assert parameters == {"pdb": "/d/m.pdb", "mtz": "/d/x.mtz", "triggered_by": "r"}
    assert answer == {"recipe": "dimple", "run": options["run_id"]}
    assert options["urgency"] == "reprocessing"


def test_a_recipe_that_cannot_be_started_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def _refuse(*_: Any, **__: Any) -> None:
        raise ParameterError("'pdb' is not given")

    monkeypatch.setattr("zocelery.submission.submit", _refuse)
    with pytest.raises(PermanentError, match=r"trigger 'dimple': 'pdb' is not given"):
        module.trigger(step(Heard()))
