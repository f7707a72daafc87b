"""What a worker keeps from image to image: bounded, shared, and never stale."""

import gc
import os
import weakref

import h5py
import numpy as np
import pytest

from tests.unit.small_images import add_module, write_eiger, write_nxmx
from zocelery.errors import ImageError
from zocelery_tasks.images import hdf5_file
from zocelery_tasks.images.hdf5_file import current_look, one_look, open_hdf5
from zocelery_tasks.images.image import PixelBuffers
from zocelery_tasks.images.masks import split_mask
from zocelery_tasks.images.open import open_image
from zocelery_tasks.images.panel import Panel

PIXELS = np.arange(60, dtype=np.uint16).reshape(5, 3, 4)


@pytest.fixture
def looks(monkeypatch):
    """The files at which the file system has been asked to look."""
    seen = []
    look_at = hdf5_file._look_at

    def note(file):
        seen.append(file.name)
        return look_at(file)

    monkeypatch.setattr(hdf5_file, "_look_at", note)
    return seen


def test_buffers_of_the_last_two_kinds_are_kept():
    buffers = PixelBuffers()
    first = buffers.take((3, 4), np.uint16)
    second = buffers.take((3, 4), np.uint32)
    assert buffers.take((3, 4), np.uint16) is first
    buffers.take((5, 4), np.uint16)
    assert buffers.take((3, 4), np.uint16) is first
    assert buffers.take((3, 4), np.uint32) is not second


def test_room_for_bytes_grows_and_is_kept():
    buffers = PixelBuffers()
    large = buffers.take_bytes(100)
    assert large.size == 100
    assert np.shares_memory(buffers.take_bytes(10), large)
    assert buffers.take_bytes(10).size == 10
    assert buffers.take_bytes(200).size == 200


def test_collections_of_one_detector_share_their_mask(tmp_path):
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
    masters = [write_eiger(folder, PIXELS) for folder in folders]
    with h5py.File(masters[2], "r+") as root:
        root["entry/instrument/detector/detectorSpecific/pixel_mask"][0, 3] = 1
    first, same, other = (open_image(master).detector.mask for master in masters)
    assert same is first
    assert not first.flags.writeable
    assert first[0, 3]
    assert not other[0, 3]


def test_a_mask_of_modules_is_the_same_for_all_images(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS)
    with h5py.File(file, "r+") as root:
        detector = root["entry/instrument/detector"]
        del detector["module"]
        add_module(detector, (3, 2), name="left")
        add_module(detector, (3, 1), (2.7, 2.0, 0.0), "right", (0, 3))
    mask = open_image(file, 1).detector.mask
    assert mask[0].tolist() == [True, True, False, True]
    assert not mask.flags.writeable
    assert open_image(file, 2).detector.mask is mask


def test_masks_of_old_collections_are_let_go(tmp_path):
    masks = []
    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        master = write_eiger(folder, PIXELS)
        with h5py.File(master, "r+") as root:
            pixel_mask = root["entry/instrument/detector/detectorSpecific/pixel_mask"]
            pixel_mask[...] = [[number >> k & 1 for k in range(4)]] * 3
        masks.append(weakref.ref(open_image(master).detector.mask))
    gc.collect()
    alive = [number for number, mask in enumerate(masks) if mask() is not None]
    assert alive == list(range(4, 12))


def test_parts_of_masks_are_let_go_too():
    panels = (
        Panel((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1), (0, 0), (1, 2)),
        Panel((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1), (1, 2), (2, 2)),
    )
    parts = []
    for _ in range(10):
        mask = np.ones((3, 4), np.bool_)
        mask.flags.writeable = False
        parts.append(weakref.ref(split_mask(mask, panels)[1]))
    del mask
    gc.collect()
    assert sum(part() is not None for part in parts) == 4


def test_the_file_system_is_asked_once_for_each_file_and_image(tmp_path, looks):
    master = write_eiger(tmp_path, PIXELS)
    open_image(master, 1)
    looks.clear()
    open_image(master, 2)
    assert sorted(looks) == ["series_1_data_000001.h5", "series_1_master.h5"]
    looks.clear()
    open_image(master, 3)
    assert len(looks) == 2


def test_looks_end_also_when_an_image_cannot_be_read(tmp_path):
    file = write_nxmx(tmp_path / "x_1.nxs", PIXELS)
    with pytest.raises(ImageError):
        open_image(file, 6)
    assert current_look() is None
    with one_look():
        assert open_hdf5(file) is open_hdf5(file)
        file.unlink()
        open_hdf5(file)
    with pytest.raises(ImageError, match=r"x_1.nxs: No such file"):
        open_hdf5(file)


def test_a_file_that_is_cut_while_open_is_said_to_be_truncated(tmp_path):
    master = write_eiger(tmp_path, PIXELS)
    data = tmp_path / "series_1_data_000001.h5"
    assert open_image(master, 5).pixels[0, 0] == 48
    whole = data.read_bytes()
    os.truncate(data, len(whole) - 30)
    for _ in range(2):
        with pytest.raises(
            ImageError, match=r"master.h5: image 5: .*data_000001.h5: truncated: "
        ):
            open_image(master, 5)
    data.write_bytes(whole)
    assert open_image(master, 5).pixels[0, 0] == 48


def test_a_data_file_that_vanishes_while_open_is_missing(tmp_path):
    master = write_eiger(tmp_path, PIXELS)
    open_image(master, 5)
    (tmp_path / "series_1_data_000001.h5").unlink()
    for _ in range(2):
        with pytest.raises(ImageError, match=r"image 5: .*series_1_data_000001.h5"):
            open_image(master, 5)
