import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from zocelery.errors import ImageError
from zocelery_tasks.hdf5_probe import Hdf5Looker
from zocelery_tasks.images.frame_storage import FrameStorage
from zocelery_tasks.images.hdf5_chunks import FrameChunks
from zocelery_tasks.images.hdf5_file import open_hdf5
from zocelery_tasks.images.hdf5_node import Node
from zocelery_tasks.images.image import PixelBuffers

READ = """
import sys, h5py, hdf5plugin
from pathlib import Path
from zocelery_tasks.images.hdf5_chunks import FrameChunks
with h5py.File(sys.argv[1], "r", swmr=True, locking=False) as file:
    data = file["data"]
    chunks = FrameChunks(data)
    print([chunks.hold(data, index) for index in range(len(data))])
"""


def seen_by_a_reader(file: Path, program: str = READ) -> str:
    command = [sys.executable, "-c", program, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_reader_sees_no_frame_in_a_file_that_has_none_yet(tmp_path: Path):
    file = tmp_path / "x.h5"
    with h5py.File(file, "w", libver="latest") as writer:
        data = writer.create_dataset(
            "data",
            shape=(3, 8, 8),
            chunks=(1, 8, 8),
            dtype="u2",
            **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"),
        )
        writer.swmr_mode = True
        writer.flush()
        assert seen_by_a_reader(file) == "[False, False, False]"
        data[1] = np.ones((8, 8), np.uint16)
        data.flush()
        assert seen_by_a_reader(file) == "[False, True, False]"


@pytest.mark.parametrize("written", [(), (0,), (0, 2)])
def test_frames_are_told_from_gaps_in_a_finished_file(
    tmp_path: Path, written: tuple[int, ...]
):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset(
            "data", shape=(3, 8, 8), chunks=(1, 8, 8), dtype="u2", compression="gzip"
        )
        for index in written:
            data[index] = index + 1
        chunks = FrameChunks(data)
        found = [index for index in range(3) if chunks.hold(data, index)]
    assert found == list(written)


def test_a_frame_behind_the_end_of_a_half_copied_file_is_not_there(tmp_path: Path):
    file, copy = tmp_path / "x.h5", tmp_path / "copy.h5"
    with h5py.File(file, "w", libver="latest") as writer:
        data = writer.create_dataset(
            "data", shape=(3, 64, 64), chunks=(1, 64, 64), dtype="u2"
        )
        writer.swmr_mode = True
        for index in range(3):
            data[index] = index + 1
        data.flush()
        content = file.read_bytes()
    last = content.rindex(np.full(64 * 64, 3, np.uint16).tobytes())
    copy.write_bytes(content[: last + 100])
    assert seen_by_a_reader(copy) == "[True, True, False]"


HALF_COPIED = """
import sys, h5py, hdf5plugin
from zocelery_tasks.images.hdf5_chunks import FrameChunks
with h5py.File(sys.argv[1], "r", swmr=True, locking=False) as file:
    data = file["data"]
    chunks = FrameChunks(data)
    frames = range(len(data))
    print([chunks.hold(data, n) and chunks.reach(data, n) for n in frames])
"""


def copy_half(folder: Path, compression: dict[str, Any]) -> Path:
    """Copy a file of three frames that is being written, up to the middle of the last.

    Its index comes first, as in a file that was prepared for a known number of frames.
    """
    file, copy = folder / "x.h5", folder / "copy.h5"
    with h5py.File(file, "w", libver="latest") as writer:
        data = writer.create_dataset(
            "data", shape=(3, 64, 64), chunks=(1, 64, 64), dtype="u2", **compression
        )
        writer.swmr_mode = True
        rng = np.random.default_rng(1)
        for index in range(3):
            data[index] = rng.integers(0, 1000, (64, 64))
        data.flush()
        last = data.id.get_chunk_info_by_coord((2, 0, 0))
        content = file.read_bytes()
    assert len(content) >= last.byte_offset + last.size
    copy.write_bytes(content[: last.byte_offset + last.size // 2])
    return copy


COMPRESSIONS = [{"compression": "gzip"}, hdf5plugin.Bitshuffle(cname="lz4"), {}]


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=["gzip", "bslz4", "none"])
def test_a_compressed_frame_behind_the_end_of_a_half_copied_file_is_not_there(
    tmp_path: Path, compression: dict[str, Any]
):
    copy = copy_half(tmp_path, dict(compression))
    assert seen_by_a_reader(copy, HALF_COPIED) == "[True, True, False]"
    looker = Hdf5Looker(str(copy))
    assert looker.look([1, 2, 3])["present"] == [1, 2]


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=["gzip", "bslz4", "none"])
def test_who_reads_a_frame_behind_the_end_of_its_file_is_told_so(
    tmp_path: Path, compression: dict[str, Any]
):
    copy = copy_half(tmp_path, dict(compression))
    node = Node(open_hdf5(copy), open_hdf5(copy).handle).find("data")
    storage = FrameStorage(node)
    assert storage.read(1, PixelBuffers()).shape == (64, 64)
    with pytest.raises(ImageError, match=r"\[2\].* (behind the end|not been written)"):
        storage.read(2, PixelBuffers())
