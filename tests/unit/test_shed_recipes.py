from typing import Any

import pytest

from zocelery.errors import RecipeError
from zocelery.plan import Plan
from zocelery.recipe import Recipe
from zocelery.recipe_format import dump_recipe, parse_recipe
from zocelery.registry import load_catalogue
from zocelery.settings import load_settings

CATALOGUE = load_catalogue(load_settings(variables={}).queues)
ECHO: dict[str, Any] = {"task": "echo"}
DOCUMENT = {
    "start": "a",
    "nodes": {
        "a": {**ECHO, "output": "b"},
        "b": {**ECHO, "foreach": "list", "shed": True, "output": "c"},
        "c": {"task": "collect"},
    },
}


def test_shed_comes_out_as_it_went_in():
    recipe = parse_recipe(DOCUMENT, name="r")
    assert recipe.nodes["b"].shed
    assert not recipe.nodes["a"].shed
    assert dump_recipe(recipe)["nodes"] == DOCUMENT["nodes"]
    assert Plan(recipe, CATALOGUE).recipe.nodes["b"].shed


@pytest.mark.parametrize("name", ["a", "c"])
def test_only_members_of_a_stream_can_be_shed(name: str):
    nodes = dict(DOCUMENT["nodes"])  # type: ignore[call-overload]  # it is a dict
    nodes[name] = {**nodes[name], "shed": True}
    recipe = parse_recipe({"nodes": nodes, "start": "a"}, name="r")
    with pytest.raises(RecipeError, match=f"node '{name}': shed is for"):
        Plan(recipe, CATALOGUE)


def test_shed_is_true_or_false():
    nodes = {"a": {**ECHO, "shed": "often"}}
    with pytest.raises(RecipeError, match="true or false"):
        parse_recipe({"nodes": nodes, "start": "a"}, name="r")


def test_a_stored_recipe_of_a_newer_version_is_read_without_what_it_adds():
    stored = parse_recipe(DOCUMENT, name="r").model_dump(mode="json")
    stored["nodes"]["a"]["mood"] = "good"
    stored["season"] = "spring"
    assert Recipe.restore(stored) == parse_recipe(DOCUMENT, name="r")
