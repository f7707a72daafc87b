from typing import Any

import pytest

from zocelery.errors import ParameterError
from zocelery.parameters import fill_in, find_placeholders
from zocelery.plan import Plan
from zocelery.recipe import Recipe
from zocelery.recipe_checks import check_recipe
from zocelery.recipe_format import load_recipe
from zocelery.registry import load_catalogue
from zocelery.resources import resource_dir
from zocelery.settings import QueueSettings

CATALOGUE = load_catalogue(QueueSettings(tasks={}, foreign=()))
GIVEN: dict[str, dict[str, Any]] = {
    "per-image-analysis": {"images": "/data/x_%05d.cbf:1:100"},
    "grid-scan": {"images": "/data/x_master.h5", "grid": "19x1"},
    "grid-scan-3d": {
        "images_xy": "/data/xy_####.cbf:1:200",
        "images_xz": "/data/xz_####.cbf:1:240",
        "grid_xy": "20x10",
        "grid_xz": "20x12",
    },
    "all-features": {},
}


def bundled(name: str) -> Recipe:
    return load_recipe(resource_dir("recipes") / f"{name}.json")


@pytest.mark.parametrize("name", GIVEN)
def test_a_bundled_recipe_runs_with_what_its_description_asks_for(name: str) -> None:
    recipe = bundled(name)
    check_recipe(recipe, CATALOGUE)
    filled = fill_in(recipe, GIVEN[name])
    check_recipe(filled, CATALOGUE)
    assert Plan(filled, CATALOGUE).gathers


@pytest.mark.parametrize("name", GIVEN)
def test_a_bundled_recipe_explains_itself(name: str) -> None:
    recipe = bundled(name)
    assert recipe.description
    assert set(find_placeholders(recipe)) <= set(recipe.placeholders)
    assert all(recipe.placeholders.values())


@pytest.mark.parametrize("name", ["per-image-analysis", "grid-scan"])
def test_images_come_from_the_data_collection_if_they_are_not_given(name: str) -> None:
    lims = {
        "ispyb_image_directory": "/data",
        "ispyb_image_pattern": "x_%05d.cbf",
        "ispyb_image_first": 1,
        "ispyb_image_last": 19,
        "ispyb_dcid": 7,
        "ispyb_dc_info": {"gridinfo": {"steps_x": 19, "steps_y": 1}},
    }
    nodes = fill_in(bundled(name), lims).nodes
    assert nodes["watch"].parameters["images"] == "/data/x_%05d.cbf:1:19"
    if name == "grid-scan":
        given = nodes["centre"].parameters
        assert given["gridinfo"] == {"steps_x": 19, "steps_y": 1}
        assert given["dcid"] == 7
    with pytest.raises(ParameterError, match="'images' is not given"):
        fill_in(bundled(name), {})


def test_the_grids_of_a_pair_are_told_apart_by_where_their_images_come_from() -> None:
    nodes = fill_in(bundled("grid-scan-3d"), GIVEN["grid-scan-3d"]).nodes
    grids = nodes["centre"].parameters["grids"]
    sources = [grid["source"].split("/") for grid in grids]
    assert all(channel in nodes[watch].outputs for watch, channel in sources)
    assert [grid["grid"] for grid in grids] == ["20x10", "20x12"]


def test_the_recipe_of_all_features_has_them_all() -> None:
    recipe = bundled("all-features")
    used = {
        key
        for node in recipe
        for key in type(node).model_fields
        if getattr(node, key) not in (None, "", {}, (), False, 0.0)
    }
    assert used >= {
        *("task", "service", "queue", "transport_delay", "description", "parameters"),
        *("outputs", "error", "gather", "deadline", "foreach", "retry", "timeout"),
    }
    assert len(recipe.start) == 2
    assert recipe.error == ("alarm",)
    assert recipe.nodes["pair"].gather == "join"
    greeting = fill_in(recipe, {"name": "i99"}).nodes["greet"].parameters
    assert greeting == {
        "greeting": "Hello i99",
        "door": "3",
        "hall of i99": {"door": 3},
        "words": ["image", "spot", "crystal"],
        "literal": "{not a placeholder}",
    }
