from typing import Any

import pytest

from tests.unit.recipe_examples import CATALOGUE, GRID_SCAN, named
from zocelery.errors import RecipeError
from zocelery.recipe import Node, Recipe, Start
from zocelery.recipe_checks import check_recipe, find_cycles
from zocelery.recipe_format import parse_recipe


def problems(recipe: Recipe, catalogue: Any = None) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        check_recipe(recipe, catalogue)
    first, *rest = str(caught.value).split("\n  ")
    return rest or [first.removeprefix("recipe 'recipe': ")]


def work(**keys: Any) -> dict[str, Any]:
    return {"a": {"task": "echo", "output": "b"}, "b": keys}


def test_zocalos_recipes_pass() -> None:
    check_recipe(parse_recipe(GRID_SCAN))


def test_a_recipe_without_nodes_or_start_is_refused() -> None:
    assert problems(Recipe(nodes={}, start=())) == [
        "there are no nodes",
        "there is no start",
    ]


def test_starts_and_errors_that_point_nowhere_are_named() -> None:
    recipe = named({"watch": {}}, start="wacth", error="tell")
    assert problems(recipe) == [
        "start: there is no node 'wacth'; did you mean 'watch'?",
        "error: there is no node 'tell'",
        "node 'watch': nothing leads to it from the start",
    ]


def test_targets_that_are_not_there_are_named_with_their_channel() -> None:
    recipe = named({"a": {"output": {"every": ["b", "bb"]}, "error": "c"}, "b": {}})
    assert problems(recipe) == [
        "node 'a', output.every: there is no node 'bb'; did you mean 'b'?",
        "node 'a', error: there is no node 'c'",
    ]


def test_a_cycle_is_named_in_order() -> None:
    nodes = {
        "a": {"output": "b"},
        "b": {"output": {"x": "c"}},
        "c": {"error": "b"},
    }
    assert problems(named(nodes)) == ["nodes feed each other in a cycle: b -> c -> b"]


def test_a_node_that_feeds_itself_is_a_cycle() -> None:
    assert problems(named({"a": {"output": "a"}})) == [
        "nodes feed each other in a cycle: a -> a"
    ]


def test_separate_cycles_are_all_found() -> None:
    nodes = {
        "a": {"output": ["b", "c"]},
        "b": {"output": "b"},
        "c": {"output": "d"},
        "d": {"output": "c"},
    }
    assert find_cycles(named(nodes)) == [["b", "b"], ["c", "d", "c"]]


def test_a_diamond_is_no_cycle() -> None:
    nodes = {"a": {"output": ["b", "c"]}, "b": {"output": "d"}, "c": {"output": "d"}}
    assert find_cycles(named({**nodes, "d": {}})) == []


def test_a_node_that_nothing_reaches_is_named() -> None:
    assert problems(named({"a": {}, "b": {"output": "a"}})) == [
        "node 'b': nothing leads to it from the start"
    ]


def test_nodes_for_errors_count_as_reached() -> None:
    nodes = {"a": {"error": "b"}, "b": {"output": "c"}, "c": {}, "d": {}}
    check_recipe(named(nodes, error="d"))


def test_a_ladder_of_two_thousand_layers_is_no_trouble() -> None:
    # Zocalo's own check takes five times as long for every two further layers.
    nodes = {
        f"{side}{layer}": Node(
            name=f"{side}{layer}",
            outputs={"": (f"a{layer + 1}", f"b{layer + 1}")} if layer < 1999 else {},
        )
        for layer in range(2000)
        for side in "ab"
    }
    recipe = Recipe(nodes=nodes, start=(Start(node="a0"), Start(node="b0")))
    check_recipe(recipe)


def test_a_gather_that_nothing_feeds_is_refused() -> None:
    assert problems(named({"a": {"task": "echo", "gather": True}})) == [
        "node 'a': gathers, but no node feeds it"
    ]
    assert problems(named({"a": {"task": "collect"}}), CATALOGUE) == [
        "node 'a': task 'collect' gathers, but no node feeds it"
    ]


def test_gather_and_foreach_exclude_each_other() -> None:
    recipe = named(work(gather=True, foreach="x"))
    assert problems(recipe) == ["node 'b': gather and foreach exclude each other"]


def test_task_and_wrapper_exclude_each_other() -> None:
    recipe = named({"a": {"task": "echo", "wrapper": "xia2"}})
    assert problems(recipe) == ["node 'a': task and wrapper exclude each other"]


def test_a_deadline_is_for_gathers() -> None:
    check_recipe(named(work(task="collect", deadline=5)), CATALOGUE)
    assert problems(named(work(task="echo", deadline=5)), CATALOGUE) == [
        "node 'b': deadline is for nodes that gather"
    ]


def test_unknown_tasks_and_queues_are_named() -> None:
    nodes = {
        "a": {"task": "ehco", "output": ["b", "c"]},
        "b": {"queue": "mimas"},
        "c": {"wrapper": "xia3"},
    }
    first, second, third = problems(named(nodes), CATALOGUE)
    assert first.startswith("node 'a': task 'ehco' is not known")
    assert first.endswith("did you mean 'echo'?")
    assert second.startswith("node 'b': no task is known for queue 'mimas'")
    assert third.startswith("node 'c': wrapper 'xia3' is not known")


def test_a_node_that_names_nobody_is_told_so() -> None:
    assert problems(named({"a": {"parameters": {"x": 1}}}), CATALOGUE) == [
        "node 'a': names no task, wrapper or queue: nobody would do its work"
    ]
    (problem,) = problems(named({"a": {"service": "Nobody"}}), CATALOGUE)
    assert problem.startswith("node 'a': no task is known for service 'Nobody'")


def test_queues_that_others_serve_are_known() -> None:
    recipe = named({"a": {"queue": "elsewhere", "output": "b"}, "b": {"topic": "x"}})
    check_recipe(recipe, CATALOGUE)


def test_a_channel_that_the_task_does_not_have_is_named_with_those_it_has() -> None:
    recipe = named(
        {"a": {"queue": "filewatcher", "output": {"evry": "b"}}, "b": {"task": "echo"}}
    )
    assert problems(recipe, CATALOGUE) == [
        (
            "node 'a': task 'file_watcher' has no channel 'evry' (it has first, last, "
            "any, timeout, finally, error, N, every, every-N, select-N, result); "
            "did you mean 'every'?"
        )
    ]


@pytest.mark.parametrize("channel", ["17", "select-250", "every-10", "result", "every"])
def test_channels_with_numbers_are_known(channel: str) -> None:
    nodes = {"a": {"task": "file_watcher", "output": {channel: "b"}}}
    check_recipe(named({**nodes, "b": {"task": "echo"}}), CATALOGUE)


def test_parameters_that_the_task_does_not_take_are_named() -> None:
    parameters = {"d_min": "fine", "dmax": 5}
    recipe = named(work(task="per_image_analysis", parameters=parameters))
    assert problems(recipe, CATALOGUE) == [
        (
            "node 'b', parameters.d_min: input should be a valid number, unable to "
            "parse string as a number, not 'fine'"
        ),
        "node 'b', parameters: unknown parameter 'dmax'; did you mean 'd_max'?",
    ]


def test_what_holds_placeholders_is_passed_over() -> None:
    nodes = {
        "a": {"task": "{task}", "output": {"anything": "b"}},
        "b": {
            "task": "per_image_analysis",
            "parameters": {"d_min": "{d_min}"},
            "output": {"resul{x}": "c"},
        },
        "c": {"queue": "{queue}", "parameters": {"x": 1}},
    }
    check_recipe(named(nodes), CATALOGUE)


def test_an_unknown_parameter_with_a_placeholder_is_named_all_the_same() -> None:
    recipe = named(work(task="per_image_analysis", parameters={"dmin": "{d_min}"}))
    assert problems(recipe, CATALOGUE) == [
        "node 'b', parameters: unknown parameter 'dmin'; did you mean 'd_min'?"
    ]


def test_a_long_list_of_problems_is_cut() -> None:
    recipe = named({"a": {"output": [f"n{number}" for number in range(50)]}})
    listed = problems(recipe)
    assert len(listed) == 31
    assert listed[-1] == "and 20 more"
