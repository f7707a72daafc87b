"""Which boxes belong together."""

import numpy as np
import pytest
from scipy import ndimage

from zocelery_tasks.kernels.regions import connected_regions


def regions(picture: str) -> list[list[tuple[int, int]]]:
    mask = np.array([list(row) for row in picture.split()]) == "#"
    places = np.argwhere(mask)
    return [
        [(int(y), int(x)) for y, x in places[region]]
        for region in connected_regions(places)
    ]


def test_boxes_that_touch_at_a_side_or_a_corner_belong_together() -> None:
    found = regions("##.. ..#. #...")
    assert found == [[(0, 0), (0, 1), (1, 2)], [(2, 0)]]


def test_regions_come_in_the_order_of_their_first_boxes() -> None:
    found = regions("...# #... ..## #...")
    assert [region[0] for region in found] == [(0, 3), (1, 0), (2, 2), (3, 0)]


def test_the_far_side_of_a_grid_is_not_near() -> None:
    assert len(regions("...# #...")) == 2


def test_a_long_way_round_is_one_region() -> None:
    spiral = "####### ......# #####.# #...#.# #.###.# #.....# #######"
    assert len(regions(spiral)) == 1


def test_no_boxes_make_no_region() -> None:
    assert connected_regions(np.empty((0, 3), dtype=np.intp)) == []


@pytest.mark.parametrize("shape", [(30,), (17, 23), (9, 8, 11)])
@pytest.mark.parametrize("fraction", [0.03, 0.2, 0.5])
def test_random_boxes_are_sorted_as_scipy_does(
    shape: tuple[int, ...], fraction: float
) -> None:
    rng = np.random.default_rng(7)
    for _ in range(10):
        mask = rng.random(shape) < fraction
        labels, count = ndimage.label(mask, structure=np.ones((3,) * len(shape)))
        places = np.argwhere(mask)
        found = connected_regions(places)
        assert len(found) == count
        for label, region in enumerate(found, start=1):
            assert np.array_equal(places[region], np.argwhere(labels == label))
