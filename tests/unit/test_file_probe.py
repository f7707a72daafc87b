"""Looking at files: what counts as there, and what happens when a look hangs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from zocelery_tasks import probe_client
from zocelery_tasks.file_probe import FileLooker, Probe
from zocelery_tasks.hdf5_probe import Hdf5Looker
from zocelery_tasks.probe_client import ProbeClient

SHAPE = (4, 5)


def make_old(path: Path) -> None:
    """Make a file one that was written long ago."""
    os.utime(path, (1e9, 1e9))


def write(path: Path, content: bytes = b"image") -> Path:
    path.write_bytes(content)
    make_old(path)
    return path


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


# files


def test_old_files_are_there_up_to_the_first_that_is_missing(tmp_path: Path) -> None:
    files = [(n, str(tmp_path / f"x_{n}")) for n in range(1, 6)]
    for number in (1, 2, 4):
        write(Path(files[number - 1][1]))
    found = FileLooker().look(files)
    assert found["present"] == [1, 2]
    assert found["why"] == f"{files[2][1]}: No such file or directory"
    assert FileLooker().look(files, patient=True)["present"] == [1, 2, 4]


def test_a_young_file_is_there_when_it_has_stopped_growing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    looker = FileLooker()

    def look() -> dict[str, object]:
        return looker.look([(1, str(path))])

    path.write_bytes(b"half")
    assert look() == {
        "present": [],
        "growing": True,
        "why": f"{path}: not complete",
    }
    path.write_bytes(b"half and half")
    assert look()["present"] == []
    wait_until(lambda: look()["present"] == [1])


def cbf(pixels: bytes, declared: int) -> bytes:
    head = b"###CBF: VERSION 1.5\nX-Binary-Size: %d\n\n" % declared
    return head + b"\x0c\x1a\x04\xd5" + pixels


def test_a_young_cbf_is_there_as_soon_as_it_has_the_size_that_it_declares(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.cbf"
    looker = FileLooker()
    path.write_bytes(cbf(b"pixels"[:5], declared=6))
    for _ in range(5):  # however long it stays so, as long as it is young
        assert looker.look([(1, str(path))])["present"] == []
        time.sleep(0.005)
    path.write_bytes(cbf(b"pixels", declared=6))
    assert looker.look([(1, str(path))])["present"] == [1]


def test_an_old_cbf_that_was_never_finished_is_handed_on(tmp_path: Path) -> None:
    path = write(tmp_path / "x.cbf", cbf(b"", declared=6))
    assert FileLooker().look([(1, str(path))])["present"] == [1]


def test_an_empty_file_is_not_there_unless_it_may_be_empty(tmp_path: Path) -> None:
    empty = write(tmp_path / "x", b"")
    found = FileLooker().look([(1, str(empty))])
    assert (found["present"], found["growing"]) == ([], False)
    assert FileLooker().look([(1, str(empty))], allow_empty=True)["present"] == [1]


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    found = FileLooker().look([(1, str(tmp_path))])
    assert found["present"] == []
    assert "not a file" in found["why"]


# HDF5


def make_dataset(file: h5py.File, name: str, count: int, grows: bool = False) -> None:
    file.create_dataset(
        name,
        shape=(0 if grows else count, *SHAPE),
        maxshape=(None if grows else count, *SHAPE),
        chunks=(1, *SHAPE),
        dtype=np.uint16,
    )


def write_data_file(path: Path, count: int, written: int, name: str = "data") -> None:
    with h5py.File(path, "w", libver="latest") as file:
        make_dataset(file, name, count)
        for index in range(written):
            file[name][index] = index


def present(path: Path, count: int = 9, first: int = 1) -> tuple[list[int], int | None]:
    found = Hdf5Looker(str(path)).look(list(range(1, count + 1)), first)
    return found["present"], found["total"]


def why(path: Path) -> str:
    found = Probe().answer({"hdf5": str(path), "first": 1, "numbers": [1]})
    assert found["present"] == []
    return str(found["why"])


def test_images_are_there_when_their_chunks_are(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_data_file(path, count=5, written=3, name="entry/data/data")
    assert present(path) == ([1, 2, 3], 5)
    assert present(path, first=2) == ([1, 2], 5)


def test_images_of_a_virtual_dataset_are_where_it_says(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout(shape=(6, *SHAPE), dtype=np.uint16)
    for block in range(2):
        source = h5py.VirtualSource(
            f"x_{block}.h5", "data", shape=(3, *SHAPE), dtype=np.uint16
        )
        layout[3 * block : 3 * block + 3] = source
    with h5py.File(tmp_path / "x.nxs", "w", libver="latest") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    assert "x_0.h5: No such file" in why(tmp_path / "x.nxs")
    write_data_file(tmp_path / "x_0.h5", 3, 3)
    write_data_file(tmp_path / "x_1.h5", 3, 2)
    assert present(tmp_path / "x.nxs") == ([1, 2, 3, 4, 5], 6)


def test_interleaved_sources_are_followed_frame_by_frame(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout(shape=(4, *SHAPE), dtype=np.uint16)
    for block in range(2):
        layout[block::2] = h5py.VirtualSource(
            f"x_{block}.h5", "data", shape=(2, *SHAPE), dtype=np.uint16
        )
    with h5py.File(tmp_path / "x.nxs", "w", libver="latest") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    write_data_file(tmp_path / "x_0.h5", 2, 2)
    write_data_file(tmp_path / "x_1.h5", 2, 1)
    assert present(tmp_path / "x.nxs") == ([1, 2, 3], 4)


def test_a_frame_of_several_modules_is_there_when_all_are(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout(shape=(2, 8, 5), dtype=np.uint16)
    for module in range(2):
        layout[:, 4 * module : 4 * module + 4] = h5py.VirtualSource(
            f"m_{module}.h5", "data", shape=(2, *SHAPE), dtype=np.uint16
        )
    with h5py.File(tmp_path / "x.nxs", "w", libver="latest") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    write_data_file(tmp_path / "m_0.h5", 2, 2)
    write_data_file(tmp_path / "m_1.h5", 2, 1)
    assert present(tmp_path / "x.nxs") == ([1], 2)


def test_a_masters_linked_data_files_are_counted_on_its_word(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x_master.h5", "w", libver="latest") as file:
        for block in (1, 2):
            name = f"data_{block:06d}"
            file[f"entry/data/{name}"] = h5py.ExternalLink(f"x_{name}.h5", "data")
        detector = file.create_group("entry/instrument/detector/detectorSpecific")
        detector["nimages"] = 2
        detector["ntrigger"] = 2
    assert present(tmp_path / "x_master.h5") == ([], 4)
    write_data_file(tmp_path / "x_data_000001.h5", 3, 3)
    assert present(tmp_path / "x_master.h5") == ([1, 2, 3], 4)
    write_data_file(tmp_path / "x_data_000002.h5", 1, 1)
    assert present(tmp_path / "x_master.h5") == ([1, 2, 3, 4], 4)


def test_a_signal_tells_which_dataset_holds_the_images(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_data_file(path, 2, 2, name="scan/measured/frames")
    with h5py.File(path, "a") as file:
        file["scan"].attrs["NX_class"] = "NXentry"
        file["scan/measured"].attrs["NX_class"] = "NXdata"
        file["scan/measured"].attrs["signal"] = "frames"
    assert present(path) == ([1, 2], 2)


def test_data_files_that_come_later_are_looked_for_beside_the_real_master(
    tmp_path: Path,
) -> None:
    real = tmp_path / "visit"
    real.mkdir()
    with h5py.File(real / "x.nxs", "w", libver="latest") as file:
        file["entry/data/data"] = h5py.ExternalLink("x_1.h5", "data")
    link = tmp_path / "x.nxs"
    link.symlink_to(real / "x.nxs")
    looker = Hdf5Looker(str(link))
    assert looker.look([1])["present"] == []
    write_data_file(real / "x_1.h5", 1, 1)
    assert looker.look([1])["present"] == [1]


def test_a_contiguous_dataset_and_a_lone_image_are_there(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["entry/data/data"] = np.ones((2, *SHAPE))
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["entry/data/data"] = np.ones(SHAPE)
    assert present(tmp_path / "x.h5") == ([1, 2], 2)
    assert present(tmp_path / "y.h5") == ([1], 1)


def test_what_cannot_be_read_yet_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    assert "No such file" in why(path)
    path.write_bytes(b"")
    assert "not (yet) an HDF5 file" in why(path)
    write_data_file(path, 2, 2, name="entry/data/data")
    whole = path.read_bytes()
    for length in (60, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "truncated" in why(path)
    path.write_bytes(whole[:9] + b"\xff" * (len(whole) - 9))
    assert why(path)
    with h5py.File(path, "w", libver="latest") as file:
        file["other"] = 1
    assert "has no images" in why(path)


def test_a_file_whose_writer_shares_it_with_nobody_is_waited_for(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as file:
        make_dataset(file, "entry/data/data", 1)
        file.flush()
        assert "still being written" in why(path)
        file["entry/data/data"][0] = 1
    assert present(path) == ([1], 1)


def test_a_file_that_is_replaced_is_read_afresh(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_data_file(path, 3, 1, name="entry/data/data")
    looker = Hdf5Looker(str(path))
    assert looker.look([1, 2, 3])["present"] == [1]
    write_data_file(tmp_path / "new.h5", 3, 3, name="entry/data/data")
    (tmp_path / "new.h5").replace(path)
    assert looker.look([1, 2, 3])["present"] == [1, 2, 3]


WRITER = """
import sys, h5py, numpy as np
path, grows = sys.argv[1], sys.argv[2] == "grows"
with h5py.File(path, "w", libver="latest") as file:
    count = 0 if grows else 3
    data = file.create_dataset(
        "entry/data/data", (count, 4, 5), "u2", chunks=(1, 4, 5),
        maxshape=(None if grows else 3, 4, 5),
    )
    file.swmr_mode = True
    print("open", flush=True)
    for index in range(3):
        sys.stdin.readline()
        if grows:
            data.resize(index + 1, axis=0)
        data[index] = np.ones((4, 5))
        data.flush()
        print("written", flush=True)
    sys.stdin.readline()
print("closed", flush=True)
"""


class Writer:
    """A process that writes images while others read: one for each `go`."""

    def __init__(self, path: Path, how: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.hear("open")

    def go(self, answer: str = "written") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.hear(answer)

    def hear(self, answer: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == answer

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(params=["fixed", "grows"])
def writer_and_path(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Writer, Path]]:
    writer = Writer(tmp_path / "x.h5", request.param)
    yield writer, tmp_path / "x.h5"
    writer.close()


def test_images_are_seen_as_another_process_writes_them(
    writer_and_path: tuple[Writer, Path],
) -> None:
    writer, path = writer_and_path
    looker = Hdf5Looker(str(path))
    assert looker.look([1, 2, 3])["present"] == []
    for number in (1, 2, 3):
        writer.go()
        assert looker.look([1, 2, 3])["present"] == list(range(1, number + 1))
    writer.go("closed")
    assert looker.look([1, 2, 3])["present"] == [1, 2, 3]
    assert looker.look([1])["total"] == 3


def test_a_growing_dataset_has_no_total_until_it_is_closed(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "x.h5", "grows")
    try:
        looker = Hdf5Looker(str(tmp_path / "x.h5"))
        writer.go()
        assert looker.look([1])["total"] is None
        writer.go()
        writer.go()
        writer.go("closed")
        assert looker.look([1])["total"] == 3
    finally:
        writer.close()


# the process


@pytest.fixture
def client() -> Iterator[ProbeClient]:
    with ProbeClient(limit_s=10) as client:
        yield client


def test_a_probe_answers_for_files_and_for_hdf5(
    client: ProbeClient, tmp_path: Path
) -> None:
    path = str(write(tmp_path / "x_1"))
    assert client.ask({"files": [[1, path]]})["present"] == [1]
    write_data_file(tmp_path / "x.h5", 2, 1, name="entry/data/data")
    question = {"hdf5": str(tmp_path / "x.h5"), "first": 1, "numbers": [1, 2]}
    answer = client.ask(question)
    assert (answer["present"], answer["total"]) == ([1], 2)
    assert answer["took"] >= 0


def test_a_look_that_hangs_is_given_up_and_the_next_one_works(tmp_path: Path) -> None:
    question = {"files": [[1, str(write(tmp_path / "x_1"))]]}
    with ProbeClient(limit_s=10) as client:
        client.ask(question)
        first = client.pid
        client._limit_s = 0.2
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        answer = client.ask(question)
        assert answer["present"] == []
        assert "longer than 0.2 s" in answer["why"]
        assert client.hangs == 1
        client._limit_s = 10
        assert client.ask(question)["present"] == [1]
        assert client.pid != first


def test_a_probe_that_is_killed_is_started_again(
    client: ProbeClient, tmp_path: Path
) -> None:
    question = {"files": [[1, str(write(tmp_path / "x_1"))]]}
    client.ask(question)
    assert client.pid is not None
    os.kill(client.pid, signal.SIGKILL)
    wait_until(lambda: client.ask(question)["present"] == [1])
    assert client.hangs == 0


def test_a_probe_ends_with_its_watcher(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from zocelery_tasks.probe_client import ProbeClient\n"
        "client = ProbeClient()\n"
        "client.ask({'files': []})\n"
        "print(client.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    probe = int(ended.stdout)

    def is_gone() -> bool:
        try:
            status = Path(f"/proc/{probe}/stat").read_text()
        except FileNotFoundError:
            return True
        return status.rpartition(")")[2].split()[0] == "Z"

    wait_until(is_gone)


def test_a_probe_loads_little() -> None:
    program = probe_client._PROGRAM.replace(
        "\nmain()", "\nimport json; print(json.dumps(list(sys.modules)))"
    )
    folder = str(Path(probe_client.__file__).parent)
    listed = subprocess.run(
        [sys.executable, "-c", program, folder],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(listed.stdout))
    assert "zocelery_tasks.file_probe" in loaded
    assert not loaded & {"numpy", "h5py", "celery", "pydantic", "numba"}
