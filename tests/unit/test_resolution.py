"""From positions on a flat detector to resolution."""

import math

import numpy as np
import pytest

from zocelery_tasks.images.sensor_material import attenuation_coefficient
from zocelery_tasks.kernels.resolution import (
    Plane,
    Sensor,
    d_spacing,
    inverse_resolution,
    within_resolution,
)

UPRIGHT = Plane((1, 0, 0), (0, -1, 0), (-50, 30, -100), (0.1, 0.1))
"""100 mm from the sample, its beam centre at (500, 300)."""


def q_of(*pixels, plane=UPRIGHT, wavelength=1.0, **options):
    x, y = np.array(pixels, dtype=np.float64).T
    return inverse_resolution(x, y, plane, wavelength=wavelength, **options)


def test_the_beam_centre_is_the_origin():
    assert q_of((500, 300)) == pytest.approx([0])


@pytest.mark.parametrize("wavelength", [0.7, 1.0, 2.5])
def test_resolution_is_braggs(wavelength):
    two_theta = math.atan2(40, 100)
    d = d_spacing(q_of((900, 300), wavelength=wavelength))
    assert d == pytest.approx([wavelength / (2 * math.sin(two_theta / 2))])


def test_scattering_at_a_right_angle_is_at_45_degrees():
    sideways = Plane((0, 1, 0), (0, 0, 1), (80, 0, 0), (0.1, 0.2))
    assert q_of((0, 0), plane=sideways) == pytest.approx([math.sqrt(2)])


def test_the_beam_need_not_run_along_z():
    q = q_of((500, 300), source_direction=(-2.0, 0.0, 0.0))
    assert q == pytest.approx([math.sqrt(2)])


def test_equal_distances_from_the_beam_centre_are_at_one_resolution():
    around = [(500 + 300 * math.cos(a), 300 + 300 * math.sin(a)) for a in range(6)]
    q = q_of(*around)
    assert q == pytest.approx(np.full(6, q[0]))


def test_no_spots_have_no_resolution():
    nothing = np.empty(0)
    assert inverse_resolution(nothing, nothing, UPRIGHT, wavelength=1.0).shape == (0,)


# Parallax


def test_a_thick_black_sensor_sees_photons_where_they_meet_it():
    q = q_of((900, 300), sensor=Sensor(attenuation=1e6, thickness=1.0))
    assert q == pytest.approx(q_of((900, 300)), rel=1e-6)


def test_a_photon_absorbed_deep_in_the_sensor_met_it_further_in():
    # All of the path is 1 mm, of which sin(2 theta) lies along the surface.
    deep = Sensor(attenuation=1.0, thickness=1e3)
    sine = 40 / math.hypot(40, 100)
    assert q_of((900, 300), sensor=deep) == pytest.approx(
        q_of((900 - sine / 0.1, 300)), rel=1e-9
    )


def test_what_leaves_a_thin_sensor_again_does_not_count():
    thin = Sensor(attenuation=1.0, thickness=0.5)
    cosine = 100 / math.hypot(40, 100)
    depth = 0.5 / cosine
    path = 1 - (depth + 1) * math.exp(-depth)
    shift = path * 40 / math.hypot(40, 100)
    assert q_of((900, 300), sensor=thin) == pytest.approx(
        q_of((900 - shift / 0.1, 300)), rel=1e-9
    )


def test_parallax_does_not_depend_on_which_way_the_plane_is_described():
    sensor = Sensor(3.0, 0.45)
    turned = Plane((0, -1, 0), (1, 0, 0), (-50, 30, -100), (0.1, 0.1))
    assert q_of((700, 120), sensor=sensor) == pytest.approx(
        q_of((120, 700), plane=turned, sensor=sensor)
    )


def test_at_the_foot_of_the_normal_there_is_no_parallax():
    assert q_of((500, 300), sensor=Sensor(3.0, 0.45)) == pytest.approx([0])


@pytest.mark.parametrize(
    ("material", "wavelength", "per_mm"),
    [
        ("Si", 0.6889, 1.41535),
        ("Si", 0.9762458, 3.92199),
        ("Si", 2.755204411, 76.2979),
        ("CdTe", 0.30995, 11.9649),
        ("GaAs", 1.0, 80.0800),
    ],
)
def test_attenuation_is_that_of_the_tables(material, wavelength, per_mm):
    found = attenuation_coefficient(material, wavelength)
    assert found == pytest.approx(per_mm, rel=1e-5)


def test_attenuation_jumps_at_absorption_edges():
    below, above = (attenuation_coefficient("CdTe", w) for w in (0.4650, 0.4630))
    assert above > 2.5 * below


@pytest.mark.parametrize(
    ("material", "wavelength"), [("Xx", 1.0), ("", 1.0), ("Si", 20.0), ("Si", 0.025)]
)
def test_attenuation_is_not_known_of_everything(material, wavelength):
    assert attenuation_coefficient(material, wavelength) is None


# Limits


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
