from typing import Any

from zocelery import identity
from zocelery.plan import Plan
from zocelery.recipe_format import parse_recipe
from zocelery.registry import load_catalogue
from zocelery.rerun_plan import Past, RerunPlan
from zocelery.settings import load_settings

ECHO: dict[str, Any] = {"task": "echo"}
CATALOGUE = load_catalogue(load_settings(variables={}).queues)
FAN = {
    "a": {**ECHO, "output": "b"},
    "b": {**ECHO, "foreach": "list", "output": ["c", "leaf"]},
    "leaf": ECHO,
    "c": {"task": "collect", "output": "d"},
    "d": ECHO,
}


def plan_of(nodes: dict[str, Any], start: str = "a") -> Plan:
    recipe = parse_recipe({"nodes": nodes, "start": start}, name="r")
    return Plan(recipe, CATALOGUE)


def row(node: str, state: str = "done", **rest: Any) -> dict[str, Any]:
    return {"node": node, "state": state, "result": {}, "sent": {}, **rest}


def past_of_fan(**changes: Any) -> dict[str, dict[str, Any]]:
    """Rows of a run of FAN, by unit; `changes` are states by node."""
    a = identity.start_unit("old", 0)
    split = identity.child_unit(a, "", "b/each", None)
    c = identity.gather_unit("old", "c")
    units = {a: "a", split: "b/each", c: "c"}
    units[identity.child_unit(c, "", "d", None)] = "d"
    return {unit: row(node, changes.get(node, "done")) for unit, node in units.items()}


def again(past: Past, wanted: tuple[str, ...] = ()) -> set[str]:
    return set(RerunPlan(plan_of(FAN), past, wanted).again)


def counts(leaf: int = 2) -> dict[str, dict[str, int]]:
    return {"leaf": {"total": 2, "done": leaf}}


def test_a_run_that_finished_is_reused_whole():
    past = Past("old", past_of_fan(), counts())
    assert again(past) == set()
    assert len(RerunPlan(plan_of(FAN), past, ()).units("new")) == 4


def test_a_member_that_no_gather_hears_of_makes_its_fan_run_again():
    assert again(Past("old", past_of_fan(), counts(leaf=1))) == {
        *("b/each", "b", "leaf", "c", "d")
    }


def test_without_counts_nobody_knows_how_such_members_ended():
    assert "b/each" in again(Past("old", past_of_fan(), {}))


def test_a_gather_that_did_not_finish_makes_its_emitter_run_again():
    for state in ("running", "failed", "parked", "cancelled"):
        past = Past("old", past_of_fan(c=state), counts())
        assert again(past) == {"b/each", "b", "leaf", "c", "d"}


def test_a_node_behind_a_finished_gather_leaves_the_fan_alone():
    assert again(Past("old", past_of_fan(d="parked"), counts())) == {"d"}


def test_a_message_that_was_sent_and_never_taken_is_sent_again():
    units = {u: r for u, r in past_of_fan().items() if r["node"] != "d"}
    assert again(Past("old", units, counts())) == {"d"}


def test_the_ids_of_reused_units_are_those_of_the_new_run():
    past = Past("old", past_of_fan(), counts())
    units = RerunPlan(plan_of(FAN), past, ["d"]).units("new")
    assert units[identity.start_unit("new", 0)] == identity.start_unit("old", 0)
    assert units[identity.gather_unit("new", "c")] == identity.gather_unit("old", "c")
    assert set(units.values()) == {
        u for u, r in past_of_fan().items() if r["node"] != "d"
    }


def test_what_a_node_sent_on_named_channels_has_to_be_known():
    nodes = {
        "a": {
            "task": "choose",
            "parameters": {"key": "k"},
            "output": {"x": "b", "y": "c"},
        },
        "b": ECHO,
        "c": ECHO,
    }
    a = identity.start_unit("old", 0)
    b = identity.child_unit(a, "x", "b", None)
    for sent, expected in (({"x": 1}, {"b"}), (None, {"a", "b", "c"})):
        units = {a: row("a", sent=sent, result=None), b: row("b", "parked")}
        found = RerunPlan(plan_of(nodes), Past("old", units, {}), ()).again
        assert found == expected


def test_a_chain_of_reruns_keeps_what_the_first_has_done():
    past = Past("old", past_of_fan(), {}, reused=frozenset({"leaf", "b"}))
    assert again(past) == set()
