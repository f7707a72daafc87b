"""Spots: the compiled way beside plain Python, and spots made by hand."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit import reference_spots
from zocelery_tasks.kernels.labelling import label_pixels
from zocelery_tasks.kernels.spots import SpotTable, find_spots


def find(
    image: Any,
    strong: Any = None,
    min_size: int = 1,
    max_size: int = 1000,
    max_separation: float | None = None,
) -> SpotTable:
    """Find the spots of what is above 0, or of `strong`."""
    image = np.asarray(image)
    indices = np.flatnonzero(image > 0 if strong is None else strong)
    counts = image.reshape(-1)[indices]
    width = image.shape[1]
    return find_spots(indices, counts, width, min_size, max_size, max_separation)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.01, 0.7),
    st.sampled_from([1, 3, 6]),
    st.sampled_from([5, 30, 1000]),
    st.sampled_from([0.7, 2.0, 5.0]),
)
def test_spots_are_those_of_plain_python(seed, share, min_size, max_size, separation):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 40, 2))
    strong = rng.random(shape) < share
    top = 10 ** rng.uniform(0, 8)
    image = rng.integers(1, int(top) + 1, shape).astype(np.uint32)

    table = find(image, strong, min_size, max_size, separation)

    expected = reference_spots.spots(image, strong, min_size, max_size, separation)
    assert len(table) == len(expected)
    for field in fields(SpotTable):
        column = getattr(table, field.name)
        np.testing.assert_array_equal(column, [spot[field.name] for spot in expected])


def test_no_strong_pixels_make_no_spots():
    table = find(np.zeros((5, 6), np.uint16), max_separation=2)
    assert len(table) == 0
    assert table.x.shape == (0,)
    assert table.bbox.shape == (0, 4)


def test_pixels_that_touch_at_a_corner_are_two_spots():
    assert find([[1, 0], [0, 1]]).n_pixels.tolist() == [1, 1]
    assert find([[1, 1], [0, 1]]).n_pixels.tolist() == [3]


def test_the_end_of_a_row_does_not_touch_the_next_row():
    table = find([[0, 0, 7], [7, 0, 0]])
    assert table.n_pixels.tolist() == [1, 1]
    assert table.bbox.tolist() == [[2, 3, 0, 1], [0, 1, 1, 2]]


def test_branches_that_meet_later_are_one_spot():
    image = np.array(
        [
            [1, 0, 1, 0, 1],
            [1, 0, 1, 0, 1],
            [1, 1, 1, 0, 1],
            [0, 0, 1, 1, 1],
            [5, 0, 0, 0, 0],
        ]
    )
    assert find(image).n_pixels.tolist() == [13, 1]


def test_spots_are_in_the_order_of_their_first_pixels():
    image = np.zeros((6, 9), np.uint16)
    image[0, 7:9] = 3
    image[1:5, 0:2] = 2
    image[1, 4] = 5
    table = find(image)
    assert table.peak.tolist() == [3, 2, 5]
    labels, n = label_pixels(np.flatnonzero(image), 9)
    assert n == 3
    assert labels.tolist() == [0, 0, 1, 1, 2, 1, 1, 1, 1, 1, 1]


def test_a_spot_is_measured():
    image = np.zeros((20, 30), np.uint16)
    image[10:12, 5:8] = [[1, 2, 1], [0, 4, 0]]
    table = find(image)
    assert table.bbox.tolist() == [[5, 8, 10, 12]]
    assert table.n_pixels.tolist() == [4]
    assert (table.intensity[0], table.variance[0], table.peak[0]) == (8, 8, 4)
    assert (table.x[0], table.y[0]) == (6.5, 11.0)
    # x: sum of counts * distance² = 2; n_eff = 64 - (1 + 4 + 1 + 16) = 42
    assert table.variance_x[0] == pytest.approx(2 * 8 / 42 / 8 + 1 / 12, rel=1e-15)
    assert table.variance_y[0] == pytest.approx(2 * 8 / 42 / 8 + 1 / 12, rel=1e-15)


def test_the_centroid_of_one_pixel_is_as_uncertain_as_the_pixel_is_wide():
    table = find([[0, 0], [0, 9]])
    assert (table.x[0], table.y[0]) == (1.5, 1.5)
    assert (table.variance_x[0], table.variance_y[0]) == (1 / 12, 1 / 12)


def test_intensities_are_sums_in_single_precision():
    image = np.full((1, 3), 2**24, np.uint32)
    image[0, 1:] = 1
    assert find(image).intensity.tolist() == [2**24]
    assert find(image[:, ::-1].copy()).intensity.tolist() == [2**24 + 2]


def test_spots_of_a_size_at_the_limits_stay():
    image = np.zeros((9, 9), np.uint16)
    for row, size in ((0, 2), (2, 3), (4, 5), (6, 6)):
        image[row, :size] = 1
    assert find(image, min_size=3, max_size=5).n_pixels.tolist() == [3, 5]


def test_a_spot_whose_peak_is_far_from_its_centroid_goes():
    image = np.array([[20, 9, 9, 9, 9, 9, 9]])
    centroid = float(find(image).x[0])
    distance = centroid - 0.5
    assert len(find(image, max_separation=distance)) == 1
    assert len(find(image, max_separation=np.nextafter(distance, 0))) == 0
    assert len(find(image, max_separation=None)) == 1


def test_of_equal_peaks_the_first_counts():
    # centroid at 2.5: from the first peak 2.0, from the last 2.0; from the middle 0
    image = np.array([[9, 1, 9, 1, 9]])
    assert len(find(image, max_separation=1.9)) == 0
    assert len(find(image, max_separation=2.0)) == 1


def test_a_selection_keeps_all_columns_together():
    image = np.diag([3, 4, 5]).astype(np.uint16)
    table = find(image).select(np.array([True, False, True]))
    assert table.peak.tolist() == [3, 5]
    assert table.bbox.tolist() == [[0, 1, 0, 1], [2, 3, 2, 3]]
    assert len(find(image).select(np.array([2, 0]))) == 2
