"""Images of HDF5 files: by number, through links, while written, and damaged."""

import os
import subprocess
import sys

import h5py
import hdf5plugin
import numpy as np
import pytest

from tests.unit.small_images import write_data, write_eiger, write_nxmx
from zocelery.errors import ImageError
from zocelery_tasks.images.hdf5_file import open_hdf5
from zocelery_tasks.images.image import PixelBuffers
from zocelery_tasks.images.open import count_images, open_image

PIXELS = np.arange(60, dtype=np.uint16).reshape(5, 3, 4)


def numbered(first: int, count: int) -> np.ndarray:
    """Images of 3 x 4 pixels that are all equal to the image's number."""
    return np.repeat(np.arange(first, first + count, dtype=np.uint16), 12).reshape(
        count, 3, 4
    )


def write_virtual(folder, *parts, name="x_1.nxs"):
    """Write a NXmx file whose images are taken from files: (file, which images)."""
    total = sum(len(range(*which.indices(1000))) for _, which in parts)
    layout = h5py.VirtualLayout(shape=(total, 3, 4), dtype=np.int64)
    for file, which in parts:
        count = len(range(*which.indices(1000)))
        layout[which] = h5py.VirtualSource(file, "data", shape=(count, 3, 4))
    file = write_nxmx(folder / name, np.zeros((total, 3, 4)), data={})
    with h5py.File(file, "r+") as root:
        root["entry/data"].create_virtual_dataset("data", layout)
    return file


# Which image


def test_images_are_found_by_number(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS)
    assert count_images(file) == 5
    for number in (1, 3, 5):
        image = open_image(file, number)
        assert image.pixels.tolist() == PIXELS[number - 1].tolist()
        assert (image.file, image.image_number) == (file, number)


@pytest.mark.parametrize("number", [-1, 0, 6])
def test_a_wrong_number_is_said_with_the_file(tmp_path, number):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS)
    with pytest.raises(ImageError, match=rf"x_1.nxs: image {number}: "):
        open_image(file, number)


def test_one_image_alone_is_image_1(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS, data={"data": PIXELS[0]})
    assert count_images(file) == 1
    assert open_image(file).pixels.tolist() == PIXELS[0].tolist()


def test_images_that_share_a_file_share_detector_and_buffers(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS)
    buffers = PixelBuffers()
    first, second = (open_image(file, number, buffers) for number in (1, 2))
    assert first.detector is second.detector
    assert np.shares_memory(first.pixels, second.pixels)
    assert not np.shares_memory(open_image(file).pixels, open_image(file).pixels)


def test_the_data_of_an_eiger_are_numbered_through_its_files(tmp_path):
    master = write_eiger(tmp_path, numbered(1, 3), numbered(4, 2))
    assert count_images(master) == 5
    assert [int(open_image(master, n).pixels[0, 1]) for n in range(1, 6)] == [
        1,
        2,
        3,
        4,
        5,
    ]
    with pytest.raises(ImageError, match="has 5 images: there is no image 6"):
        open_image(master, 6)


def test_an_eiger_master_describes_the_detector(tmp_path):
    image = open_image(write_eiger(tmp_path, numbered(1, 1)))
    detector = image.detector
    assert detector.panel.fast_axis == (1, 0, 0)
    assert detector.panel.slow_axis == (0, -1, 0)
    assert detector.panel.origin == pytest.approx((-0.5, 0.7, -200))
    assert detector.panel.beam_centre(image.beam) == pytest.approx((5, 7))
    assert detector.trusted.limits() == (0, 299)
    assert np.argwhere(~detector.mask).tolist() == [[0, 0], [1, 1], [2, 2]]
    assert image.beam.wavelength == 0.5


def test_an_eiger_master_without_translation_has_its_beam_centre(tmp_path):
    master = write_eiger(tmp_path, numbered(1, 1))
    with h5py.File(master, "r+") as root:
        del root["entry/instrument/detector/geometry"]
    detector = open_image(master).detector
    assert detector.panel.origin == pytest.approx((-0.5, 0.7, -200))


# Links


def test_frames_of_virtual_datasets_are_read_where_they_lie(tmp_path):
    write_data(tmp_path / "a.h5", numbered(1, 3))
    write_data(tmp_path / "b.h5", numbered(4, 2))
    file = write_virtual(tmp_path, ("a.h5", np.s_[0:3]), ("b.h5", np.s_[3:5]))
    images = [open_image(file, number) for number in range(1, 6)]
    assert [int(image.pixels[2, 3]) for image in images] == [1, 2, 3, 4, 5]
    assert images[0].pixels.dtype == np.uint16


def test_writers_may_have_taken_turns(tmp_path):
    write_data(tmp_path / "odd.h5", numbered(1, 5)[::2])
    write_data(tmp_path / "even.h5", numbered(1, 5)[1::2])
    file = write_virtual(tmp_path, ("odd.h5", np.s_[0:5:2]), ("even.h5", np.s_[1:5:2]))
    assert [int(open_image(file, n).pixels[0, 0]) for n in range(1, 6)] == [
        1,
        2,
        3,
        4,
        5,
    ]


def test_frames_put_together_from_halves_are_read(tmp_path):
    write_data(tmp_path / "left.h5", PIXELS[:, :, :2])
    write_data(tmp_path / "right.h5", PIXELS[:, :, 2:])
    layout = h5py.VirtualLayout(shape=PIXELS.shape, dtype=PIXELS.dtype)
    layout[:, :, :2] = h5py.VirtualSource("left.h5", "data", shape=(5, 3, 2))
    layout[:, :, 2:] = h5py.VirtualSource("right.h5", "data", shape=(5, 3, 2))
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS, data={})
    with h5py.File(file, "r+") as root:
        root["entry/data"].create_virtual_dataset("data", layout)
    assert open_image(file, 4).pixels.tolist() == PIXELS[3].tolist()
    (tmp_path / "right.h5").unlink()
    with pytest.raises(ImageError, match=r"image 4: .*linked file right.h5 is missing"):
        open_image(file, 4)


def test_a_missing_source_of_a_virtual_dataset_is_not_read_as_zeros(tmp_path):
    write_data(tmp_path / "a.h5", numbered(1, 3))
    file = write_virtual(tmp_path, ("a.h5", np.s_[0:3]), ("gone.h5", np.s_[3:5]))
    assert open_image(file, 3).pixels[0, 0] == 3
    with pytest.raises(ImageError, match=r"x_1.nxs: image 4: linked file gone.h5"):
        open_image(file, 4)


def test_a_source_that_ends_early_is_not_read_as_zeros(tmp_path):
    write_data(tmp_path / "a.h5", numbered(1, 2))
    file = write_virtual(tmp_path, ("a.h5", np.s_[0:3]))
    with pytest.raises(ImageError, match=r"image 3: .*a.h5: /data has 2 images, not 3"):
        open_image(file, 3)


def test_missing_data_files_are_named(tmp_path):
    master = write_eiger(tmp_path, numbered(1, 3), numbered(4, 2))
    (tmp_path / "series_1_data_000002.h5").unlink()
    assert count_images(master) == 3
    with pytest.raises(
        ImageError, match=r"series_1_master.h5: image 4: .*series_1_data_000002.h5 is"
    ):
        open_image(master, 4)
    (tmp_path / "series_1_data_000001.h5").unlink()
    with pytest.raises(ImageError, match=r"series_1_data_000001.h5"):
        count_images(master)


def test_a_missing_mask_file_is_named(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS)
    with h5py.File(file, "r+") as root:
        link = h5py.ExternalLink("x_1_meta.h5", "mask")
        root["entry/instrument/detector/pixel_mask"] = link
    with pytest.raises(
        ImageError, match=r"image 1: linked file x_1_meta.h5 is missing"
    ):
        open_image(file)
    with h5py.File(tmp_path / "x_1_meta.h5", "w") as root:
        root["mask"] = np.eye(3, 4, dtype=np.uint32)
    assert np.count_nonzero(~open_image(file).detector.mask) == 3


def test_links_by_a_path_that_no_longer_exists_are_found_beside_the_file(tmp_path):
    write_data(tmp_path / "a.h5", numbered(1, 3))
    file = write_virtual(tmp_path, ("/nowhere/at/all/a.h5", np.s_[0:3]))
    assert open_image(file, 2).pixels[0, 0] == 2


def test_links_are_found_from_a_linked_master(tmp_path):
    master = write_eiger(tmp_path, numbered(1, 2))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "latest.h5").symlink_to(master)
    assert open_image(elsewhere / "latest.h5", 2).pixels[0, 0] == 2


def test_the_detector_may_be_described_in_another_file(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS)
    with h5py.File(file, "r+") as root, h5py.File(tmp_path / "d.h5", "w") as other:
        root.copy("entry", other)
        del root["entry/instrument/detector"]
        link = h5py.ExternalLink("d.h5", "entry/instrument/detector")
        root["entry/instrument/detector"] = link
    detector = open_image(file, 2).detector
    assert detector.panel.origin == pytest.approx((-3, 2, -100))
    (tmp_path / "d.h5").unlink()
    write_nxmx(tmp_path / "y_1.nxs", PIXELS).replace(file)
    with h5py.File(file, "r+") as root:
        root["entry/instrument/another"] = h5py.ExternalLink("gone.h5", "/")
    assert open_image(file, 2).detector.panel.origin == detector.panel.origin


def test_links_that_go_in_a_circle_are_refused(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS)
    with h5py.File(file, "r+") as root:
        del root["entry/data/data"]
        root["entry/data/data"] = h5py.SoftLink("/entry/data/other")
        root["entry/data/other"] = h5py.SoftLink("/entry/data/data")
    with pytest.raises(ImageError, match="lead nowhere"):
        open_image(file)


# What can be read


@pytest.mark.parametrize(
    "compression",
    [
        {},
        {"compression": "gzip", "shuffle": True},
        dict(hdf5plugin.Bitshuffle(cname="lz4")),
        dict(hdf5plugin.LZ4()),
    ],
)
def test_compressions_of_detectors_are_undone(tmp_path, compression):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS, data={})
    with h5py.File(file, "r+") as root:
        root["entry/data"].create_dataset(
            "data", data=PIXELS, chunks=(1, 3, 4), **compression
        )
    assert open_image(file, 2).pixels.tolist() == PIXELS[1].tolist()


def test_pixels_come_in_the_byte_order_of_this_machine(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS.astype(">u4"))
    pixels = open_image(file, 2).pixels
    assert pixels.dtype == np.dtype(np.uint32)
    assert pixels.tolist() == PIXELS[1].tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_pixels_that_are_no_counts_are_refused(tmp_path, dtype):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS.astype(dtype))
    with pytest.raises(ImageError, match=f"image 1: .*{np.dtype(dtype).name}, not"):
        open_image(file)


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3, 4)])
def test_data_of_other_dimensions_are_refused(tmp_path, shape):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS, data={"data": np.zeros(shape)})
    with pytest.raises(ImageError, match=r"of shape \(.*\) holds no images"):
        open_image(file)


def test_an_unknown_compression_is_named(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS, data={})
    with h5py.File(file, "r+") as root:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, 3, 4))
        plist.set_filter(60000, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple(PIXELS.shape)
        h5py.h5d.create(
            root["entry/data"].id, b"data", h5py.h5t.NATIVE_UINT16, space, plist
        ).write_direct_chunk((0, 0, 0), PIXELS[0].tobytes())
    with pytest.raises(ImageError, match=r"x_1.nxs: image 1: .*unknown filter 60000"):
        open_image(file)


def test_an_image_that_has_not_been_written_is_not_read_as_zeros(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS, data={})
    with h5py.File(file, "r+") as root:
        data = root["entry/data"].create_dataset(
            "data", shape=(5, 3, 4), dtype=np.uint16, chunks=(1, 3, 4)
        )
        data[1] = 7
    assert open_image(file, 2).pixels[0, 0] == 7
    with pytest.raises(ImageError, match=r"image 3: .*data\[2\] has not been written"):
        open_image(file, 3)


def test_data_without_chunks_that_have_not_been_written_are_not_zeros(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS, data={})
    with h5py.File(file, "r+") as root:
        root["entry/data"].create_dataset("data", shape=(5, 3, 4), dtype=np.uint16)
    with pytest.raises(ImageError, match="has not been written"):
        open_image(file)


def test_damaged_compressed_data_are_said_to_be_unreadable(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS, data={})
    with h5py.File(file, "r+") as root:
        data = root["entry/data"].create_dataset(
            "data",
            shape=(1, 3, 4),
            dtype=np.uint16,
            chunks=(1, 3, 4),
            compression="gzip",
        )
        data.id.write_direct_chunk((0, 0, 0), b"no gzip stream")
    with pytest.raises(ImageError, match=r"x_1.nxs: image 1: ") as caught:
        open_image(file)
    assert "\n" not in str(caught.value)


def test_a_data_file_alone_is_no_collection(tmp_path):
    file = write_data(tmp_path / "x_000001.h5", PIXELS)
    with pytest.raises(ImageError, match=r"x_000001.h5: image 1: .*no NXentry"):
        open_image(file)
    eiger = write_eiger(tmp_path, numbered(1, 2))
    with pytest.raises(ImageError, match="not the master file"):
        open_image(eiger.with_name("series_1_data_000001.h5"))


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("kept", [20, 60, -1])
def test_a_truncated_file_is_named(tmp_path, libver, kept):
    file = tmp_path / "x_1.nxs"
    with h5py.File(file, "w", libver=libver) as root:
        root["data"] = PIXELS
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ImageError, match=r"x_1.nxs: image 1: truncated: "):
        open_image(file)


# Files that change


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS)
    assert open_image(file, 2).pixels[0, 0] == 12
    write_nxmx(tmp_path / "new.nxs", PIXELS[:, :2] + 100).replace(file)
    image = open_image(file, 2)
    assert image.pixels[0, 0] == 112
    assert image.detector.shape == (2, 4)


def test_a_file_that_was_written_over_is_read_anew(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS)
    other = write_nxmx(tmp_path / "new.nxs", PIXELS[:, :2] + 100)
    assert open_image(file, 2).pixels[0, 0] == 12
    file.write_bytes(other.read_bytes())
    os.utime(file, ns=(0, 0))  # not within the clock's grain of the first
    image = open_image(file, 2)
    assert image.pixels[0, 0] == 112
    assert image.pixels.shape == image.detector.shape == (2, 4)


def test_a_data_file_that_was_replaced_is_read_anew(tmp_path):
    master = write_eiger(tmp_path, numbered(1, 2))
    assert open_image(master, 2).pixels[0, 0] == 2
    data = tmp_path / "series_1_data_000001.h5"
    write_data(tmp_path / "new.h5", numbered(7, 3), "entry/data/data").replace(data)
    assert open_image(master, 3).pixels[0, 0] == 9


def test_a_file_stays_open_between_images(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS)
    assert open_hdf5(file) is open_hdf5(file)


def test_a_removed_file_is_missing_at_once(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS)
    open_image(file)
    file.unlink()
    with pytest.raises(ImageError, match=r"x_1.nxs: image 1: No such file"):
        open_image(file)


def test_many_files_do_not_pile_up(tmp_path):
    files = [write_nxmx(tmp_path / f"x_{n}.nxs", PIXELS) for n in range(40)]
    first = open_hdf5(files[0])
    for file in files:
        assert open_image(file, 5).pixels[2, 3] == 59
    assert open_hdf5(files[0]) is not first


WRITER = """
import sys
import h5py, numpy as np
with h5py.File(sys.argv[1], "w", libver="latest") as root:
    data = root.create_dataset(
        "data", shape=(0, 3, 4), maxshape=(None, 3, 4), chunks=(1, 3, 4), dtype="u2"
    )
    print("created", flush=True)
    sys.stdin.readline()
    root.swmr_mode = True
    print("open to readers", flush=True)
    for number in map(int, sys.stdin):
        data.resize(number, axis=0)
        data[number - 1] = number
        data.flush()
        print(number, flush=True)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that writes image by image into a file, as it is told."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "x_1_000001.h5")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "created\n"

        def tell(line):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            return process.stdout.readline()

        yield tell


def test_images_are_read_while_the_file_is_being_written(tmp_path, writer):
    data = {"data_000001": h5py.ExternalLink("x_1_000001.h5", "data")}
    master = write_nxmx(tmp_path / "x_1.nxs", PIXELS, data=data)
    with pytest.raises(ImageError, match=r"x_1_000001.h5: (still being|truncated)"):
        open_image(master, 1)
    writer("start")
    for number in (1, 2, 3):
        with pytest.raises(ImageError, match=f"there is no image {number}"):
            open_image(master, number)
        writer(number)
        assert open_image(master, number).pixels[0, 0] == number
        assert count_images(master) == number
    live = open_hdf5(tmp_path / "x_1_000001.h5")
    assert live.is_live
    assert open_hdf5(tmp_path / "x_1_000001.h5") is live
