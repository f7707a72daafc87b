import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.recipe_examples import GRID_SCAN, TWO_STARTS
from zocelery.recipe_format import load_recipe
from zocelery.recipe_schema import (
    NODE_NUMBER,
    NamedNode,
    NamedRecipe,
    ZocaloNode,
    ZocaloRecipe,
    recipe_schema,
)
from zocelery.resources import resource_dir

BUNDLED = sorted(resource_dir("recipes").glob("*.json"))


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every object inside a schema."""
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from parts(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from parts(value)


def test_the_published_schema_is_that_of_the_parser() -> None:
    published = json.loads((resource_dir("config") / "recipe.schema.json").read_text())
    assert published == recipe_schema()


def test_every_reference_leads_somewhere() -> None:
    schema = recipe_schema()
    found = {part["$ref"] for part in parts(schema) if "$ref" in part}
    assert found == {f"#/$defs/{name}" for name in schema["$defs"]}


def test_the_two_forms_are_told_apart_by_the_key_nodes() -> None:
    schema = recipe_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["if"] == {"required": ["nodes"]}
    assert schema["then"] == {"$ref": "#/$defs/NamedRecipe"}
    assert schema["else"] == {"$ref": "#/$defs/ZocaloRecipe"}


def test_named_nodes_are_closed_and_zocalos_are_open() -> None:
    definitions = recipe_schema()["$defs"]
    assert definitions["NamedNode"]["additionalProperties"] is False
    assert (
        definitions["NamedRecipe"]["properties"]["nodes"]["additionalProperties"]
        is False
    )
    assert definitions["ZocaloNode"]["additionalProperties"] is True
    zocalo = definitions["ZocaloRecipe"]
    assert zocalo["additionalProperties"] is False
    assert "nodes" not in zocalo["properties"]
    assert zocalo["required"] == ["start"]
    assert zocalo["patternProperties"] == {NODE_NUMBER: {"$ref": "#/$defs/ZocaloNode"}}


def test_every_key_of_a_node_is_explained() -> None:
    definitions = recipe_schema()["$defs"]
    for model in (NamedNode, ZocaloNode):
        for name, key in definitions[model.__name__]["properties"].items():
            assert key.get("description"), f"{model.__name__}: {name}"


@pytest.mark.parametrize("number", ["1", "01", "250"])
def test_numbers_are_keys_of_nodes(number: str) -> None:
    assert re.search(NODE_NUMBER, number)


@pytest.mark.parametrize("key", ["0", "-1", "1.5", "x1", "", "1\n2"])
def test_other_keys_are_not(key: str) -> None:
    assert not re.search(NODE_NUMBER, key)


@pytest.mark.parametrize("text", [GRID_SCAN, TWO_STARTS])
def test_zocalos_recipes_fit_the_models_behind_the_schema(text: str) -> None:
    document = json.loads(text)
    nodes = {key: document.pop(key) for key in list(document) if key.isdecimal()}
    ZocaloRecipe.model_validate({**document, "nodes": nodes})


@pytest.mark.parametrize("file", BUNDLED, ids=lambda file: file.stem)
def test_bundled_recipes_fit_the_models_behind_the_schema(file: Any) -> None:
    document = json.loads(file.read_text())
    NamedRecipe.model_validate(document)
    assert (file.parent / document["$schema"]).resolve().is_file()
    assert load_recipe(file).name == file.stem
