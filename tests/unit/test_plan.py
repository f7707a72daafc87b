import pytest

from zocelery.catalogue import Catalogue, TaskKind, TaskSpec
from zocelery.errors import RecipeError
from zocelery.plan import Fan, Plan
from zocelery.recipe_format import parse_recipe

CATALOGUE = Catalogue(
    {
        "watch": TaskSpec("watch", "watch", TaskKind.WATCH, ("first",), ("every",)),
        "step": TaskSpec("step", "control", once=("good", "bad")),
        "split": TaskSpec("split", "control", stream=("each",)),
        "collect": TaskSpec("collect", "control", TaskKind.GATHER),
    },
    foreign_queues=frozenset({"elsewhere"}),
)


def plan(nodes: dict, start=("a",), **rest) -> Plan:
    return Plan(parse_recipe({"nodes": nodes, "start": list(start), **rest}), CATALOGUE)


def test_a_gather_of_a_stream_runs_once_in_the_run():
    found = plan(
        {
            "a": {"task": "watch", "output": {"every": "b"}},
            "b": {"task": "step", "output": "c"},
            "c": {"task": "collect"},
        }
    )
    assert found.scopes == {"c": ()}
    assert found.member_parts(Fan("a", "every"), "c") == 1
    assert found.is_sole_source(Fan("a", "every"), "c")


def test_two_streams_into_one_gather_are_two_parts():
    found = plan(
        {
            "a": {"task": "watch", "output": {"every": "b"}},
            "a2": {"task": "watch", "output": {"every": "b"}},
            "b": {"task": "step", "output": "c"},
            "c": {"task": "collect"},
        },
        start=("a", "a2"),
    )
    assert found.scope_parts("c", ()) == 2
    assert not found.is_sole_source(Fan("a", "every"), "c")


def test_a_diamond_owes_one_part_for_each_path():
    found = plan(
        {
            "a": {"task": "step", "output": ["b", "c"]},
            "b": {"task": "step", "output": ["d", "e"]},
            "c": {"task": "step", "output": "d"},
            "d": {"task": "collect"},
            "e": {"task": "step", "output": "d"},
        }
    )
    assert found.parts("a", "d") == 3
    assert found.scope_parts("d", ()) == 3


def test_a_channel_that_may_stay_silent_owes_its_part_all_the_same():
    found = plan(
        {
            "a": {"task": "step", "output": {"good": "b", "bad": "c"}},
            "b": {"task": "step", "output": "d"},
            "c": {"task": "step", "output": "d"},
            "d": {"task": "collect"},
        }
    )
    assert found.parts("a", "d") == 2


def test_a_gather_within_a_member_runs_for_each_member():
    found = plan(
        {
            "a": {"task": "watch", "output": {"every": "b"}},
            "b": {"task": "step", "foreach": "list", "output": "c"},
            "c": {"task": "collect", "output": "d"},
            "d": {"task": "collect"},
        }
    )
    assert found.scopes["c"] == (Fan("a", "every"),)
    assert found.scopes["d"] == ()
    assert found.member_parts(Fan("a", "every"), "d") == 1
    assert found.member_parts(Fan("b/each", "each"), "c") == 1


def test_join_gathers_the_branches_of_one_member():
    found = plan(
        {
            "a": {"task": "watch", "output": {"every": "b"}},
            "b": {"task": "step", "output": ["c", "c2"]},
            "c": {"task": "step", "output": "d"},
            "c2": {"task": "step", "output": "d"},
            "d": {"task": "collect", "gather": "join"},
        }
    )
    assert found.scopes["d"] == (Fan("a", "every"),)
    assert found.scope_parts("d", found.scopes["d"]) == 2


def test_a_channel_that_the_task_does_not_have_is_named():
    with pytest.raises(RecipeError, match=r"'a'.*no channel 'evry'.*every"):
        plan({"a": {"task": "watch", "output": {"evry": "b"}}, "b": {"task": "step"}})


def test_what_a_foreign_queue_feeds_is_not_ours_to_count():
    found = plan(
        {
            "a": {"task": "step", "output": "b"},
            "b": {"queue": "elsewhere", "output": "c"},
            "c": {"task": "step"},
        }
    )
    assert found.edges["b"] == ()


def test_a_gather_fed_by_the_error_nodes_of_the_recipe_is_refused():
    with pytest.raises(RecipeError, match=r"'c'.*error nodes feed it"):
        plan(
            {
                "a": {"task": "step", "output": "c"},
                "c": {"task": "collect"},
                "e": {"task": "step", "output": "c"},
            },
            error="e",
        )


def test_a_ladder_with_too_many_paths_is_refused_and_not_walked():
    nodes = {}
    for rung in range(40):
        below = [f"l{rung + 1}", f"r{rung + 1}"] if rung < 39 else ["end"]
        nodes[f"l{rung}"] = {"task": "step", "output": below}
        nodes[f"r{rung}"] = {"task": "step", "output": below}
    nodes["end"] = {"task": "collect"}
    with pytest.raises(RecipeError, match=r"'end'.*paths"):
        plan(nodes, start=("l0", "r0"))
