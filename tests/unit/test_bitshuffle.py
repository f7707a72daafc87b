"""Chunks are decompressed without HDF5, never read beyond, and damage is said."""

import struct
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from tests.unit.small_images import write_nxmx
from zocelery.errors import ImageError
from zocelery_tasks.images import bitshuffle, frame_storage
from zocelery_tasks.images.bitshuffle import CodecLibrary, codec_library
from zocelery_tasks.images.image import PixelBuffers
from zocelery_tasks.images.open import open_image
from zocelery_tasks.kernels.bit_planes import decode_blocks
from zocelery_tasks.kernels.lz4_blocks import end_of_blocks

BITSHUFFLE = dict(hdf5plugin.Bitshuffle(cname="lz4"))
SMALL_BLOCKS = dict(hdf5plugin.Bitshuffle(nelems=16, cname="lz4"))
BLOCKS = dict(hdf5plugin.Bitshuffle(nelems=64, cname="lz4"))
LZ4 = dict(hdf5plugin.LZ4())
LZ4_BLOCKS = dict(hdf5plugin.LZ4(nbytes=100))
ZSTD = dict(hdf5plugin.Bitshuffle(cname="zstd"))
GZIP = {"compression": "gzip"}
FROM_CHUNKS = [{}, GZIP, BITSHUFFLE, BLOCKS, SMALL_BLOCKS, LZ4, LZ4_BLOCKS]
DTYPES = ["u1", "u2", "u4", "i1", "i2", "i4"]


@pytest.fixture
def library() -> CodecLibrary:
    found = codec_library()
    assert found is not None, "hdf5plugin's library is not as it is known to be"
    return found


def counts(shape=(50, 93), dtype="u2", seed=1):
    """Counts of which some do not compress: 93 x 50 leaves a rest of 2 pixels."""
    random = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    pixels = random.poisson(2, shape).astype(dtype)
    loud = pixels[:10]
    loud[:] = random.integers(limits.min, limits.max, loud.shape, dtype)
    return pixels


def write_frames(file: Path, frames, **options) -> Path:
    """Write a NXmx file with one chunk for each frame, unless options say else."""
    write_nxmx(file, frames, data={})
    options.setdefault("chunks", (1, *frames.shape[1:]))
    with h5py.File(file, "r+") as root:
        root["entry/data"].create_dataset("data", data=frames, **options)
    return file


def compressed(tmp_path, pixels, **options) -> np.ndarray:
    """Return the chunk that HDF5 makes of `pixels`, with nothing behind its end."""
    file = write_frames(tmp_path / "made.h5", pixels[np.newaxis], **options)
    with h5py.File(file) as root:
        chunk = root["entry/data/data"].id.read_direct_chunk((0, 0, 0))[1]
    return np.frombuffer(chunk, np.uint8).copy()


def replace_chunk(file: Path, index: int, chunk: bytes, **options) -> None:
    with h5py.File(file, "r+") as root:
        data = root["entry/data/data"].id
        data.write_direct_chunk((index, 0, 0), bytes(chunk), **options)


@pytest.fixture
def asked_hdf5(monkeypatch):
    """The indices of the frames for which HDF5 itself has been asked."""
    asked = []
    read = frame_storage.FrameStorage._read_by_hdf5

    def note(storage, index, pixels):
        asked.append(index)
        read(storage, index, pixels)

    monkeypatch.setattr(frame_storage.FrameStorage, "_read_by_hdf5", note)
    monkeypatch.setattr(frame_storage, "_trials", frame_storage._Trials())
    return asked


# What is read


@pytest.mark.parametrize("options", FROM_CHUNKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_pixels_come_through(tmp_path, asked_hdf5, options, dtype):
    frames = np.stack([counts(dtype=dtype, seed=seed) for seed in (1, 2, 3)])
    file = write_frames(tmp_path / "x.nxs", frames, **options)
    buffers = PixelBuffers()
    for number in (1, 2, 3, 1):
        pixels = open_image(file, number, buffers).pixels
        assert pixels.dtype == frames.dtype
        assert np.array_equal(pixels, frames[number - 1])
    assert asked_hdf5 == [0], "HDF5 is asked for the first frame, to compare, only"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mean", [0, 0.1, 3, 12, 60, 100, 1000, 40000])
def test_few_and_many_photons_come_through(tmp_path, library, dtype, mean):
    """Blocks of few bits, of more, and with single high ones; of all sizes.

    256 pixels are put together at once: in some blocks a rest is left.
    """
    random = np.random.default_rng(7)
    limits = np.iinfo(dtype)
    pixels = random.poisson(mean, (70, 128)).clip(0, limits.max).astype(dtype)
    pixels[::7, 40:44] = limits.max
    pixels[::9, 77] = limits.min
    pixels[5::9, 78] = min(limits.max, 5 * 256 + 17)
    for n_pixels in (128, 248, 256, 264, 504, 512, 4096, 8952):
        options = dict(hdf5plugin.Bitshuffle(nelems=n_pixels, cname="lz4"))
        answer = np.full_like(pixels, 1)
        library.bitshuffle_lz4(compressed(tmp_path, pixels, **options), answer)
        assert np.array_equal(answer, pixels), n_pixels


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_bit_of_every_pixel_comes_to_its_place(tmp_path, library, dtype):
    """One bit in a block: whether its plane is seen, and where it goes."""
    n_bits = 8 * np.dtype(dtype).itemsize
    pixels = np.zeros((n_bits, 264, 264), f"u{n_bits // 8}")
    for bit in range(n_bits):
        np.fill_diagonal(pixels[bit], 1 << bit)
    pixels = pixels.view(dtype).reshape(-1, 264)
    options = dict(hdf5plugin.Bitshuffle(nelems=264, cname="lz4"))
    answer = np.full_like(pixels, 1)
    library.bitshuffle_lz4(compressed(tmp_path, pixels, **options), answer)
    assert np.array_equal(answer, pixels)


def test_warming_up_prepares_and_touches_nothing(library):
    bitshuffle.warm_up()
    assert decode_blocks.signatures


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("u2", ZSTD),
        ("u2", {**GZIP, "shuffle": True}),
        (">u2", BITSHUFFLE),
        ("u2", {**BITSHUFFLE, "chunks": (3, 50, 93)}),
        ("u2", {**BITSHUFFLE, "chunks": (1, 25, 93)}),
        ("u2", {"chunks": None}),
    ],
)
def test_what_only_hdf5_can_read_is_left_to_it(tmp_path, asked_hdf5, dtype, options):
    frames = np.stack([counts(), counts(seed=2), counts(seed=3)])
    file = write_frames(tmp_path / "x.nxs", frames.astype(dtype), **options)
    for index in range(3):
        assert np.array_equal(open_image(file, index + 1).pixels, frames[index])
    assert asked_hdf5 == [0, 1, 2]


def test_a_frame_of_its_own_and_a_rest_of_pixels_are_read(tmp_path, asked_hdf5):
    pixels = counts((1, 5))
    file = write_nxmx(tmp_path / "x.nxs", pixels[np.newaxis], data={})
    with h5py.File(file, "r+") as root:
        root["entry/data"].create_dataset("data", data=pixels, chunks=(1, 5), **LZ4)
    assert np.array_equal(open_image(file).pixels, pixels)
    assert np.array_equal(open_image(file).pixels, pixels)
    assert asked_hdf5 == [0]


def test_a_chunk_without_its_filter_is_left_to_hdf5(tmp_path, asked_hdf5):
    frames = np.stack([counts(), counts(seed=2)])
    file = write_frames(tmp_path / "x.nxs", frames, **BITSHUFFLE)
    replace_chunk(file, 1, counts(seed=5).tobytes(), filter_mask=1)
    assert np.array_equal(open_image(file, 1).pixels, frames[0])
    assert np.array_equal(open_image(file, 2).pixels, counts(seed=5))
    assert asked_hdf5 == [0, 1]


def test_without_the_library_hdf5_reads(tmp_path, asked_hdf5, monkeypatch, caplog):
    monkeypatch.setattr(bitshuffle.hdf5plugin, "PLUGIN_PATH", str(tmp_path))
    codec_library.cache_clear()
    try:
        file = write_frames(tmp_path / "x.nxs", counts()[np.newaxis], **BITSHUFFLE)
        for _ in range(3):
            assert np.array_equal(open_image(file).pixels, counts())
    finally:
        codec_library.cache_clear()
    assert asked_hdf5 == [0, 0, 0]
    assert caplog.text.count("decompressed by HDF5") == 1


def test_hdf5_is_believed_when_answers_differ(
    tmp_path, asked_hdf5, monkeypatch, caplog
):
    monkeypatch.setattr(
        CodecLibrary, "bitshuffle_lz4", lambda _, chunk, pixels: pixels.fill(3)
    )
    frames = np.stack([counts(), counts(seed=2)])
    file = write_frames(tmp_path / "x.nxs", frames, **BITSHUFFLE)
    for number in (1, 2, 1):
        assert np.array_equal(open_image(file, number).pixels, frames[number - 1])
    assert caplog.text.count("x.nxs: /entry/data/data is read by HDF5") == 1


# Damage


DAMAGES = {
    "no header": lambda chunk: chunk[:11],
    "one byte": lambda chunk: chunk[:1],
    "another size": lambda chunk: struct.pack(">Q", 9999) + bytes(chunk[8:]),
    "blocks of nothing": lambda chunk: bytes(chunk[:8]) + bytes(4) + bytes(chunk[12:]),
    "huge blocks": lambda chunk: bytes(chunk[:8]) + b"\xff" * 4 + bytes(chunk[12:]),
    "a block beyond the end": lambda chunk: (
        bytes(chunk[:12]) + b"\x7f\xff\xff\xff" + bytes(chunk[16:])
    ),
    "half": lambda chunk: chunk[: len(chunk) // 2],
    "without the last byte": lambda chunk: chunk[:-1],
    "other bytes": lambda chunk: bytes(chunk[:16]) + b"\xff" * (len(chunk) - 16),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("options", [BITSHUFFLE, BLOCKS, SMALL_BLOCKS, LZ4, LZ4_BLOCKS])
def test_a_damaged_chunk_is_named_and_the_next_image_read(tmp_path, options, damage):
    frames = np.stack([counts(), counts(seed=2)])
    file = write_frames(tmp_path / "x.nxs", frames, **options)
    replace_chunk(file, 0, bytes(damage(compressed(tmp_path, frames[0], **options))))
    with pytest.raises(ImageError, match=r"x\.nxs: image 1: .*/data\[0\]: ") as caught:
        open_image(file, 1)
    assert "\n" not in str(caught.value)
    assert np.array_equal(open_image(file, 2).pixels, frames[1])


def test_gzip_of_fewer_pixels_is_named(tmp_path):
    frames = np.stack([counts(), counts(seed=2)])
    file = write_frames(tmp_path / "x.nxs", frames, **GZIP)
    short = compressed(tmp_path, frames[0, :20], **GZIP)
    replace_chunk(file, 1, short.tobytes())
    assert np.array_equal(open_image(file, 1).pixels, frames[0])
    with pytest.raises(ImageError, match=r"image 2: .*3720 bytes instead of 9300"):
        open_image(file, 2)


def test_gzip_does_not_blow_up_what_is_larger_than_an_image(tmp_path):
    frames = counts()[np.newaxis]
    file = write_frames(tmp_path / "x.nxs", frames, **GZIP)
    large = compressed(tmp_path, np.zeros((2000, 2000), "u2"), **GZIP)
    replace_chunk(file, 0, large.tobytes())
    with pytest.raises(ImageError, match="9301 bytes instead of 9300"):
        open_image(file)


@pytest.mark.parametrize("options", [BITSHUFFLE, BLOCKS, SMALL_BLOCKS, LZ4, LZ4_BLOCKS])
def test_any_changed_byte_and_any_cut_is_survived(tmp_path, library, options):
    """What is behind a chunk is read by nobody: HDF5's filters would."""
    pixels = counts((20, 13))
    whole = compressed(tmp_path, pixels, **options)
    is_lz4 = options in (LZ4, LZ4_BLOCKS)
    decode = library.lz4 if is_lz4 else library.bitshuffle_lz4
    answer = np.empty_like(pixels)
    refused = 0
    for at in range(whole.size):
        for value in (0, 1, 127, 255):
            chunk = whole.copy()
            chunk[at] = value
            try:
                decode(chunk, answer)
            except ImageError:
                refused += 1
        with pytest.raises(ImageError):
            decode(whole[:at].copy(), answer)
    assert refused > 0
    decode(whole, answer)
    assert np.array_equal(answer, pixels)


def test_lengths_of_blocks_are_added_up_within_the_chunk():
    chunk = np.frombuffer(b"....\0\0\0\2ab\0\0\0\0\0\0\0\1c", np.uint8)
    assert [end_of_blocks(chunk, 4, count) for count in range(5)] == [4, 10, 14, 19, -1]
    assert end_of_blocks(chunk[:-1], 4, 3) == -1
    assert end_of_blocks(chunk[:16], 4, 3) == -1


def test_images_that_are_not_written_are_seen_at_the_end_of_a_long_file(tmp_path):
    frame = counts((2, 4))
    file = write_frames(
        tmp_path / "x.nxs",
        np.zeros((0, 2, 4), "u2"),
        maxshape=(None, 2, 4),
        chunks=(1, 2, 4),
        **BITSHUFFLE,
    )
    with h5py.File(file, "r+") as root:
        data = root["entry/data/data"]
        data.resize(300, axis=0)
        data[299] = frame
    assert np.array_equal(open_image(file, 300).pixels, frame)
    with pytest.raises(ImageError, match=r"image 299: .*has not been written"):
        open_image(file, 299)
