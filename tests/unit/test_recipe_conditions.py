"""Nodes that take part only if a parameter is given."""

from typing import Any

import pytest

from zocelery.errors import ParameterError
from zocelery.parameters import fill_in, unused_parameters
from zocelery.recipe import Recipe
from zocelery.recipe_format import dump_recipe, parse_recipe

NODES: dict[str, Any] = {
    "a": {"task": "echo", "output": {"": ["b", "c"], "x": "c"}, "error": "c"},
    "b": {"task": "echo"},
    "c": {
        "task": "echo",
        "only_if": "{$REPLACE:dcid}",
        "parameters": {"dcid": "{dcid}", "folder": "{folder}"},
        "output": ["d", "b"],
    },
    "d": {"task": "echo", "parameters": {"e": "{e}"}},
}


def filled(
    nodes: dict[str, Any] | None = None, start: Any = "a", **given: Any
) -> Recipe:
    document = {"nodes": nodes or NODES, "start": start}
    return fill_in(parse_recipe(document), given)


def test_a_node_whose_condition_holds_takes_part():
    recipe = filled(dcid=7, folder="/x", e=1)
    assert list(recipe.nodes) == ["a", "b", "c", "d"]
    assert recipe.nodes["c"].parameters["dcid"] == "7"
    assert recipe.nodes["c"].only_if is True


@pytest.mark.parametrize("dcid", [None, 0, "", False, [], {}, "None", "false"])
def test_a_node_without_is_left_out_with_what_only_it_leads_to(dcid: Any):
    recipe = filled(dcid=dcid)
    assert list(recipe.nodes) == ["a", "b"]
    assert recipe.nodes["a"].outputs == {"": ("b",)}
    assert recipe.nodes["a"].error == ()


def test_a_parameter_that_is_not_given_leaves_the_node_out():
    assert list(filled().nodes) == ["a", "b"]
    texts = {**NODES, "c": {**NODES["c"], "only_if": "{dcid}"}}
    assert list(filled(texts).nodes) == ["a", "b"]


def test_starts_and_error_nodes_are_left_out_too():
    document = {"nodes": NODES, "start": ["a", "c"], "error": "c"}
    recipe = fill_in(parse_recipe(document), {})
    assert [start.node for start in recipe.start] == ["a"]
    assert recipe.error == ()


def test_what_takes_part_needs_its_parameters():
    with pytest.raises(ParameterError, match="'folder' is not given"):
        filled(dcid=7, e=1)


def test_a_condition_that_is_no_placeholder_is_named():
    nodes = {**NODES, "c": {**NODES["c"], "only_if": "{}"}}
    with pytest.raises(ParameterError, match="node 'c', only_if"):
        filled(nodes)


def test_the_parameter_of_a_condition_is_used():
    recipe = parse_recipe({"nodes": NODES, "start": "a"})
    assert unused_parameters(recipe, ["dcid", "dcidd"]) == {"dcidd": "dcid"}


def test_a_condition_comes_out_as_it_went_in():
    recipe = parse_recipe({"nodes": NODES, "start": "a"})
    assert dump_recipe(recipe)["nodes"] == NODES
    assert parse_recipe(dump_recipe(recipe)) == recipe
