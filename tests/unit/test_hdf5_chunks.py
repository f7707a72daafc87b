import subprocess
import sys
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from zocelery_tasks.images.hdf5_chunks import FrameChunks

READ = """
import sys, h5py, hdf5plugin
from pathlib import Path
from zocelery_tasks.images.hdf5_chunks import FrameChunks
with h5py.File(sys.argv[1], "r", swmr=True, locking=False) as file:
    data = file["data"]
    chunks = FrameChunks(data)
    print([chunks.hold(data, index) for index in range(len(data))])
"""


def seen_by_a_reader(file: Path) -> str:
    command = [sys.executable, "-c", READ, str(file)]
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
