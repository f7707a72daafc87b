"""Geometry from full imgCIF headers."""

import math

import numpy as np
import pytest

from tests.unit.small_images import mini_header, write_cbf
from zocelery.errors import ImageError
from zocelery_tasks.images.cbf import read_cbf
from zocelery_tasks.images.detector import SensorType
from zocelery_tasks.images.imgcif import has_imgcif_tables, imgcif_geometry

TABLES = """
_diffrn.id DS1
loop_
_diffrn_detector_element.id
_diffrn_detector_element.detector_id
ELEMENT1 det
_diffrn_radiation.wavelength_id WAVELENGTH1
loop_
_diffrn_radiation_wavelength.id
_diffrn_radiation_wavelength.wavelength
WAVELENGTH1 0.70000
loop_
_diffrn_scan_axis.axis_id
_diffrn_scan_axis.angle_start
_diffrn_scan_axis.displacement_start
GON_OMEGA -145.0 0.0
DET_2THETA 99.0 0.0
DET_Z 0.0 150.0
loop_
_diffrn_scan_frame_axis.axis_id
_diffrn_scan_frame_axis.angle
_diffrn_scan_frame_axis.displacement
DET_2THETA 30.0 0.0
loop_
_axis.id
_axis.type
_axis.equipment
_axis.depends_on
_axis.vector[1] _axis.vector[2] _axis.vector[3]
_axis.offset[1] _axis.offset[2] _axis.offset[3]
GON_OMEGA  rotation    goniometer .          1 0 0 . . .
SOURCE     general     source     .          0 0 1 . . .
DET_2THETA rotation    detector   .          1 0 0 . . .
DET_Z      translation detector   DET_2THETA 0 0 -1 0 0 0
ELEMENT_X  translation detector   DET_Z      0 1 0 -20 -10 0
ELEMENT_Y  translation detector   ELEMENT_X  1 0 0 0 0 0
loop_
_array_structure_list.array_id
_array_structure_list.index
_array_structure_list.precedence
_array_structure_list.direction
_array_structure_list.axis_set_id
ARRAY1 1 1 increasing ELEMENT_X
ARRAY1 2 2 increasing ELEMENT_Y
loop_
_array_structure_list_axis.axis_set_id
_array_structure_list_axis.axis_id
_array_structure_list_axis.displacement
_array_structure_list_axis.displacement_increment
ELEMENT_X ELEMENT_X 0.0 0.1
ELEMENT_Y ELEMENT_Y 0.0 0.2
loop_
_array_intensities.array_id
_array_intensities.gain
_array_intensities.overload
_array_intensities.undefined_value
ARRAY1 1.0 5000 -1
"""


@pytest.fixture
def geometry(tmp_path):
    """Read the geometry of an image with some texts of its tables replaced."""

    def read(*changes, before=None, shape=(3, 4)):
        tables = TABLES
        for old, new in changes:
            assert old in tables
            tables = tables.replace(old, new)
        header = (mini_header() if before is None else before) + tables
        assert has_imgcif_tables(header)
        file = write_cbf(tmp_path / "x_00001.cbf", np.zeros(shape, int), header)
        return imgcif_geometry(read_cbf(file))

    return read


def test_a_swung_detector_is_where_its_axes_put_it(geometry):
    detector, beam = geometry()
    sine, cosine = math.sin(math.radians(30)), math.cos(math.radians(30))
    assert detector.panel.fast_axis == pytest.approx((0, cosine, sine))
    assert detector.panel.slow_axis == pytest.approx((1, 0, 0))
    assert detector.panel.origin == pytest.approx(
        (-20, -10 * cosine + 150 * sine, -10 * sine - 150 * cosine)
    )
    assert detector.panel.distance == pytest.approx(150)
    assert detector.panel.pixel_size == (0.1, 0.2)
    assert beam.wavelength == 0.7
    assert beam.source_direction == (0, 0, 1)


def test_the_frame_of_a_scan_wins_over_the_scan(geometry):
    moved, _ = geometry(("30.0 0.0", "0.0 0.0"))
    assert moved.panel.origin == pytest.approx((-20, -10, -150))
    by_scan, _ = geometry(("DET_2THETA 30.0 0.0", "OTHER 30.0 0.0"), ("99.0", "0.0"))
    assert by_scan.panel.origin == pytest.approx(moved.panel.origin)


def test_displacements_of_the_first_pixel_count(geometry):
    detector, _ = geometry(
        ("ELEMENT_X ELEMENT_X 0.0", "ELEMENT_X ELEMENT_X 3.0"),
        ("ELEMENT_Y ELEMENT_Y 0.0", "ELEMENT_Y ELEMENT_Y 4.0"),
        ("30.0 0.0", "0.0 0.0"),
    )
    assert detector.panel.origin == pytest.approx((-16, -7, -150))


def test_pixels_may_run_against_their_axis(geometry):
    detector, _ = geometry(
        ("ELEMENT_Y ELEMENT_Y 0.0 0.2", "ELEMENT_Y ELEMENT_Y 0.0 -0.2")
    )
    assert detector.panel.slow_axis == pytest.approx((-1, 0, 0))
    assert detector.panel.pixel_size == (0.1, 0.2)


def test_a_slow_axis_that_carries_the_fast_one_is_as_good(geometry):
    detector, _ = geometry(
        (
            "ELEMENT_X  translation detector   DET_Z",
            "ELEMENT_X  translation detector ELEMENT_Y",
        ),
        (
            "ELEMENT_Y  translation detector   ELEMENT_X",
            "ELEMENT_Y  translation detector DET_Z",
        ),
    )
    assert detector.panel.origin == pytest.approx(geometry()[0].panel.origin)


def test_the_overload_is_saturated_under_every_rule(geometry):
    detector, _ = geometry()
    assert detector.trusted.limits("3.12") == (0, 4999)
    assert detector.trusted.limits("3.24") == (0, 4999)
    lowest, _ = geometry(("5000 -1", "5000 ."))[0].trusted.limits()
    assert lowest == 0


def test_sensor_and_gaps_are_known_of_a_pilatus_only(geometry):
    pilatus, _ = geometry(shape=(407, 487))
    assert pilatus.sensor is SensorType.PAD
    assert pilatus.sensor_thickness == pytest.approx(0.45)
    assert not pilatus.mask.all()
    other, _ = geometry(shape=(407, 487), before="###CBF: VERSION 1.5\ndata_x\n")
    assert other.sensor is SensorType.UNKNOWN
    assert other.mask.all()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("detector   DET_2THETA 0", "detector   GONE 0", "axis GONE is missing"),
        (
            "DET_2THETA rotation    detector   .",
            "DET_2THETA rotation    detector   ELEMENT_Y",
            "in a circle",
        ),
        (
            "ELEMENT_Y  translation detector   ELEMENT_X",
            "ELEMENT_Y  translation detector   DET_Z",
            "ELEMENT_X and ELEMENT_Y are not linked",
        ),
        ("ELEMENT1 det\n", "ELEMENT1 det\nELEMENT2 det\n", "several elements"),
        ("ARRAY1 2 2", "ARRAY2 2 2", "several elements"),
        ("2 2 increasing", "2 2 decreasing", "decreasing order"),
        ("ELEMENT_Y 0.0 0.2", "ELEMENT_Y 0.0 .", "lacks displacement_increment"),
        ("ELEMENT_Y 0.0 0.2", "ELEMENT_Y 0.0 0.0", "no size along ELEMENT_Y"),
        ("ARRAY1 1.0 5000", "ARRAY1 2.5 5000", "gain is 2.5"),
        ("WAVELENGTH1 0.70000", "WAVELENGTH1 ?", "lacks wavelength"),
        ("WAVELENGTH1 0.70000", "WAVELENGTH1 -1", "wavelength is -1"),
        ("DET_Z 0.0 150.0", "DET_Z 0.0 nan", "displacement_start is 'nan'"),
    ],
)
def test_what_is_wrong_with_the_tables_is_said(geometry, old, new, complaint):
    with pytest.raises(ImageError, match=f"x_00001.cbf: .*{complaint}"):
        geometry((old, new))


def test_mini_headers_have_no_tables():
    assert not has_imgcif_tables(mini_header())
