"""From positions on a flat detector to resolution."""

import math

import numpy as np
import pytest
from zocelery_tasks.kernels.resolution import (
    d_spacing,
    map_to_reciprocal_space,
    within_resolution,
)

# Upright, 100 mm from the sample, pixels of 0.1 mm, beam centre at (500, 300).
UPRIGHT = np.array([[0.1, 0, -50], [0, -0.1, 30], [0, 0, -100]])


def positions(*pixels, pixel_to_lab=UPRIGHT, wavelength=1.0, **options):
    x, y = np.array(pixels, dtype=np.float64).T
    return map_to_reciprocal_space(
        x, y, pixel_to_lab=pixel_to_lab, wavelength=wavelength, **options
    )


def test_the_beam_centre_is_the_origin():
    assert positions((500, 300))[0] == pytest.approx((0, 0, 0))


@pytest.mark.parametrize("wavelength", [0.7, 1.0, 2.5])
def test_resolution_is_braggs(wavelength):
    q = np.linalg.norm(positions((900, 300), wavelength=wavelength), axis=-1)
    two_theta = math.atan2(40, 100)
    assert d_spacing(q)[0] == pytest.approx(wavelength / (2 * math.sin(two_theta / 2)))


def test_scattering_at_a_right_angle_is_at_45_degrees():
    sideways = np.array([[0.1, 0, 0], [0, -0.1, 0], [0, 0, 0.0]])
    s = positions((1000, 0), pixel_to_lab=sideways)
    # s1 = (1, 0, 0), s0 = (0, 0, -1)
    assert s[0] == pytest.approx((1, 0, 1))


def test_the_beam_need_not_run_along_z():
    s = positions((500, 300), source_direction=(-2.0, 0.0, 0.0))
    # s1 = (0, 0, -1), s0 = (1, 0, 0)
    assert s[0] == pytest.approx((-1, 0, -1))


def test_equal_distances_from_the_beam_centre_are_at_one_resolution():
    around = [(500 + 300 * math.cos(a), 300 + 300 * math.sin(a)) for a in range(6)]
    q = np.linalg.norm(positions(*around), axis=-1)
    assert q == pytest.approx(np.full(6, q[0]))


def test_no_spots_have_no_positions():
    nothing = np.empty(0)
    s = map_to_reciprocal_space(nothing, nothing, pixel_to_lab=UPRIGHT, wavelength=1.0)
    assert s.shape == (0, 3)


def test_the_origin_is_at_infinite_d():
    assert d_spacing(np.array([0.0, 0.5])).tolist() == [math.inf, 2.0]


@pytest.mark.parametrize(
    ("d_min", "d_max", "kept"),
    [
        (None, None, [0, 1, 2, 3]),
        (None, 40, [1, 2, 3]),
        (None, 4, [2, 3]),
        (2, None, [0, 1, 2]),
        (4, 20, [1, 2]),
        (5, 4, []),
    ],
)
def test_both_limits_are_inclusive(d_min, d_max, kept):
    q = np.array([0.0, 1 / 20, 1 / 4, 1.0])
    assert np.flatnonzero(within_resolution(q, d_min, d_max)).tolist() == kept
