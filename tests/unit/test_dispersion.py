"""Strong pixels: the compiled thresholds beside formulas in plain numpy."""

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.random_cases import Aim, random_case
from benchmarks.random_images import random_image
from tests.unit.reference_dispersion import strong_pixels as reference
from zocelery_tasks.kernels.strong_pixels import StrongPixelFinder, strong_pixels
from zocelery_tasks.kernels.threshold import Algorithm, DispersionSettings

ALGORITHMS = list(Algorithm)
ALL_RULES = [
    DispersionSettings(Algorithm.DISPERSION),
    DispersionSettings(Algorithm.DISPERSION_EXTENDED),
    DispersionSettings(masked_pixels_block_erosion=False),
]

seeds = st.integers(0, 2**32 - 1)
rules = st.sampled_from(ALL_RULES)
many = settings(max_examples=200, deadline=None)
some = settings(max_examples=80, deadline=None)


def find(image: Any, mask: Any, chosen: DispersionSettings, *limits: int) -> Any:
    return StrongPixelFinder(chosen).find(image, mask, *(limits or (0, 2**32)))


def assert_as_by_the_formulas(
    image: Any, mask: Any, chosen: DispersionSettings, lowest: int, highest: int
) -> None:
    valid = mask & (image >= lowest) & (image <= highest)
    found = find(image, mask, chosen, lowest, highest)
    np.testing.assert_array_equal(found, reference(image, valid, chosen))


@many
@given(seeds, rules)
def test_strong_pixels_are_those_of_the_formulas(seed, chosen):
    rng = np.random.default_rng(seed)
    image, mask = random_image(rng)
    top = np.iinfo(image.dtype).max - 1
    highest = min(top, int(10 ** rng.uniform(1, 8)))
    assert_as_by_the_formulas(image, mask, chosen, 0, highest)


@some
@given(
    seeds,
    rules,
    st.sampled_from([0.0, 1.5, 3.0, 4.5, 12.0]),
    st.sampled_from([0.0, 1.0, 2.5, 8.0]),
    st.sampled_from([0, 2, 7, 25, 49]),
    st.sampled_from([0.0, 2.0, 50.5]),
)
def test_other_thresholds_are_those_of_the_formulas(
    seed, rule, sigma_background, sigma_strong, min_count, global_threshold
):
    chosen = replace(
        rule,
        sigma_background=sigma_background,
        sigma_strong=sigma_strong,
        min_count=min_count,
        global_threshold=global_threshold,
    )
    image, mask = random_image(np.random.default_rng(seed))
    assert_as_by_the_formulas(image, mask, chosen, 0, np.iinfo(image.dtype).max - 1)


@some
@given(
    seeds,
    rules,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from(["none", "number", "map"]),
    st.sampled_from([-5, 0, 3]),
)
def test_other_windows_gains_and_counts_are_those_of_the_formulas(
    seed, rule, kernel, gain, lowest
):
    rng = np.random.default_rng(seed)
    image, mask = random_image(rng)
    gains = {
        "none": None,
        "number": rng.uniform(0.3, 4),
        "map": rng.uniform(0.3, 4, image.shape),
    }
    chosen = replace(rule, kernel=kernel, gain=gains[gain])
    if image.dtype == np.int32:
        image[rng.random(image.shape) < 0.1] -= 4
    assert_as_by_the_formulas(image, mask, chosen, lowest, 10**6)


@settings(max_examples=20, deadline=None)
@given(seeds, rules, st.sampled_from([np.uint16, np.uint32]))
def test_wide_images_of_changing_background_are_done_the_fast_way(seed, chosen, dtype):
    rng = np.random.default_rng(seed)
    shape = (300, rng.integers(60, 150))
    mean = 10 ** (rng.uniform(-1.5, 0.5) + 2 * np.sin(np.linspace(0, 3, 300)) ** 2)
    image = rng.poisson(np.broadcast_to(mean[:, np.newaxis], shape)).astype(dtype)
    j, i = rng.integers(5, 290, 6), rng.integers(5, 50, 6)
    for dj, di in np.ndindex(4, 3):
        image[j + dj, i + di] += rng.integers(0, 9000, 6).astype(dtype)
    mask = rng.random(shape) > 0.0005
    mask[140:158] = False
    mask[:, 30:33] = False

    finder = StrongPixelFinder(chosen)
    with patch.object(finder, "_find_by_tables", side_effect=AssertionError("slow")):
        found = finder.find(image, mask, 0, 60000)

    valid = mask & (image <= 60000)
    np.testing.assert_array_equal(found, reference(image, valid, chosen))
    assert found.size


@settings(max_examples=20, deadline=None)
@given(seeds, rules, st.floats(1.5, 5.0))
def test_noise_far_beyond_poissons_is_done_the_fast_way(seed, chosen, magnitude):
    rng = np.random.default_rng(seed)
    shape = (120, rng.integers(20, 120))
    mean = 10**magnitude * rng.gamma(2, 0.5, shape)
    image = rng.poisson(mean).astype(np.uint32)
    hot = rng.random(shape) < 0.0003
    image[hot] = rng.choice([300_000, 1_400_000, 2**24], int(hot.sum()))
    mask = rng.random(shape) > 0.002
    mask[50:57] = False
    mask[:, 11:14] = False

    finder = StrongPixelFinder(chosen)
    with patch.object(finder, "_find_by_tables", side_effect=AssertionError("slow")):
        found = finder.find(image, mask, 0, 2**30)

    valid = mask & (image <= 2**30)
    np.testing.assert_array_equal(found, reference(image, valid, chosen))
    assert found.size


@pytest.mark.parametrize("seed", range(6))
def test_windows_that_single_precision_cannot_tell_are_those_of_the_formulas(seed):
    image = np.random.default_rng(seed).poisson(4000, (300, 300)).astype(np.uint16)
    mask = np.ones(image.shape, np.bool_)
    # few windows are signal, and of these one in a hundred is on the edge of it
    chosen = DispersionSettings(
        algorithm=Algorithm.DISPERSION_EXTENDED, sigma_background=1.5, sigma_strong=1.0
    )
    assert_as_by_the_formulas(image, mask, chosen, 0, 60000)


@some
@given(seeds, st.sampled_from([Aim.EDGE, Aim.OVERDISPERSED]), st.booleans())
def test_windows_on_the_edge_and_overdispersed_images_are_those_of_the_formulas(
    seed, aim, blocks
):
    case = random_case(seed, most=240, aim=aim)
    chosen = replace(case.settings, masked_pixels_block_erosion=blocks)
    assert_as_by_the_formulas(case.image, case.mask, chosen, 0, case.highest)


@some
@given(seeds, rules)
def test_images_too_bright_for_exact_sums_are_rounded_as_dials_does(seed, chosen):
    rng = np.random.default_rng(seed)
    shape = rng.integers(100, 140, 2)
    image = rng.integers(2**23, 2**24 + 2**20, shape).astype(np.uint32)
    image[rng.random(shape) < 0.5] = rng.integers(1, 2**12)
    mask = np.ones(shape, np.bool_)
    assert (image.astype(float) ** 2).sum() > 2.0**53
    assert_as_by_the_formulas(image, mask, chosen, 0, 2**31)


@pytest.mark.parametrize("chosen", ALL_RULES)
def test_a_few_counts_too_high_for_exact_sums_are_rounded_as_dials_does(chosen):
    rng = np.random.default_rng(9)
    image = rng.poisson(2.0, (400, 400)).astype(np.uint32)
    image[rng.integers(0, 400, 80), rng.integers(0, 400, 80)] = 2**24 - 1
    mask = np.ones(image.shape, np.bool_)
    # many windows are on the edge of being signal, where rounding decides
    on_edge = replace(chosen, sigma_background=1.0)
    assert_as_by_the_formulas(image, mask, on_edge, 0, 2**31)


@pytest.mark.parametrize("chosen", ALL_RULES)
@pytest.mark.parametrize(
    "wrong",
    [
        {"sigma_background": 6.3},
        {"sigma_strong": 3.1},
        {"kernel": (3, 4)},
        {"min_count": 30},
        {"global_threshold": 10.0},
        {"gain": 1.05},
    ],
    ids=str,
)
def test_a_slightly_wrong_parameter_is_noticed(chosen, wrong):
    rng = np.random.default_rng(5)
    differ = 0
    for _ in range(100):
        image, mask = random_image(rng, most=64)
        valid = mask & (image >= 0) & (image < np.iinfo(image.dtype).max)
        found = strong_pixels(image, valid, replace(chosen, **wrong))
        differ += not np.array_equal(found, reference(image, valid, chosen))
    assert differ >= 2


def test_the_rules_for_masked_pixels_differ():
    rng = np.random.default_rng(6)
    old, new = ALL_RULES[1:]
    differ = 0
    for _ in range(40):
        image, mask = random_image(rng)
        differ += not np.array_equal(find(image, mask, old), find(image, mask, new))
    assert differ >= 5


# -- small images made by hand


def noise(shape=(31, 33), dtype=np.uint16):
    """Counts of mean 1 and of variance 1 or less in every window."""
    y, x = np.indices(shape)
    return ((y + x) % 3).astype(dtype)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 3), (7, 7), (31, 33)])
def test_background_alone_has_no_strong_pixels(algorithm, shape):
    image = noise(shape)
    assert not find(image, image >= 0, DispersionSettings(algorithm)).size


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_spot_is_found_with_its_flanks(algorithm):
    image = noise()
    image[14:17, 20:23] = [[9, 30, 9], [30, 200, 30], [9, 30, 9]]
    found = find(image, image >= 0, DispersionSettings(algorithm))
    expected = {(14, 21), (15, 20), (15, 21), (15, 22), (16, 21)}
    j, i = np.unravel_index(found, image.shape)
    assert expected <= set(zip(j.tolist(), i.tolist(), strict=True))
    assert found.tolist() == sorted(found)


@pytest.mark.parametrize("corner", [(0, 0), (0, 30), (28, 0), (28, 30)])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_spot_in_a_corner_of_the_image_is_found(algorithm, corner):
    image = noise()
    image[corner[0] : corner[0] + 3, corner[1] : corner[1] + 3] = 100
    assert find(image, image >= 0, DispersionSettings(algorithm)).size == 9


def test_a_spot_beside_a_gap_is_found_only_as_dials_3_24_does():
    image, mask = noise(), np.ones((31, 33), np.bool_)
    image[10:13, 20:23] = 100
    mask[:, 23:30] = False
    old = find(image, mask, DispersionSettings())
    new = find(image, mask, DispersionSettings(masked_pixels_block_erosion=False))
    assert set(old % 33) == {20}
    assert set(new % 33) == {20, 21, 22}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_counts_beyond_the_limits_and_masked_pixels_are_never_strong(algorithm):
    image, mask = noise(), np.ones((31, 33), np.bool_)
    image[10:13, 20:23] = [[100, 101, 102], [103, 104, 105], [106, 107, 108]]
    mask[11, 21] = False
    found = find(image, mask, DispersionSettings(algorithm), 0, 107)
    if algorithm is Algorithm.DISPERSION:
        assert sorted(image.flat[found]) == [100, 101, 102, 103, 105, 106, 107]
    assert not set(found) & {11 * 33 + 21, 12 * 33 + 22}


def test_counts_from_2_to_the_24th_are_strong_but_not_summed():
    image = noise(dtype=np.uint32)
    image[15, 15] = 2**24
    settings_ = DispersionSettings(Algorithm.DISPERSION)
    assert not find(image, image >= 0, settings_).size
    image[15, 16] = 50
    assert find(image, image >= 0, settings_).tolist() == [15 * 33 + 15, 15 * 33 + 16]
    image[15, 15] = 2**24 - 1
    assert find(image, image >= 0, settings_).tolist() == [15 * 33 + 15]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_without_a_usable_pixel_nothing_is_found(algorithm):
    image = noise()
    chosen = DispersionSettings(algorithm)
    assert not find(image, np.zeros(image.shape, np.bool_), chosen).size
    assert not find(image, image >= 0, chosen, 70, 60).size


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, ">u2", ">i4"])
def test_any_integer_type_gives_the_same_pixels(dtype):
    image = noise()
    image[10:13, 20:23] = 100
    expected = find(image, image >= 0, DispersionSettings())
    found = find(image.astype(dtype), image >= 0, DispersionSettings())
    assert found.tolist() == expected.tolist()
    assert found.size


def test_pixels_and_mask_need_not_be_contiguous_nor_writeable():
    image = noise()
    image[10:13, 20:23] = 100
    expected = find(image, image >= 0, DispersionSettings())
    turned = np.asfortranarray(image)
    turned.flags.writeable = False
    found = find(turned, np.asfortranarray(image >= 0), DispersionSettings())
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_finder_goes_from_image_to_image_of_any_shape(algorithm):
    rng = np.random.default_rng(7)
    finder = StrongPixelFinder(DispersionSettings(algorithm))
    for _ in range(30):
        image, mask = random_image(rng)
        valid = mask & (image >= 0) & (image <= 2**30)
        found = finder.find(image, mask, 0, 2**30)
        assert found.tolist() == reference(image, valid, finder.settings).tolist()


def test_a_mask_that_can_be_written_to_is_read_each_time():
    image, mask = noise(), np.ones((31, 33), np.bool_)
    image[10:13, 20:23] = 100
    finder = StrongPixelFinder(DispersionSettings(Algorithm.DISPERSION))
    assert finder.find(image, mask, 0, 1000).size == 9
    mask[10] = False
    assert finder.find(image, mask, 0, 1000).size == 6


def test_an_image_of_nothing_but_spots_is_done_too():
    rng = np.random.default_rng(8)
    image = rng.negative_binomial(1, 0.05, (120, 120)).astype(np.uint16)
    mask = np.ones(image.shape, np.bool_)
    for chosen in ALL_RULES:
        expected = reference(image, mask, chosen)
        assert expected.size > image.size / 32
        assert find(image, mask, chosen).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kernel": (0, 3)}, "kernel"),
        ({"min_count": 1}, "min_count 1 is not 0 or 2 to 49"),
        ({"min_count": 50}, "min_count 50"),
        ({"sigma_background": -1.0}, "sigma_background -1.0"),
        ({"sigma_strong": float("nan")}, "sigma_strong nan"),
        ({"global_threshold": -0.1}, "global_threshold"),
        ({"gain": 0.0}, "gain"),
        ({"gain": np.array([[1.0, -1.0]])}, "gain"),
    ],
)
def test_settings_that_dials_would_refuse_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        DispersionSettings(**wrong)


@pytest.mark.parametrize(
    ("image", "mask", "error"),
    [
        (np.zeros((5, 5)), np.ones((5, 5), np.bool_), TypeError),
        (np.zeros((5, 5), np.int64), np.ones((5, 5), np.bool_), TypeError),
        (np.zeros((5, 5), np.uint16), np.ones((5, 5), np.uint8), TypeError),
        (np.zeros((5, 5), np.uint16), np.ones((5, 6), np.bool_), ValueError),
        (np.zeros(25, np.uint16), np.ones(25, np.bool_), ValueError),
        (np.zeros((0, 5), np.uint16), np.ones((0, 5), np.bool_), ValueError),
    ],
)
def test_what_is_no_image_is_refused(image, mask, error):
    with pytest.raises(error):
        strong_pixels(image, mask, DispersionSettings())


def test_a_gain_map_of_another_shape_is_refused():
    chosen = DispersionSettings(gain=np.ones((5, 6)))
    with pytest.raises(ValueError, match="gain map"):
        find(noise((5, 5)), np.ones((5, 5), np.bool_), chosen)
