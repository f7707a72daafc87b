"""The crystal and its reflections, against symmetry and Ewald's construction."""

import numpy as np
import pytest

from zocelery.errors import ParameterError
from zocelery_tasks.simulation.crystal import (
    Crystal,
    indices_within,
    intensities,
    random_orientation,
)
from zocelery_tasks.simulation.detector import find_detector
from zocelery_tasks.simulation.diffraction import disturb, predict
from zocelery_tasks.simulation.gaussian import erf, gaussian_integral, inverse_erf
from zocelery_tasks.simulation.geometry import Geometry

CRYSTAL = Crystal(random_orientation(np.random.default_rng(5)), seed=5)
GEOMETRY = Geometry(find_detector("eiger2_1m"), distance_mm=65.0, wavelength=0.9795)


def strengths(*hkl, seed=5):
    indices = np.array(hkl)
    d = 1 / np.linalg.norm(indices / np.array(CRYSTAL.cell), axis=1)
    return intensities(Crystal(CRYSTAL.orientation, seed), indices, d)


@pytest.fixture(scope="module")
def flashes():
    return predict(CRYSTAL, GEOMETRY, d_min=3.0, sweep=(10.0, 30.0))


def test_the_gaussian_integral_is_that_of_a_normal_distribution():
    one_sigma = gaussian_integral(np.array([-1.0]), np.array([1.0]), np.sqrt(2))
    assert one_sigma == pytest.approx(0.682689492, abs=1e-6)


def test_the_inverse_error_function_undoes_the_error_function():
    x = np.linspace(-1.5, 1.5, 11)
    assert inverse_erf(erf(x)) == pytest.approx(x, abs=5e-3)


def test_an_orientation_is_a_rotation():
    assert CRYSTAL.orientation @ CRYSTAL.orientation.T == pytest.approx(np.eye(3))
    assert np.linalg.det(CRYSTAL.orientation) == pytest.approx(1)


def test_mates_in_4_mmm_are_equally_strong():
    mates = [(5, 3, 7), (-5, 3, 7), (3, -5, -7), (-3, -5, 7), (5, 3, -7)]
    assert len(set(strengths(*mates))) == 1


def test_reflections_that_are_no_mates_differ():
    assert len(set(strengths((5, 3, 7), (5, 7, 3), (5, 3, 6)))) == 3


@pytest.mark.parametrize(
    ("forbidden", "allowed"),
    [
        ([(0, 0, 1), (0, 0, 2), (0, 0, -6)], [(0, 0, 4), (0, 0, 8)]),
        ([(1, 0, 0), (0, 3, 0), (-5, 0, 0)], [(2, 0, 0), (0, 4, 0)]),
    ],
    ids=["screw axis 4_3", "screw axes 2_1"],
)
def test_screw_axes_forbid_reflections(forbidden, allowed):
    assert not strengths(*forbidden).any()
    assert strengths(*allowed).all()


def test_another_seed_is_another_structure():
    assert strengths((5, 3, 7)) != strengths((5, 3, 7), seed=6)


def test_acentric_intensities_follow_wilson():
    hkl, inverse_d = indices_within(CRYSTAL, 2.5)
    shell = (inverse_d > 0.36) & ~(hkl == 0).any(1) & (hkl[:, 0] > hkl[:, 1])
    shell &= (hkl > 0).all(1)
    strong = intensities(CRYSTAL, hkl[shell], 1 / inverse_d[shell])
    # <I^2> / <I>^2 is 2 for acentric reflections.
    assert (strong**2).mean() / strong.mean() ** 2 == pytest.approx(2, abs=0.25)


def test_indices_keep_to_the_resolution():
    hkl, inverse_d = indices_within(CRYSTAL, 10.0)
    assert inverse_d.max() < 0.1
    assert [4, 4, 2] in hkl.tolist()
    assert [8, 0, 0] not in hkl.tolist()


def test_every_flash_lies_on_the_ewald_sphere(flashes):
    points = flashes.hkl @ CRYSTAL.setting_matrix.T
    angle = np.radians(flashes.phi)
    # Turning about (-1, 0, 0) by phi is turning about x by -phi.
    y = points[:, 1] * np.cos(angle) + points[:, 2] * np.sin(angle)
    z = -points[:, 1] * np.sin(angle) + points[:, 2] * np.cos(angle)
    ray = np.column_stack([points[:, 0], y, z + 1 / GEOMETRY.wavelength])
    assert np.linalg.norm(ray, axis=1) == pytest.approx(1 / GEOMETRY.wavelength)


def test_flashes_lie_where_their_rays_hit_the_detector(flashes):
    points = flashes.hkl @ CRYSTAL.setting_matrix.T
    two_theta = 2 * np.arcsin(GEOMETRY.wavelength * np.linalg.norm(points, axis=1) / 2)
    slow, fast = GEOMETRY.beam_centre
    radius = np.hypot(flashes.x - fast, flashes.y - slow) * 0.075
    deeper = radius - GEOMETRY.distance_mm * np.tan(two_theta)
    # A ray is absorbed somewhere within 0.45 mm of silicon, never in front of it.
    assert (deeper > 0).all()
    assert (deeper < 0.45 * np.tan(two_theta)).all()


def test_flashes_come_in_the_order_of_their_angles_with_a_margin(flashes):
    assert (np.diff(flashes.phi) >= 0).all()
    assert flashes.phi[0] == pytest.approx(6, abs=0.5)
    assert flashes.phi[-1] == pytest.approx(34, abs=0.5)


def test_a_full_turn_shows_everything_a_second_time():
    once = predict(CRYSTAL, GEOMETRY, d_min=6.0, sweep=(0.0, 352.0))
    twice = predict(CRYSTAL, GEOMETRY, d_min=6.0, sweep=(0.0, 712.0))
    assert len(twice) == 2 * len(once)


def test_a_detector_that_catches_nothing_is_a_mistake():
    far = Geometry(find_detector("test_128k"), distance_mm=5000.0, wavelength=0.9795)
    with pytest.raises(ParameterError, match=r"no reflection .* at 5000 mm"):
        predict(CRYSTAL, far, d_min=3.0, sweep=(0.0, 1.0))


def test_imperfections_are_as_large_as_asked_for(flashes):
    shaken = disturb(flashes, seed=1, scatter=0.03, wobble=0.12, mosaicity=0.1)
    assert (shaken.x - flashes.x).std() == pytest.approx(0.12, rel=0.1)
    assert (shaken.phi - flashes.phi).std() == pytest.approx(0.005, rel=0.1)
    exact = disturb(flashes, seed=1, scatter=0.0, wobble=0.0, mosaicity=0.0)
    assert exact.x.tolist() == flashes.x.tolist()
