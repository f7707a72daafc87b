"""How many members a message brings."""

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from zocelery import bundling
from zocelery.canvas import BUNDLE_TASK, Canvas, Place
from zocelery.catalogue import Catalogue, TaskKind, TaskSpec
from zocelery.plan import Plan
from zocelery.recipe_format import parse_recipe
from zocelery.records import FanRecord

CATALOGUE = Catalogue(
    {
        "split": TaskSpec("split", "control", stream=("each",)),
        "quick": TaskSpec("quick", "images", bundle=16),
        "slow": TaskSpec("slow", "images"),
        "collect": TaskSpec("collect", "control", TaskKind.GATHER),
    }
)


class _Fans:
    def fan(self, run: str, stream: str) -> FanRecord:
        return FanRecord("a", "each", "", "", 0)


def signatures(
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    slots: int = 2,
    reused: tuple[str, ...] = (),
    payload: Any = "x",
    **node: Any,
) -> list[Any]:
    """Return what is published for `count` members sent at once."""
    nodes = {
        "a": {"task": "split", "output": {"each": "b"}},
        "b": {"task": "quick", "output": "c", **node},
        "c": {"task": "collect"},
    }
    plan = Plan(parse_recipe({"nodes": nodes, "start": ["a"]}), CATALOGUE)
    app = Celery(set_as_current=False, broker="memory://")
    canvas = Canvas(app, "RUN", plan, _Fans(), 9, reused)
    context: Any = SimpleNamespace(
        plan=plan, recipe=plan.recipe, canvas=canvas, reused=reused
    )
    monkeypatch.setattr(bundling, "slots", lambda *_, **__: slots)
    units = {f"unit-{n}": payload for n in range(1, count + 1)}
    places = {f"unit-{n}": Place("stream", str(n), 1) for n in range(1, count + 1)}
    return list(bundling.signatures(context, "b", units, places))


def members(signature: Any) -> list[str]:
    """Return the items that a message brings, in their order."""
    if signature.task != BUNDLE_TASK:
        return [signature.args[3]]
    return [item for _, item, _ in signature.args[4]]


def test_many_members_share_messages_and_keep_their_order(
    monkeypatch: pytest.MonkeyPatch,
):
    found = signatures(monkeypatch, 100)
    assert [len(members(each)) for each in found] == [12] * 8 + [4]
    assert [int(item) for each in found for item in members(each)] == [*range(1, 101)]
    assert {each.options["queue"] for each in found} == {"images"}
    assert found[0].options["argsrepr"] == "b #1 to #12 of run RUN"


def test_a_message_brings_no_more_than_the_task_says(monkeypatch: pytest.MonkeyPatch):
    found = signatures(monkeypatch, 1000)
    assert max(len(members(each)) for each in found) == 16


@pytest.mark.parametrize("slots", [0, 7])
def test_members_that_slots_wait_for_travel_alone(
    monkeypatch: pytest.MonkeyPatch, slots: int
):
    assert len(signatures(monkeypatch, 100, slots=slots)) == 100


@pytest.mark.parametrize(
    "node",
    [
        {"task": "slow"},
        {"timeout": 5},
        {"transport-delay": 5},
        {"shed": True},
    ],
    ids=["task", "timeout", "delay", "shed"],
)
def test_members_of_such_nodes_travel_alone(
    monkeypatch: pytest.MonkeyPatch, node: dict[str, Any]
):
    assert len(signatures(monkeypatch, 100, **node)) == 100


def test_members_of_a_rerun_that_reuses_answers_travel_alone(
    monkeypatch: pytest.MonkeyPatch,
):
    assert len(signatures(monkeypatch, 100, reused=("unit-3",))) == 100


def test_members_with_much_to_say_travel_alone(monkeypatch: pytest.MonkeyPatch):
    assert len(signatures(monkeypatch, 100, payload="x" * 6000)) == 100


def test_a_message_has_the_same_id_when_it_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
):
    first, second = (signatures(monkeypatch, 100) for _ in range(2))
    ids = [each.options["task_id"] for each in first]
    assert ids == [each.options["task_id"] for each in second]
    assert len(set(ids)) == len(ids)
