"""CBF files with a binary section for each panel of a detector."""

import gzip

import numpy as np
import pytest

from tests.unit.small_images import cbf_bytes
from zocelery.errors import ImageError
from zocelery_tasks.images.image import PixelBuffers
from zocelery_tasks.images.open import open_image

TABLES = """###CBF: VERSION 1.7
data_panels
_diffrn.id DS1
loop_
_diffrn_detector_element.id
ELEMENT1
ELEMENT2
_diffrn_radiation_wavelength.wavelength 0.7
loop_
_axis.id
_axis.type
_axis.equipment
_axis.depends_on
_axis.vector[1] _axis.vector[2] _axis.vector[3]
_axis.offset[1] _axis.offset[2] _axis.offset[3]
SOURCE  general     source   .       0 0 1 . . .
DET_Z   translation detector .       0 0 -1 0 0 -100
TURN    rotation    detector DET_Z   1 0 0 0 0 0
FAST1   translation detector SLOW1   1 0 0 0 0 0
SLOW1   translation detector DET_Z   0 -1 0 -20 10 0
FAST2   translation detector SLOW2   1 0 0 0 0 0
SLOW2   translation detector TURN    0 -1 0 -20 -5 0
loop_
_diffrn_scan_frame_axis.axis_id
_diffrn_scan_frame_axis.angle
_diffrn_scan_frame_axis.displacement
DET_Z 0 50
TURN 90 0
loop_
_array_intensities.array_id
_array_intensities.gain
_array_intensities.overload
_array_intensities.undefined_value
ARRAY1 1.0 5000 -1
ARRAY2 1.0 5000 -1
loop_
_array_structure_list.array_id
_array_structure_list.precedence
_array_structure_list.axis_set_id
ARRAY1 1 FAST1
ARRAY1 2 SLOW1
ARRAY2 1 FAST2
ARRAY2 2 SLOW2
loop_
_array_structure_list_axis.axis_set_id
_array_structure_list_axis.displacement_increment
FAST1 0.1
SLOW1 0.1
FAST2 0.2
SLOW2 0.2
loop_
_array_data.array_id
"""
FIRST = np.arange(12).reshape(3, 4) + 100
SECOND = np.arange(10).reshape(2, 5)
DATA = b"_array_data.data\r\n"


def panels_bytes(*changes, first=FIRST, second=SECOND, **mime):
    """A file of two panels, with some texts of its tables replaced."""
    tables = TABLES
    for old, new in changes:
        assert old in tables
        tables = tables.replace(old, new)
    return cbf_bytes(first, tables).replace(DATA, DATA + b"ARRAY1\r\n") + cbf_bytes(
        second, "", **mime
    ).replace(DATA, b"ARRAY2\r\n")


def write(tmp_path, content):
    file = tmp_path / "x_00001.cbf"
    file.write_bytes(content)
    return file


def test_panels_stand_one_below_the_other(tmp_path):
    file = write(tmp_path, gzip.compress(panels_bytes()))
    image = open_image(file)
    assert image.pixels.shape == image.detector.shape == (5, 5)
    assert image.pixels[:3, :4].tolist() == FIRST.tolist()
    assert image.pixels[3:].tolist() == SECOND.tolist()
    assert [panel.first for panel in image.detector.panels] == [(0, 0), (3, 0)]
    assert [panel.size for panel in image.detector.panels] == [(3, 4), (2, 5)]
    assert np.argwhere(~image.detector.mask).tolist() == [[0, 4], [1, 4], [2, 4]]
    assert image.detector.trusted.limits() == (0, 4999)
    assert image.beam.wavelength == 0.7


def test_each_panel_has_its_own_axes(tmp_path):
    first, second = open_image(write(tmp_path, panels_bytes())).detector.panels
    assert first.fast_axis == second.fast_axis == (1, 0, 0)
    assert first.slow_axis == (0, -1, 0)
    assert first.origin == pytest.approx((-20, 10, -150))
    assert first.pixel_size == (0.1, 0.1)
    # turned by 90 degrees about x: y goes to z
    assert second.slow_axis == pytest.approx((0, 0, -1))
    assert second.origin == pytest.approx((-20, 0, -155))
    assert second.pixel_size == (0.2, 0.2)


def test_buffers_are_used_again(tmp_path):
    buffers = PixelBuffers()
    file = write(tmp_path, panels_bytes())
    first, second = (open_image(file, 1, buffers) for _ in range(2))
    assert np.shares_memory(first.pixels, second.pixels)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ([("ARRAY2 2 SLOW2", "ARRAY2 2 SLOW9")], "header lacks displacement_increment"),
        ([("ARRAY2 1.0 5000", "ARRAY2 1.0 6000")], "panels of different ranges"),
        ([("ARRAY2 1.0 5000", "ARRAY2 2.5 5000")], "gain is 2.5"),
        ([("FAST2   translation detector SLOW2", "FAST2   t t .")], "not linked"),
        ([("_array_data.array_id", "_array_data.name")], "2 images for the arrays"),
    ],
    ids=str,
)
def test_what_is_wrong_with_the_tables_is_said(tmp_path, changes, complaint):
    with pytest.raises(ImageError, match=f"x_00001.cbf: image 1: .*{complaint}"):
        open_image(write(tmp_path, panels_bytes(*changes)))


def test_what_is_wrong_with_a_later_section_is_said(tmp_path):
    wrong = panels_bytes(X_Binary_Number_of_Elements="11")
    with pytest.raises(ImageError, match="image 1: 11 pixels are no image of 5 x 2"):
        open_image(write(tmp_path, wrong))
    short = panels_bytes(X_Binary_Element_Type='"unsigned 16-bit integer"')
    with pytest.raises(ImageError, match="panels of different types"):
        open_image(write(tmp_path, short))
    packed = panels_bytes(conversions="x-CBF_PACKED")
    with pytest.raises(ImageError, match="compression x-CBF_PACKED"):
        open_image(write(tmp_path, packed))


def test_a_truncated_later_section_is_not_left_out(tmp_path):
    whole = panels_bytes().rpartition(bytes(128))[0]
    begin = whole.rindex(b"--CIF-BINARY-FORMAT-SECTION--\r\n") + 31
    for kept in range(begin, len(whole)):
        with pytest.raises(ImageError, match=r"x_00001.cbf: image 1: "):
            open_image(write(tmp_path, whole[:kept]))
    lone = whole[: whole.index(bytes(128))]
    with pytest.raises(ImageError, match="only one of several elements"):
        open_image(write(tmp_path, lone))
