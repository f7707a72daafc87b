"""Centring in two perpendicular grids, and pins with several samples."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zocelery_tasks.kernels.centring_3d import find_centres_3d
from zocelery_tasks.kernels.multipin import Pin, well_limits
from zocelery_tasks.xray_centering import centre_counts_3d

CASES = json.loads((Path(__file__).parent / "data" / "centring.json").read_text())[
    "gridscan3d"
]

# one row of twelve boxes in each grid: three crystals, the last one faint
PIN_Y = np.array([[0, 3, 3, 0, 0, 20, 10, 0, 0, 1, 0, 1]]).T
PIN_Z = np.array([[0, 3, 3, 0, 0, 10, 10, 0, 0, 1, 1, 1]]).T
WELLS = [(0, 4), (4, 7), (8, 11)]


@pytest.mark.parametrize("case", CASES)
def test_synthetic_grids_have_the_centres_of_the_reference(
    case: dict[str, Any],
) -> None:
    samples = {int(well): id_ for well, id_ in case["multipin_sample_ids"].items()}
    before = copy.deepcopy(case)
    found = centre_counts_3d(
        case["xy"],
        case["xz"],
        Pin(case["sample_id"], samples, case["well_limits"]),
        threshold=case["threshold"],
        threshold_absolute=case["threshold_absolute"],
    )
    assert case == before
    assert len(found) == len(case["expected"])
    for centre, expected in zip(found, case["expected"], strict=True):
        answer = centre.model_dump(mode="json")
        assert answer.keys() == expected.keys()
        assert answer.pop("bounding_box") == expected["bounding_box"]
        for key, value in answer.items():
            assert value == pytest.approx(expected[key], rel=1e-12), key


def test_each_crystal_of_a_multi_sample_pin_has_its_own_threshold() -> None:
    pin = Pin(9, {1: 12345, 2: 12346, 3: 12347}, WELLS)
    found = centre_counts_3d(PIN_Y, PIN_Z, pin, threshold=0.25, threshold_absolute=3)
    assert [centre.sample_id for centre in found] == [12346, 12345]
    strong, faint = found
    assert strong.centre_of_mass == pytest.approx((5 + 5 / 6, 0.5, 0.5))
    assert (strong.max_voxel, strong.max_count) == ((5, 0, 0), 200)
    assert (strong.n_voxels, strong.total_count) == (2, 300)
    assert strong.bounding_box == ((5, 0, 0), (7, 1, 1))
    assert faint.centre_of_mass == (2.0, 0.5, 0.5)
    assert (faint.max_count, faint.total_count) == (9, 18)


def test_on_a_common_pin_faint_crystals_are_dropped() -> None:
    found = find_centres_3d(PIN_Y, PIN_Z, threshold=0.25, threshold_absolute=3)
    assert [centre.max_count for centre in found] == [200]


def test_counts_below_the_absolute_threshold_do_not_count() -> None:
    assert find_centres_3d([[2, 1]], [[2, 1]], threshold_absolute=3) == []
    assert find_centres_3d([[3, 1]], [[2, 1]], threshold_absolute=3) == []
    assert len(find_centres_3d([[3, 1]], [[3, 1]], threshold_absolute=3)) == 1


def test_no_signal_gives_no_crystal() -> None:
    zeros = np.zeros((4, 3))
    assert find_centres_3d(zeros, zeros) == []
    assert find_centres_3d(zeros, zeros, each_region=True) == []


def test_the_arrays_given_are_left_as_they_were() -> None:
    xy, xz = np.array([[1.0, 9.0]]), np.array([[2.0, 8.0]])
    find_centres_3d(xy, xz, threshold_absolute=5)
    assert xy.tolist() == [[1, 9]]
    assert xz.tolist() == [[2, 8]]


def test_the_centre_is_weighted_by_the_products() -> None:
    (found,) = find_centres_3d([[3, 1]], [[1]], threshold=0)
    assert found.centre == (0.5, 0.75, 0.5)
    assert (found.n_voxels, found.total_count) == (2, 4)


def test_voxels_that_touch_at_a_corner_are_one_crystal() -> None:
    (found,) = find_centres_3d([[5, 0], [0, 5]], [[5, 0], [0, 5]])
    assert found.bounding_box == ((0, 0, 0), (2, 2, 2))


def test_crystals_come_with_the_largest_total_first() -> None:
    row = np.array([[4], [0], [5], [0], [4]])
    found = find_centres_3d(row, row, threshold=0.1)
    assert [centre.max_voxel[0] for centre in found] == [2, 0, 4]


def test_grids_of_different_length_along_x_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 1\) and \(3, 1\)"):
        find_centres_3d([[1], [1]], [[1], [1], [1]])


def test_wells_are_read_from_the_loop_type() -> None:
    assert well_limits("multipin_5x400+220", 20) == [
        (1, 21),
        (21, 41),
        (41, 61),
        (61, 81),
        (81, 101),
    ]


@pytest.mark.parametrize("loop_type", [None, "", "mesh", "multipin"])
def test_other_loops_have_no_wells(loop_type: str | None) -> None:
    assert well_limits(loop_type, 20) == []


@pytest.mark.parametrize(
    ("x", "sample_id"),
    [(0, 101), (4, 101), (4.01, 102), (7.5, None), (8, None), (11.5, None)],
)
def test_the_first_well_that_holds_a_place_tells_the_sample(
    x: float, sample_id: int | None
) -> None:
    pin = Pin(9, {1: 101, 2: 102}, WELLS)  # nothing is known of the third well
    assert pin.sample_at(x) == sample_id


def test_a_pin_without_wells_holds_one_sample() -> None:
    assert Pin(9).sample_at(3.5) == 9
