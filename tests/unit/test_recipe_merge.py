import pytest

from tests.unit.recipe_examples import named
from zocelery.errors import RecipeError
from zocelery.recipe_format import dump_recipe, parse_recipe
from zocelery.recipe_merge import merge_recipes

FIRST = {
    "1": {"output": [2], "error": 2},
    "2": {"output": {"a": [3], "b": 3}},
    "3": {"queue": "q"},
    "start": [[1, []]],
    "error": [3],
}
SECOND = {
    "1": {"output": 2},
    "2": {"output": {"a": [5], "b": {"c": 5}}, "parameters": {"text": "2"}},
    "5": {},
    "start": [[1, ["p"]], [2, 1]],
    "error": [5],
}


def test_numbered_nodes_are_renumbered_as_by_zocalo() -> None:
    merged = merge_recipes([parse_recipe(FIRST), parse_recipe(SECOND)])
    assert dump_recipe(merged) == {
        "1": {"output": [2], "error": 2},
        "2": {"output": {"a": [3], "b": 3}},
        "3": {"queue": "q"},
        "4": {"output": 5},
        "5": {"output": {"a": 6, "b": 6}, "parameters": {"text": "2"}},
        "6": {},
        "start": [[1, []], [4, ["p"]], [5, 1]],
        "error": [3, 6],
    }


def test_numbers_go_on_after_the_highest() -> None:
    first = parse_recipe({"7": {"output": 9}, "9": {}, "start": [[7, []]]})
    second = parse_recipe({"4": {"error": 2}, "2": {}, "start": [[4, []]]})
    merged = merge_recipes([first, second])
    assert list(merged.nodes) == ["7", "9", "10", "11"]
    assert merged.nodes["10"].error == ("11",)


def test_merging_changes_none_of_the_recipes() -> None:
    recipes = [parse_recipe(FIRST), parse_recipe(SECOND)]
    merge_recipes(recipes)
    assert [dump_recipe(recipe) for recipe in recipes] == [FIRST, SECOND]


def test_one_recipe_stays_as_it_is() -> None:
    recipe = parse_recipe(FIRST)
    assert merge_recipes([recipe]) == recipe


def test_nothing_cannot_be_merged() -> None:
    with pytest.raises(RecipeError, match="no recipe"):
        merge_recipes([])


def test_named_nodes_keep_their_names_where_they_can() -> None:
    first = named({"a": {"output": "a-2"}, "a-2": {}})
    second = named({"a": {"output": "b"}, "b": {"output": {"x": "a-2"}}, "a-2": {}})
    merged = merge_recipes([first, second, parse_recipe(FIRST)])
    assert list(merged.nodes) == ["a", "a-2", "a-3", "b", "a-2-2", "1", "2", "3"]
    assert merged.nodes["b"].outputs == {"x": ("a-2-2",)}
    assert [start.node for start in merged.start] == ["a", "a-3", "1"]


def test_keys_for_zocalos_services_survive_among_named_nodes() -> None:
    grid = parse_recipe({"1": {"gridinfo": {"steps_x": 3}}, "start": [[1, []]]})
    merged = merge_recipes([named({"a": {}}), grid])
    assert parse_recipe(dump_recipe(merged)) == merged
    assert merged.nodes["1"].extra == {"gridinfo": {"steps_x": 3}}


def test_a_default_on_which_recipes_differ_is_dropped() -> None:
    first = named({"a": {}}, parameters={"x": 1, "y": 1, "z": 1})
    second = named({"a": {}}, parameters={"x": 2, "y": 1, "w": 1})
    assert merge_recipes([first, second]).parameters == {"y": 1, "z": 1, "w": 1}
