"""CBF files: what is read of them, and what is said of broken ones."""

import bz2
import gzip

import numpy as np
import pytest

from tests.unit.small_images import cbf_bytes, mini_header, write_cbf
from zocelery.errors import ImageError
from zocelery_tasks.images.cbf import read_cbf
from zocelery_tasks.images.image import PixelBuffers

PIXELS = np.array([[0, 1, -1, -2], [70000, 4, 300, 6], [7, 8, 9, 2**31 - 1]])


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)],
)
def test_pixels_come_back_from_plain_and_compressed_files(tmp_path, suffix, compress):
    file = tmp_path / f"x_00001.cbf{suffix}"
    file.write_bytes(compress(cbf_bytes(PIXELS)))
    pixels = read_cbf(file).decode()
    assert pixels.dtype == np.int32
    assert pixels.tolist() == PIXELS.tolist()


def test_files_without_compression_are_read(tmp_path):
    stored = PIXELS.astype("<i4").tobytes()
    head, _, _ = cbf_bytes(PIXELS, conversions="x-CBF_NONE").partition(b"\x0c\x1a")
    file = tmp_path / "x.cbf"
    file.write_bytes(
        head.replace(b"X-Binary-Size: 34", b"X-Binary-Size: 48")
        + b"\x0c\x1a\x04\xd5"
        + stored
    )
    assert read_cbf(file).decode().tolist() == PIXELS.tolist()


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("unsigned 16-bit integer", np.uint16), ("unsigned 32-bit integer", np.uint32)],
)
def test_other_integer_types_keep_their_type(tmp_path, name, dtype):
    pixels = np.array([[0, 65535], [1, 2]])
    file = write_cbf(tmp_path / "x.cbf", pixels, X_Binary_Element_Type=f'"{name}"')
    decoded = read_cbf(file).decode()
    assert decoded.dtype == dtype
    assert decoded.tolist() == pixels.tolist()


def test_the_header_ends_where_the_binary_section_begins(tmp_path):
    header = read_cbf(write_cbf(tmp_path / "x.cbf", PIXELS)).header
    assert "# Detector_distance 0.20000 m" in header
    assert "CIF-BINARY" not in header


def test_buffers_are_used_again_for_images_of_one_shape(tmp_path):
    buffers = PixelBuffers()
    first = read_cbf(write_cbf(tmp_path / "1.cbf", PIXELS)).decode(buffers)
    second = read_cbf(write_cbf(tmp_path / "2.cbf", PIXELS + 1)).decode(buffers)
    assert np.shares_memory(first, second)
    third = read_cbf(write_cbf(tmp_path / "3.cbf", PIXELS[:2])).decode(buffers)
    assert not np.shares_memory(first, third)


@pytest.mark.parametrize("kept", [3, 40, 400, -200, -1])
def test_a_truncated_file_is_named(tmp_path, kept):
    content, _, _ = cbf_bytes(PIXELS).partition(bytes(128))
    file = tmp_path / "x_00007.cbf"
    file.write_bytes(content[:kept])
    with pytest.raises(ImageError, match=r"x_00007.cbf: (truncated|not a CBF file)"):
        read_cbf(file).decode()


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_a_truncated_compressed_file_is_named(tmp_path, compress):
    file = tmp_path / "x_00007.cbf.z"
    file.write_bytes(compress(cbf_bytes(PIXELS))[:-20])
    with pytest.raises(ImageError, match=r"x_00007.cbf.z: cannot be decompressed"):
        read_cbf(file)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"X_Binary_Size": "33"}, "ends after 11 of 12 pixels"),
        ({"X_Binary_Size": "37"}, "goes on for 3 bytes"),
        ({"X_Binary_Size": "11"}, "11 bytes for 12 pixels"),
        ({"X_Binary_Size": "5000"}, "truncated: .* of 5000 bytes"),
        ({"X_Binary_Size": "-4"}, "truncated"),
        ({"X_Binary_Size": None}, "without X-Binary-Size"),
        ({"X_Binary_Size": "many"}, "'many', not a number"),
        ({"X_Binary_Number_of_Elements": "11"}, "11 pixels are no image of 4 x 3"),
        ({"X_Binary_Size_Fastest_Dimension": "-4"}, "no image"),
        ({"X_Binary_Size_Third_Dimension": "8"}, "several panels"),
        ({"X_Binary_Element_Type": '"signed 32-bit real IEEE"'}, "32-bit real"),
        ({"X_Binary_Element_Byte_Order": "BIG_ENDIAN"}, "BIG_ENDIAN"),
        ({"conversions": "x-CBF_PACKED"}, "compression x-CBF_PACKED"),
    ],
)
def test_what_is_wrong_with_the_binary_section_is_said(tmp_path, changes, complaint):
    file = write_cbf(tmp_path / "x_00007.cbf", PIXELS, **changes)
    with pytest.raises(ImageError, match=f"x_00007.cbf: .*{complaint}") as caught:
        read_cbf(file).decode()
    assert "\n" not in str(caught.value)


def test_a_header_that_promises_more_pixels_than_bytes_takes_no_memory(tmp_path):
    file = write_cbf(
        tmp_path / "x.cbf",
        PIXELS,
        X_Binary_Number_of_Elements="1000000000000",
        X_Binary_Size_Fastest_Dimension="1000000",
        X_Binary_Size_Second_Dimension="1000000",
    )
    with pytest.raises(ImageError, match="34 bytes for 1000000000000 pixels"):
        read_cbf(file).decode()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"x_00007.cbf: No such file"):
        read_cbf(tmp_path / "x_00007.cbf")


def test_a_text_header_alone_is_not_an_image(tmp_path):
    file = tmp_path / "x.cbf"
    file.write_text(mini_header())
    with pytest.raises(ImageError, match="truncated: no binary section"):
        read_cbf(file)
