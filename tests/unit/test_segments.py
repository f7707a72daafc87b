"""Rows without a bright pixel are skipped, and nothing is lost by it."""

import numpy as np
import pytest

from tests.unit.reference_dispersion import strong_pixels as reference
from zocelery_tasks.kernels.screen import make_screen
from zocelery_tasks.kernels.segments import SEGMENT
from zocelery_tasks.kernels.strong_pixels import strong_pixels
from zocelery_tasks.kernels.threshold import Algorithm, DispersionSettings


def striped(rng: np.random.Generator, means: list[float]):
    """Return an image whose bands of 90 rows have these mean counts, with spots."""
    mean = np.repeat(means, 90)[:, None] * np.ones((1, 5 * SEGMENT + 13))
    image = rng.poisson(mean)
    for j in range(4, image.shape[0], 23):
        i = int(rng.integers(0, image.shape[1] - 3))
        image[j : j + 3, i : i + 3] += rng.poisson(40, (3, 3))
    return image.astype(np.uint16)


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("means", [[0.001, 0.7, 0.001], [2.0, 0.01, 0.3, 0.01, 4.0]])
def test_dark_and_bright_bands_take_turns(algorithm, means):
    settings = DispersionSettings(algorithm=algorithm)
    image = striped(np.random.default_rng(3), means)
    usable = np.ones(image.shape, np.bool_)
    expected = reference(image, usable, settings)
    assert expected.size > 50
    np.testing.assert_array_equal(strong_pixels(image, usable, settings), expected)


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("column", [0, 3, SEGMENT - 1, SEGMENT, 2 * SEGMENT - 3, 140])
def test_a_spot_at_the_edge_of_a_segment_is_found(algorithm, column):
    settings = DispersionSettings(algorithm=algorithm)
    image = np.zeros((40, 141), np.uint16)
    image[18:22, max(column - 1, 0) : column + 2] = 30
    image[20, column] = 60
    usable = np.ones(image.shape, np.bool_)
    expected = reference(image, usable, settings)
    assert 20 * 141 + column in expected
    np.testing.assert_array_equal(strong_pixels(image, usable, settings), expected)


def test_what_no_signal_comes_from_depends_on_the_settings():
    darkest = make_screen(DispersionSettings().threshold, 8).dull
    brightest = make_screen(DispersionSettings(sigma_background=0.0).threshold, 8).dull
    assert (darkest, brightest) == (2, 0)
