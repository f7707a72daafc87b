"""The nine per-image statistics."""

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocelery_tasks.kernels.statistics import SpotStatistics, spot_statistics

CASES = json.loads(
    (Path(__file__).parent / "data" / "spot_statistics.json").read_text()
)["cases"]


@pytest.mark.parametrize("filter_ice", [True, False])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{len(case['q'])}spots")
def test_the_statistics_are_those_of_dials(
    case: dict[str, Any], filter_ice: bool
) -> None:
    expected = case["with_ice_filter" if filter_ice else "without_ice_filter"]
    found = spot_statistics(case["q"], case["intensity"], filter_ice=filter_ice)
    assert dataclasses.asdict(found) == pytest.approx(expected, abs=1e-12)


def test_no_spots_give_zeros_and_nothing_computed() -> None:
    assert spot_statistics([], []) == SpotStatistics(
        n_spots_4A=0, n_spots_no_ice=0, n_spots_total=0, total_intensity=0.0
    )


def test_ten_spots_are_too_few_for_a_resolution_and_eleven_are_enough() -> None:
    q = np.linspace(0.1, 0.5, 11)
    few = spot_statistics(q[:10], np.full(10, 9), filter_ice=False)
    enough = spot_statistics(q, np.arange(11) + 9, filter_ice=False)
    assert few.d_min_distl_method_1 == few.noisiness_method_2 == -1
    assert enough.d_min_distl_method_1 > 0
    assert enough.d_min_distl_method_2 > 0


def test_spots_at_4_angstrom_are_not_beyond_it() -> None:
    found = spot_statistics([0.25, 0.2499, 0.26], [1, 1, 1], filter_ice=False)
    assert found.n_spots_4A == 1


def test_an_ice_ring_is_left_out_of_the_intensity_but_not_of_the_total() -> None:
    ring = 4 / (3 * 4.498**2)  # 1/d² of (1 0 0), the innermost ring
    q = np.sqrt([ring, ring + 0.0019, ring + 0.0021])
    found = spot_statistics(q, [100, 10, 1])
    assert (found.n_spots_total, found.n_spots_no_ice) == (3, 1)
    assert found.total_intensity == 1
    assert spot_statistics(q, [100, 10, 1], filter_ice=False).total_intensity == 111


def test_ice_rings_are_those_that_the_space_group_allows() -> None:
    c = 7.338
    forbidden, allowed = 1 / c**2, 4 / c**2  # (0 0 1) and (0 0 2)
    found = spot_statistics(np.sqrt([forbidden, allowed]), [3, 5])
    assert (found.n_spots_no_ice, found.total_intensity) == (1, 3)


def test_spots_on_one_d_spacing_have_no_shells_to_count_in() -> None:
    found = spot_statistics(np.full(11, 0.3), np.arange(11) + 5, filter_ice=False)
    assert found.d_min_distl_method_2 == found.noisiness_method_2 == -1
    assert found.estimated_d_min == -1
    assert found.d_min_distl_method_1 == pytest.approx(1 / 0.3)


def test_parallel_lines_give_no_estimate() -> None:
    found = spot_statistics(np.linspace(0.1, 0.5, 40), np.full(40, 7), filter_ice=False)
    assert found.estimated_d_min == -1


def test_a_given_variance_replaces_the_intensity() -> None:
    rng = np.random.default_rng(3)
    q, intensity = rng.uniform(0.1, 0.6, 200), rng.integers(5, 500, 200)
    own = spot_statistics(q, intensity)
    assert spot_statistics(q, intensity, intensity) == own
    assert spot_statistics(q, intensity, intensity**2 / 7) != own


def test_the_direct_beam_does_not_count() -> None:
    assert spot_statistics([0.0, 0.3], [5, 5]).n_spots_total == 1


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        spot_statistics([0.1, 0.2], [1])


@given(
    st.lists(
        st.tuples(
            st.one_of(st.floats(), st.sampled_from([0.2, 0.3])),
            st.floats(-10, 1e6),
            st.floats(-10, 1e6),
        ),
        max_size=60,
    ),
    st.booleans(),
)
def test_no_list_of_spots_raises_or_warns(
    spots: list[tuple[float, float, float]], filter_ice: bool
) -> None:
    q, intensity, variance = np.array(spots, dtype=float).reshape(-1, 3).T
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = spot_statistics(q, intensity, variance, filter_ice=filter_ice)
    limits = dataclasses.astuple(found)[4:]
    assert all(limit == -1 or limit >= 0 for limit in limits)
