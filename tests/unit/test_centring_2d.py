"""Centring in one grid."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zocelery_tasks.kernels.centring_2d import find_centre_2d
from zocelery_tasks.kernels.grid import GridGeometry, Orientation
from zocelery_tasks.kernels.multipin import Pin
from zocelery_tasks.xray_centering import centre_counts_2d

CASES = json.loads((Path(__file__).parent / "data" / "centring.json").read_text())[
    "gridscan2d"
]


@pytest.mark.parametrize("case", CASES)
def test_synthetic_grids_have_the_centres_of_the_reference(
    case: dict[str, Any],
) -> None:
    geometry = GridGeometry(
        steps=tuple(case["steps"]),
        snaked=case["snaked"],
        orientation=Orientation(case["orientation"]),
        box_size_px=tuple(case["box_size_px"]),
        snapshot_offset=tuple(case["snapshot_offset"]),
    )
    result = centre_counts_2d(case["data"], geometry, Pin(case["sample_id"]))
    assert_close(result.bare(), case["expected"])


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        numeric = key in {"centre_of_mass", "centre_x", "centre_y"} and value
        assert found[key] == (pytest.approx(value) if numeric else value), key


def test_a_column_of_images_is_centred_in_pixels() -> None:
    counts = np.zeros(80)
    counts[37:59] = 57
    counts[51] = 114
    geometry = GridGeometry(
        steps=(1, 80),
        orientation=Orientation.VERTICAL,
        box_size_px=(24.096385542168676, 6.024096385542169),
        snapshot_offset=(446.952, 123.036),
    )
    result = centre_counts_2d(counts, geometry, Pin())
    assert (result.best_image, result.max_count, result.n_voxels) == (52, 114, 22)
    assert result.centre_of_mass == pytest.approx((0.5, 48.0))
    assert result.centre_x == pytest.approx(459.00019277108436)
    assert result.centre_y == pytest.approx(412.1926265060241)


def test_a_snaked_vertical_grid_is_unsnaked() -> None:
    counts = [0, 0, 6, 54, 38, 0, 5, 41, 44, 5, 0, 0, 0, 0, 0, 3, 4, 1, *([0] * 12)]
    geometry = GridGeometry(
        steps=(5, 6),
        snaked=True,
        orientation=Orientation.VERTICAL,
        box_size_px=(45.45454545454545, 45.45454545454545),
        snapshot_offset=(339.273, 236.727),
    )
    result = centre_counts_2d(counts, geometry, Pin())
    assert (result.best_image, result.max_count, result.n_voxels) == (4, 54, 4)
    assert result.total_count == 177
    assert result.centre_of_mass == pytest.approx((1.0, 4.0))
    assert result.max_voxel == (0, 3)
    assert result.centre_x == pytest.approx(384.72754545454546)
    assert result.centre_y == pytest.approx(418.54518181818185)


def test_a_line_scan_is_centred() -> None:
    geometry = GridGeometry(steps=(1, 10))
    found = find_centre_2d([0, 1, 2, 3, 4, 5, 4, 3, 2, 1], geometry)
    assert found is not None
    assert found.centre == (0.5, 5.5)
    assert (found.n_voxels, found.total_count) == (5, 19)


@pytest.mark.parametrize("level", [1, 5])
def test_a_uniform_grid_is_one_region(level: int) -> None:
    found = find_centre_2d([level] * 100, GridGeometry(steps=(10, 10)))
    assert found is not None
    assert (found.centre, found.best_image, found.n_voxels) == ((5.0, 5.0), 1, 100)


def test_a_blank_grid_has_no_centre_and_says_so() -> None:
    result = centre_counts_2d([0] * 30, GridGeometry(steps=(5, 6)), Pin(7))
    assert (result.status, result.message) == ("fail", "No good images found")
    assert result.centre_of_mass is result.sample_id is result.best_region is None
    assert result.steps == (5, 6)


def test_boxes_that_touch_at_a_corner_belong_together() -> None:
    found = find_centre_2d([9, 0, 0, 9], GridGeometry(steps=(2, 2)))
    assert found is not None
    assert found.region == ((0, 0), (1, 1))


def test_the_larger_region_wins_and_the_brightest_image_is_still_named() -> None:
    found = find_centre_2d([9, 0, 6, 5, 0, 0], GridGeometry(steps=(6, 1)))
    assert found is not None
    assert (found.best_image, found.max_count) == (1, 9)
    assert (found.centre, found.max_voxel) == ((3.0, 0.5), (2, 0))
    assert (found.n_voxels, found.total_count) == (2, 11)


def test_among_equal_regions_the_first_in_raster_order_wins() -> None:
    found = find_centre_2d([0, 4, 0, 4, 0, 4], GridGeometry(steps=(6, 1)))
    assert found is not None
    assert found.centre == (1.5, 0.5)


def test_half_of_the_largest_count_is_strong_enough() -> None:
    found = find_centre_2d([5, 10, 4], GridGeometry(steps=(3, 1)))
    assert found is not None
    assert found.n_voxels == 2


def test_a_crystal_on_a_multi_sample_pin_belongs_to_the_well_along_x() -> None:
    pin = Pin(
        sample_id=7, sample_ids={1: 11, 2: 12, 3: 13}, limits=[(0, 4), (4, 8), (8, 12)]
    )
    counts = np.zeros((3, 12))
    counts[1, 10] = 30
    result = centre_counts_2d(counts.ravel(), GridGeometry(steps=(12, 3)), pin)
    assert result.centre_of_mass == (10.5, 1.5)
    assert result.sample_id == 13
