"""The bundled recipes that run programs."""

from typing import Any

import pytest

from tests.unit.test_recipe_bundled import CATALOGUE, bundled
from zocelery.catalogue import TaskKind
from zocelery.errors import ParameterError
from zocelery.parameters import fill_in, find_placeholders
from zocelery.plan import Plan
from zocelery.recipe_checks import check_recipe

GIVEN: dict[str, dict[str, Any]] = {
    "dials": {"images": "/d/x.nxs:1:100"},
    "dials-live": {"images": "/d/x_#####.cbf:1:100"},
    "xia2": {"images": "/d/x_####.cbf:1:100"},
    "xia2-multiplex": {"data": [{"experiments": "/d/a", "reflections": "/d/b"}]},
    "autoprocessing": {"images": "/d/x_%05d.cbf:1:100", "kind": "rotation"},
    "fast-dp": {"image": "/d/x_0001.cbf"},
    "dimple": {"mtz": "/d/x.mtz", "pdb": "/d/x.pdb"},
    "autoproc": {
        "image_directory": "/d",
        "template": "x_####.cbf",
        "first": 1,
        "last": 100,
    },
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_recipe_runs_with_what_its_description_asks_for(name: str) -> None:
    recipe = bundled(name)
    check_recipe(recipe, CATALOGUE)
    filled = fill_in(recipe, GIVEN[name])
    check_recipe(filled, CATALOGUE)
    plan = Plan(filled, CATALOGUE)
    specs = [plan.spec(node) for node in plan.recipe.nodes]
    assert any(spec and spec.kind is TaskKind.WRAPPER for spec in specs)
    for node in plan.recipe:
        spec = plan.spec(node.name)
        if spec and spec.check and spec.kind is TaskKind.WRAPPER:
            spec.check(node.parameters)


@pytest.mark.parametrize("name", GIVEN)
def test_a_recipe_explains_itself(name: str) -> None:
    recipe = bundled(name)
    assert recipe.description
    assert set(find_placeholders(recipe)) <= set(recipe.placeholders)
    assert all(recipe.placeholders.values())
    with pytest.raises(ParameterError, match="is not given"):
        fill_in(recipe, {})
