"""Defects of the existing system, by number: zocelery does not have them.

The numbers are those of the list that was made when Zocalo was examined. Defects 1 and
2 are tested with the dead letters, in `tests/integration/test_dead_letters.py`.
"""

import json
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from celery.exceptions import QueueNotFound

from zocelery.celery import app
from zocelery.errors import ParameterError, RecipeError
from zocelery.messages import Member, Step
from zocelery.parameters import fill_in
from zocelery.recipe_checks import check_recipe
from zocelery.recipe_format import dump_recipe, parse_recipe
from zocelery.recipe_library import RecipeLibrary
from zocelery.recipe_merge import merge_recipes
from zocelery.registry import load_catalogue
from zocelery.settings import current_settings
from zocelery_tasks.centring_answer import centre_members
from zocelery_tasks.file_watcher import watch_files
from zocelery_tasks.grid_info import GridInfo
from zocelery_tasks.kernels.centring_3d import find_centres_3d
from zocelery_tasks.kernels.statistics import spot_statistics
from zocelery_tasks.xray_centering import centre_2d, centre_3d
from zocelery_tasks.xray_centering_parameters import XrayCenteringParameters

pytestmark = pytest.mark.faults
PLAIN = XrayCenteringParameters()
PIN = {"loop_type": "multipin_3x4+1", "msp_sample_ids": {"1": 11, "3": 13}}


def image(number: int, count: int | None) -> Member:
    """Return what is known of an image: its count, or that it has none."""
    if count is None:
        return Member(str(number), "watch/every", ok=False, error="truncated")
    value = {"n_spots_total": count, "file-number": number}
    return Member(str(number), "watch/every", ok=True, value=value)


def centre(*members: Member) -> dict[str, Any]:
    return centre_members(Step(parameters={"grid": "4x1"}, members=members))


def test_defect_03_an_image_that_comes_twice_counts_once():
    once = [image(1, 0), image(2, 8), image(3, 5), image(4, 0)]
    answer = centre(*once)
    assert centre(*once, once[1], once[1]) == answer
    assert answer["results"][0]["max_count"] == 8


def test_defect_04_an_image_number_outside_of_the_grid_does_no_harm():
    answer = centre(image(1, 0), image(2, 8), image(9, 700), image(3, 5), image(4, 0))
    assert answer["results"][0]["max_count"] == 8
    assert answer["missing"] == []


def test_defect_05_one_image_without_a_result_does_not_lose_the_others():
    answer = centre(image(1, 0), image(2, 8), image(3, None), image(4, 0))
    assert answer["results"][0]["status"] == "ok"
    assert answer["missing"] == [3]


def test_defect_06_a_well_lies_along_x_and_may_have_no_sample():
    grid = GridInfo.parse("12x3")
    parameters = XrayCenteringParameters.parse({**PIN, "sample_id": 7})
    at_the_end = centre_2d({12 + 11: 30}, grid, parameters)
    assert (at_the_end.centre_of_mass, at_the_end.sample_id) == ((10.5, 1.5), 13)
    in_the_middle = centre_2d({12 + 6: 30}, grid, parameters)
    assert in_the_middle.sample_id is None


def test_defect_07_a_third_dimension_needs_no_list_of_groups(tmp_path: Path):
    grid, counts = GridInfo.parse("4x1"), {1: 0, 2: 5, 3: 0, 4: 0}
    output = tmp_path / "centre.json"
    assert not PLAIN.dcg_dcids
    found = centre_3d([(counts, grid), (counts, grid)], PLAIN)
    assert found.results[0].centre_of_mass == (1.5, 0.5, 0.5)
    sources = ("a/every", "b/every")
    members = [
        Member(str(n), source, ok=True, value={"n_spots_total": c, "file-number": n})
        for source in sources
        for n, c in counts.items()
    ]
    grids = [{"source": source, "grid": "4x1"} for source in sources]
    parameters = {"grids": grids, "output": str(output)}
    centre_members(Step(parameters=parameters, members=members))
    assert json.loads(output.read_text())["results"]


def test_defect_08_the_counts_given_are_left_as_they_were():
    xy, xz = np.array([[1.0, 9.0]]), np.array([[2.0, 8.0]])
    find_centres_3d(xy, xz, threshold_absolute=5)
    assert (xy.tolist(), xz.tolist()) == ([[1, 9]], [[2, 8]])


def test_defect_09_merging_leaves_recipes_alone():
    documents: list[dict[str, Any]] = [
        {"1": {"service": "a", "queue": "file_watcher"}, "start": [[1, []]]},
        {"1": {"service": "b", "queue": "xray_centering"}, "start": [[1, []]]},
    ]
    recipes = [parse_recipe(document) for document in documents]
    merge_recipes(recipes)
    assert [dump_recipe(recipe) for recipe in recipes] == documents


def test_defect_09_a_recipe_of_diamonds_is_checked_in_no_time():
    layers = 60
    nodes: dict[str, Any] = {}
    for layer in range(layers):
        below = [f"l{layer + 1}", f"r{layer + 1}"] if layer + 1 < layers else []
        for side in "lr":
            nodes[f"{side}{layer}"] = {"task": "echo", "output": below}
    nodes["top"] = {"task": "echo", "output": ["l0", "r0"]}
    recipe = parse_recipe({"nodes": nodes, "start": "top"})
    check_recipe(recipe, load_catalogue(current_settings().queues))  # or the time is up


@pytest.mark.parametrize("text", ["{}", "{0}", "{x.y}", '{"a": 1}', "{", "}"])
def test_defect_09_braces_in_a_text_are_an_error_that_names_the_place(text: str):
    recipe = parse_recipe(
        {"nodes": {"a": {"task": "echo", "parameters": {"t": text}}}, "start": "a"}
    )
    with pytest.raises(ParameterError, match=r"node 'a', parameters\.t"):
        fill_in(recipe, {"x": "1"})


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..", "x/y"])
def test_defect_10_a_recipes_name_never_leads_out_of_its_folder(
    name: str, tmp_path: Path
):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "x.json").write_text('{"nodes": {"a": {"task": "echo"}}}')
    with pytest.raises(RecipeError, match="recipe"):
        RecipeLibrary([tmp_path / "recipes"]).find(name)


def test_defect_11_a_selection_of_one_is_one_image(tmp_path: Path):
    for number in (1, 2, 3):
        (tmp_path / f"x_{number}.cbf").write_bytes(b"x" * 10)
    parameters = {"images": f"{tmp_path}/x_%d.cbf:1:3", "timeout": 5}
    step = Step(parameters=parameters, channels=frozenset({"select-1"}))
    told = [e for burst in watch_files(step, {}) for e in burst.emissions]
    assert [emission.channel for emission in told] == ["select-1"]


@pytest.mark.parametrize(
    ("swmr", "share"), [(False, 0.1), (False, 0.5), (False, 0.9), (True, 0.1)]
)
def test_defect_11_an_hdf5_file_that_is_not_ready_is_waited_for(
    swmr: bool, share: float, tmp_path: Path
):
    whole, part = tmp_path / "whole.h5", tmp_path / "part.h5"
    with h5py.File(whole, "w", libver="latest") as file:
        shape = {"shape": (2, 4, 4), "maxshape": (None, 4, 4), "chunks": (1, 4, 4)}
        images = file.create_dataset("entry/data/data", dtype="u2", **shape)
        if swmr:
            file.swmr_mode = True
        images[:] = 1
        file.flush()
        content = whole.read_bytes()  # with the mark of a writer, if there may be one
    part.write_bytes(content[: int(share * len(content))])
    patience = {"timeout": 0.5, "look-timeout": 2}  # HDF5 hangs on some of them
    parameters = {"hdf5": str(part), "log-timeout-as-info": True, **patience}
    step = Step(parameters=parameters, channels=frozenset({"every", "timeout"}))
    told, deadline = [], time.monotonic() + 60
    for burst in watch_files(step, {}):
        assert time.monotonic() < deadline
        told += [emission.channel for emission in burst.emissions]
        if burst.pause:
            time.sleep(min(burst.pause, 0.1))
    assert told == ["timeout"]


def test_defect_12_a_message_to_a_queue_that_is_not_there_is_an_error():
    with pytest.raises(QueueNotFound):
        app.send_task("zocelery.echo", queue="no_such_queue")


def test_defect_12_a_node_whose_queue_nobody_serves_is_refused():
    document = {"nodes": {"a": {"queue": "no_such_queue"}}, "start": "a"}
    catalogue = load_catalogue(current_settings().queues)
    with pytest.raises(RecipeError, match="no_such_queue"):
        check_recipe(parse_recipe(document), catalogue)


def test_defect_18_spots_on_one_d_spacing_have_statistics():
    found = spot_statistics(np.full(11, 0.3), np.arange(11) + 5, filter_ice=False)
    assert found.n_spots_total == 11
    assert found.d_min_distl_method_2 == found.noisiness_method_2 == -1
