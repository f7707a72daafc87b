"""SMV files: pixels, geometry by the header, and what is said of broken ones."""

import bz2
import gzip

import numpy as np
import pytest

from tests.unit.small_images import smv_bytes, write_smv
from zocelery.errors import ImageError
from zocelery_tasks.images.detector import SensorType
from zocelery_tasks.images.image import PixelBuffers
from zocelery_tasks.images.open import count_images, is_hdf5, open_image

PIXELS = np.array([[0, 1, 2, 3], [70, 65534, 65535, 6], [7, 8, 9, 300]], "<u2")


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)],
)
def test_pixels_come_back_from_plain_and_compressed_files(tmp_path, suffix, compress):
    file = tmp_path / f"x_001.img{suffix}"
    file.write_bytes(compress(smv_bytes(PIXELS)))
    assert not is_hdf5(file)
    assert count_images(file) == 1
    image = open_image(file)
    assert image.pixels.dtype == np.uint16
    assert image.pixels.tolist() == PIXELS.tolist()
    assert image.detector.trusted.limits() == (0, 65534)
    with pytest.raises(ImageError, match=r"x_001.img.*: image 2: there is only image"):
        open_image(file, 2)


@pytest.mark.parametrize("order", ["little_endian", "big_endian"])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("unsigned_short", "u2"),
        ("unsigned short int", "u2"),
        ("short int", "i2"),
        ("long int", "i4"),
        ("signed_int", "i4"),
        ("int", "i4"),
        ("unsigned_long", "u4"),
        ("unsigned_char", "u1"),
    ],
)
def test_types_and_byte_orders_are_those_of_the_header(tmp_path, name, code, order):
    pixels = np.array([[1, 2, 100], [4, 5, 6]])
    stored = pixels.astype((">" if order == "big_endian" else "<") + code)
    file = write_smv(tmp_path / "x_1.img", stored, TYPE=name, BYTE_ORDER=order)
    read = open_image(file).pixels
    assert read.dtype == np.dtype(code)
    assert read.dtype.isnative
    assert read.tolist() == pixels.tolist()


def test_the_beam_centre_is_meant_as_mosflm_does(tmp_path):
    image = open_image(write_smv(tmp_path / "x_1.img", PIXELS))
    panel = image.detector.panel
    assert panel.fast_axis == (1, 0, 0)
    assert panel.slow_axis == (0, -1, 0)
    # x of the header runs along slow
    assert panel.beam_centre(image.beam) == pytest.approx((5 / 0.1024, 3 / 0.1024))
    assert panel.distance == pytest.approx(200)
    assert image.beam.wavelength == 0.97
    assert image.detector.sensor is SensorType.CCD
    assert image.detector.min_spot_size == 6


def test_simulated_images_have_a_beam_centre_of_their_own(tmp_path):
    file = write_smv(tmp_path / "x_1.img", PIXELS, BEAMLINE="fake", ADC_OFFSET="0")
    image = open_image(file)
    fast, slow = image.detector.panel.beam_centre(image.beam)
    assert fast == pytest.approx(3 / 0.1024 + 1)
    assert slow == pytest.approx(len(PIXELS) - 5 / 0.1024 + 1)


def test_counts_become_photons_by_gain_and_pedestal(tmp_path):
    buffers = PixelBuffers()
    changes = {"GAIN": "2.5", "IMAGE_PEDESTAL": "40"}
    image = open_image(write_smv(tmp_path / "x_1.img", PIXELS, **changes), 1, buffers)
    assert image.pixels.dtype == np.float64
    assert image.pixels[1].tolist() == [12, 26197.6, 26198, -13.6]
    # counts of 65535 - 40 and above are lost
    assert np.argwhere(~image.detector.mask).tolist() == [[1, 1], [1, 2]]
    other = write_smv(tmp_path / "x_2.img", PIXELS, **changes)
    assert np.shares_memory(open_image(other, 1, buffers).pixels, image.pixels)


@pytest.mark.parametrize(
    ("header", "gain"),
    [
        ({}, 1),
        ({"DATE": "Mon", "DETECTOR_SN": "402"}, 1.25),
        ({"DATE": "Mon", "DETECTOR_SN": "472"}, 2.8),
        ({"DATE": "Mon", "DETECTOR_SN": "447"}, 2.4),
        ({"DATE": "Mon", "DETECTOR_SN": "928"}, 2.4),
        ({"DATE": "Mon", "DETECTOR_SN": "928", "BIN": "2x2"}, 2.4),
        ({"DATE": "Mon", "DETECTOR_SN": "928", "BIN": "2x2", "BIN_TYPE": "HW"}, 1.8),
        ({"DATE": "Mon", "DETECTOR_SN": "402", "GAIN": "3"}, 3),
        ({"DETECTOR_SN": "402"}, 1),
    ],
    ids=str,
)
def test_gains_of_known_detectors_are_known(tmp_path, header, gain):
    file = write_smv(tmp_path / "x_1.img", PIXELS, **header)
    assert open_image(file).pixels[2, 3] == pytest.approx(300 / gain)


def test_detectors_are_known_by_their_size(tmp_path):
    pixels = np.full((2048, 2048), 24, "<u2")
    file = write_smv(tmp_path / "x_1.img", pixels)
    assert open_image(file).pixels[7, 8] == pytest.approx(10)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"SIZE1": None}, "header lacks SIZE1"),
        ({"SIZE1": "four"}, "SIZE1 is 'four'"),
        ({"SIZE1": "4.5"}, "SIZE1 is '4.5'"),
        ({"SIZE1": "-4"}, "-4 x 3 pixels are no image"),
        ({"SIZE1": "inf"}, "SIZE1 is 'inf'"),
        ({"DIM": "3"}, "no image"),
        ({"SIZE2": "4"}, "truncated: 24 of 32 bytes of pixels"),
        ({"SIZE2": "1000000000000"}, "truncated: 24 of"),
        ({"SIZE1": "2"}, "24 instead of 12 bytes of pixels"),
        ({"TYPE": "float"}, "pixels of type 'float'"),
        ({"TYPE": "mad"}, "pixels of type 'mad'"),
        ({"BYTE_ORDER": None}, "no BYTE_ORDER"),
        ({"BYTE_ORDER": "pdp"}, r"'unsigned_short' \(pdp\)"),
        ({"COMPRESSION": "raxis"}, "compression 'raxis'"),
        ({"DISTANCE": "0"}, "DISTANCE is '0'"),
        ({"DISTANCE": "nan"}, "DISTANCE is 'nan'"),
        ({"WAVELENGTH": None}, "header lacks WAVELENGTH"),
        ({"PIXEL_SIZE": "-1"}, "PIXEL_SIZE is '-1'"),
        ({"BEAM_CENTER_X": "left"}, "BEAM_CENTER_X is 'left'"),
        ({"TWOTHETA": "15.0"}, "TWOTHETA is 15.0"),
        ({"DTREK_DATE_TIME": "now"}, "DTREK_DATE_TIME are only known to DIALS"),
        ({"BEAMLINE": "TIMEPIX_SU"}, "the backend dials reads them"),
        ({"DETECTOR_SN": "905"}, "DETECTOR_SN=905"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, changes, complaint):
    file = write_smv(tmp_path / "x_001.img", PIXELS, **changes)
    with pytest.raises(ImageError, match=f"x_001.img: image 1: .*{complaint}"):
        open_image(file)


@pytest.mark.parametrize("kept", [20, 100, 511, 512, 535])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress])
def test_truncated_files_are_named(tmp_path, kept, compress):
    content = smv_bytes(PIXELS)
    file = tmp_path / "x_001.img"
    file.write_bytes(compress(content[:kept]))
    with pytest.raises(ImageError, match=r"x_001.img: image 1: truncated"):
        open_image(file)
    file.write_bytes(compress(content)[:-9])
    with pytest.raises(ImageError, match=r"image 1: (truncated|cannot be decompress)"):
        open_image(file)


def problem_with(file):
    try:
        open_image(file)
    except ImageError as error:
        return str(error)
    return None


@pytest.mark.parametrize("seed", range(20))
def test_no_damage_to_a_header_ends_in_anything_but_an_image_error(tmp_path, seed):
    rng = np.random.default_rng(seed)
    content = bytearray(smv_bytes(PIXELS))
    for at in rng.integers(0, 300, 8):
        content[at] = rng.integers(256)
    file = tmp_path / "x_1.img"
    file.write_bytes(content)
    problem = problem_with(file) or f"{file}: none"
    assert problem.startswith(f"{file}: ")
    assert "\n" not in problem
