"""Decompression of CBF's byte-offset streams."""

import numpy as np
import pytest

from tests.unit.small_images import encode_byte_offset
from zocelery_tasks.kernels.byte_offset import decode_byte_offset

EXTREMES = [0, -1, -2, 127, 128, -128, 32767, -32768, 40000, 2**31 - 1, -(2**31), 5]


def decode(stream: bytes, n_pixels: int) -> tuple[list[int], int, int]:
    pixels = np.full(n_pixels, 99, np.int32)
    done, used = decode_byte_offset(np.frombuffer(stream, np.int8), pixels)
    return pixels.tolist(), done, used


def test_differences_of_every_width_come_back():
    stream = encode_byte_offset(EXTREMES)
    assert decode(stream, len(EXTREMES)) == (EXTREMES, len(EXTREMES), len(stream))


def test_a_stream_written_out_by_hand_is_read():
    # 1, 1+2, escape 2 bytes: +256, escape 4 bytes: +65536, -1
    stream = bytes.fromhex("01 02 80 0001 80 0080 00000100 ff")
    assert decode(stream, 5)[0] == [1, 3, 259, 65795, 65794]


@pytest.mark.parametrize("seed", range(4))
def test_long_streams_with_rare_escapes_come_back(seed):
    rng = np.random.default_rng(seed)
    pixels = rng.poisson(1, 3000).astype(np.int64)
    bright = rng.integers(0, 3000, 30)
    pixels[bright] = rng.choice(EXTREMES, 30)
    stream = encode_byte_offset(pixels)
    assert decode(stream, 3000) == (pixels.tolist(), 3000, len(stream))


@pytest.mark.parametrize("kept", range(15))
def test_a_stream_cut_inside_a_number_ends_before_it(kept):
    stream = encode_byte_offset([-1, 2**31 - 1])
    assert len(stream) == 16
    pixels, done, used = decode(stream[: kept + 1], 2)
    assert (pixels, done, used) == ([-1, 99], 1, 1)


def test_unsigned_pixels_above_the_signed_range_come_back():
    values = [0, 2**32 - 1, 3]
    pixels = np.zeros(3, np.uint32)
    stream = np.frombuffer(encode_byte_offset(values), np.int8)
    decode_byte_offset(stream, pixels.view(np.int32))
    assert pixels.tolist() == values


def test_no_more_pixels_are_written_than_there_is_room_for():
    stream = encode_byte_offset(range(100))
    assert decode(stream, 40) == (list(range(40)), 40, 40)


@pytest.mark.parametrize("n_pixels", [31, 32, 33, 63, 64, 65, 1000])
def test_sums_of_many_differences_are_exact(n_pixels):
    """Also those at which each eighth, and each 32nd, begins anew."""
    rng = np.random.default_rng(n_pixels)
    for low, high in ((-127, 128), (127, 128), (-127, -126), (-1, 2)):
        differences = rng.integers(low, high, n_pixels)
        stream = differences.astype(np.int8).tobytes()
        sums = np.cumsum(differences).tolist()
        assert decode(stream, n_pixels) == (sums, n_pixels, n_pixels)


@pytest.mark.parametrize("place", range(70))
def test_an_escape_at_any_place_is_seen(place):
    pixels = [1] * 70
    pixels[place] = 1000
    stream = encode_byte_offset(pixels)
    assert decode(stream, 70) == (pixels, 70, len(stream))
