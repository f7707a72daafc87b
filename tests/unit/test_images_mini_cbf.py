"""Geometry from DECTRIS's mini CBF headers."""

import numpy as np
import pytest

from tests.unit.small_images import mini_header, write_cbf
from zocelery.errors import ImageError
from zocelery_tasks.images.cbf import read_cbf
from zocelery_tasks.images.detector import SensorType
from zocelery_tasks.images.mini_cbf import mini_cbf_geometry


@pytest.fixture
def geometry(tmp_path):
    """Read the geometry of an image with some header lines changed."""

    def read(shape=(3, 4), **changes):
        file = write_cbf(
            tmp_path / "x_00001.cbf", np.zeros(shape, int), mini_header(**changes)
        )
        return mini_cbf_geometry(read_cbf(file))

    return read


def test_the_detector_stands_upright_behind_the_sample(geometry):
    detector, beam = geometry()
    assert detector.panel.fast_axis == (1, 0, 0)
    assert detector.panel.slow_axis == (0, -1, 0)
    assert detector.panel.origin == pytest.approx((-2.5 * 0.172, 1.5 * 0.172, -200))
    assert detector.panel.pixel_size == pytest.approx((0.172, 0.172))
    assert detector.shape == (3, 4)
    assert detector.panel.distance == pytest.approx(200)
    assert detector.panel.beam_centre(beam) == pytest.approx((2.5, 1.5))
    assert beam.wavelength == 0.9


def test_the_sensor_and_its_range_are_read(geometry):
    detector, _ = geometry()
    assert detector.sensor is SensorType.PAD
    assert detector.sensor_material == "Si"
    assert detector.sensor_thickness == pytest.approx(0.45)
    assert detector.trusted.limits() == (0, 999)


def test_other_sensors_are_told_apart(geometry):
    cdte, _ = geometry(Silicon=None, CdTe="sensor, thickness 0.001000 m")
    assert (cdte.sensor, cdte.sensor_material) == (SensorType.PAD, "CdTe")
    ccd, _ = geometry(**{"Silicon": None, "Detector:": "ADSC CCD"})
    assert ccd.sensor is SensorType.CCD
    unknown, _ = geometry(Silicon=None)
    assert unknown.sensor is SensorType.UNKNOWN


@pytest.mark.parametrize(
    "changes",
    [
        {"Pixel_size": "1.72e-04 m x 0.000172 m"},
        {"Beam_xy": "( 2.5 , 1.5 ) pixels"},
        {"Detector_distance": "= 0.2 m"},
        {"Wavelength": None, "Wavelength:": "0.9 A"},
    ],
)
def test_numbers_are_read_however_they_are_written(geometry, changes):
    detector, beam = geometry(**changes)
    assert detector.panel.origin == pytest.approx((-2.5 * 0.172, 1.5 * 0.172, -200))
    assert beam.wavelength == 0.9


def test_gaps_between_modules_are_masked(geometry):
    pilatus, _ = geometry(shape=(407, 487))
    assert np.flatnonzero(~pilatus.mask.all(axis=1)).tolist() == list(range(195, 212))
    eiger, _ = geometry(
        shape=(1065, 1030), **{"Detector:": "Dectris Eiger 1M, E-02-0100"}
    )
    assert np.flatnonzero(~eiger.mask.all(axis=1)).tolist() == list(range(514, 551))
    other, _ = geometry(shape=(407, 488))
    assert other.mask.all()


def test_an_eiger_without_a_cutoff_has_practically_none(geometry):
    detector, _ = geometry(Count_cutoff=None, **{"Detector:": "EIGER 16M"})
    assert detector.trusted.limits() == (0, 99_999_999)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"Detector_distance": None}, "header lacks Detector_distance"),
        ({"Wavelength": None}, "header lacks Wavelength"),
        ({"Beam_xy": None}, "header lacks Beam_xy"),
        ({"Count_cutoff": None}, "header lacks Count_cutoff"),
        ({"Beam_xy": "(2.5) pixels"}, r"Beam_xy is '\(2.5\) pixels'"),
        ({"Wavelength": "0.00000 A"}, "Wavelength is '0.00000 A'"),
        ({"Pixel_size": "0 m x 0 m"}, "Pixel_size is"),
        ({"Count_cutoff": "1e999 counts"}, "Count_cutoff is .1e999 counts"),
        ({"Detector:": "PILATUS 12M, S/N 120-0100"}, "images of 2463 x 5071 pixels"),
    ],
)
def test_what_is_wrong_with_the_header_is_said(geometry, changes, complaint):
    with pytest.raises(ImageError, match=f"x_00001.cbf: .*{complaint}"):
        geometry(**changes)
