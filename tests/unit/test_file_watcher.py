"""Watching for images: real files, written before, while and after they are watched."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from zocelery.errors import ParameterError
from zocelery.messages import Burst, Emission, Step
from zocelery_tasks import file_watcher
from zocelery_tasks.file_watcher import LONGEST_PAUSE_S, SHORTEST_PAUSE_S, watch_files
from zocelery_tasks.probe_client import ProbeClient

ENDS = {"any", "timeout", "finally", "error"}


class Watching:
    """A watch that is driven as the runtime drives it."""

    def __init__(
        self,
        channels: set[str],
        state: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> None:
        names = {key.replace("_", "-"): value for key, value in parameters.items()}
        step = Step(
            parameters={"timeout": 20, **names},
            channels=frozenset(channels | ENDS),
        )
        self.emissions: list[Emission] = []
        self.bursts: list[Burst] = []
        self.state: Mapping[str, Any] = state or {}
        self._iterator = watch_files(step, self.state)

    def step(self) -> Burst | None:
        burst: Burst | None = next(self._iterator, None)
        if burst is not None:
            self.emissions += burst.emissions
            self.bursts.append(burst)
            self.state = json.loads(json.dumps(burst.state))
        return burst

    def until(self, condition: Callable[[], bool]) -> "Watching":
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, f"never: {self.told()}"
            burst = self.step()
            assert burst is not None, f"ended before: {self.told()}"
            time.sleep(burst.pause)
        return self

    def until_told(self, count: int) -> "Watching":
        return self.until(lambda: len(self.told("every")) == count)

    def to_end(self) -> "Watching":
        deadline = time.monotonic() + 20
        while (burst := self.step()) is not None:
            assert time.monotonic() < deadline, f"no end: {self.told()}"
            time.sleep(burst.pause)
        return self

    def stop(self) -> Mapping[str, Any]:
        self._iterator.close()
        return self.state

    def told(self, channel: str | None = None) -> list[Any]:
        if channel is None:
            return [(each.channel, each.item) for each in self.emissions]
        return [each.item for each in self.emissions if each.channel == channel]

    def payload(self, channel: str) -> Any:
        (only,) = (e.payload for e in self.emissions if e.channel == channel)
        return only


def write(folder: Path, *numbers: int, old: bool = True) -> None:
    for number in numbers:
        path = folder / f"x_{number:03d}.cbf"
        path.write_bytes(b"image")
        if old:
            os.utime(path, (1e9, 1e9))


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Watching]]:
    """Start watches for the files x_001.cbf and on in `tmp_path`."""
    started: list[Watching] = []

    def start(channels: set[str], last: int = 3, **others: Any) -> Watching:
        if not {"list", "hdf5", "images"} & set(others):
            others |= {"pattern": f"{tmp_path}/x_%03d.cbf"}
            others |= {"pattern_start": 1, "pattern_end": last}
        watching = Watching(channels, **others)
        started.append(watching)
        return watching

    yield start
    for watching in started:
        watching.stop()


Start = Callable[..., Watching]


def test_files_that_are_there_are_told_of_at_once(watch: Start, tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3)
    names = {"first", "last", "every", "every-2", "select-1", "select-2", "2"}
    seen = watch(names).to_end()
    assert seen.told("every") == ["1", "2", "3"]
    assert seen.told("every-2") == ["1", "3"]
    assert seen.told("select-2") == ["1", "3"]
    assert seen.told("select-1") == ["3"]
    assert seen.told("first") == seen.told("last") == seen.told("2") == [None]
    path = f"{tmp_path}/x_003.cbf"
    last = seen.payload("last")
    assert abs(last.pop("file-seen-at") - time.time()) < 20
    assert last == {"file": path, "file-number": 3, "file-pattern-index": 3}
    counts = {"files-expected": 3, "files-seen": 3}
    assert seen.payload("any") == counts
    assert seen.payload("finally") == {**counts, "success": True}
    assert seen.told("timeout") == seen.told("error") == []
    assert seen.bursts[-1].progress == (3, 3)


def test_numbers_of_files_begin_at_one_wherever_the_pattern_begins(
    watch: Start, tmp_path: Path
) -> None:
    write(tmp_path, 7, 8)
    seen = watch({"every"}, images=f"{tmp_path}/x_###.cbf:7:8").to_end()
    assert seen.told("every") == ["1", "2"]
    payloads = [e.payload for e in seen.emissions if e.channel == "every"]
    assert [p["file-number"] for p in payloads] == [1, 2]
    assert [p["file-pattern-index"] for p in payloads] == [7, 8]


def test_files_are_told_of_as_they_are_written(watch: Start, tmp_path: Path) -> None:
    watching = watch({"every"})
    watching.until(lambda: len(watching.bursts) == 2)
    assert watching.told() == []
    for number in (1, 2, 3):
        write(tmp_path, number, old=False)
        watching.until_told(number)
    assert watching.to_end().payload("finally")["success"] is True


def test_a_file_is_not_told_of_before_it_is_whole(watch: Start, tmp_path: Path) -> None:
    watching = watch({"every"}, last=1)
    with (tmp_path / "x_001.cbf").open("wb", buffering=0) as file:
        for _ in range(5):
            file.write(b"part of an image")
            burst = watching.step()
            assert burst is not None
            assert burst.pause == SHORTEST_PAUSE_S
    assert watching.told("every") == []
    watching.until(lambda: bool(watching.told("every")))


def test_no_more_than_a_burst_is_told_of_at_once(watch: Start, tmp_path: Path) -> None:
    write(tmp_path, *range(1, 8))
    seen = watch({"every"}, last=7, burst_limit="3").to_end()
    sizes = [len(b.emissions) for b in seen.bursts if b.emissions]
    assert sizes == [3, 3, 1, 2]  # any and finally come last
    assert seen.bursts[0].pause == 0
    assert seen.told("every") == [str(n) for n in range(1, 8)]


def test_pauses_are_short_while_images_come_and_grow_when_none_do(
    watch: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 1)
    watching = watch({"every"})
    watching.until(lambda: watching.told("every") == ["1"])
    assert watching.bursts[-1].pause == SHORTEST_PAUSE_S
    now = time.time()
    pauses = []
    clock = {"now": now}
    monkeypatch.setattr(file_watcher.time, "time", lambda: clock["now"])
    for idle in (2.0, 10.0, 15.0, 19.0):
        clock["now"] = now + idle
        burst = watching.step()
        assert burst is not None
        pauses.append(burst.pause)
    assert pauses == sorted(pauses)
    assert 0.09 < pauses[0] < 0.2
    assert pauses[-1] <= LONGEST_PAUSE_S


def test_a_wait_that_was_asked_for_is_kept(watch: Start, tmp_path: Path) -> None:
    write(tmp_path, 1)
    burst = watch({"every"}, burst_wait="0.3").step()
    assert burst is not None
    assert burst.pause == 0.3


def test_nothing_for_too_long_is_a_timeout(watch: Start, tmp_path: Path) -> None:
    write(tmp_path, 1)
    seen = watch({"every"}, timeout=0.2).to_end()
    path = f"{tmp_path}/x_002.cbf"
    place = {"file": path, "file-number": 2, "file-pattern-index": 2}
    assert seen.payload("timeout") == {**place, "success": False}
    counts = {"files-expected": 3, "files-seen": 1}
    assert seen.payload("any") == counts
    assert seen.payload("finally") == {**counts, "success": False}


def test_the_first_file_has_a_timeout_of_its_own(watch: Start, tmp_path: Path) -> None:
    seen = watch({"every"}, timeout=1000, timeout_first="0.1").to_end()
    assert seen.payload("timeout")["file-number"] == 1
    assert seen.told("any") == []
    assert seen.payload("finally")["files-seen"] == 0


def test_a_timeout_is_a_warning_unless_it_is_expected(
    watch: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    watch({"every"}, timeout=0).to_end()
    watch({"every"}, timeout=0, log_timeout_as_info=True).to_end()
    warned, informed = caplog.records
    assert (warned.levelname, informed.levelname) == ("WARNING", "INFO")
    assert "0 of 3 files seen" in warned.message
    assert "No such file or directory" in warned.message


def test_images_behind_a_gap_are_told_of_and_the_gap_when_it_is_filled(
    watch: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_watcher, "_GRACE_S", 0.05)
    write(tmp_path, 1, 4)
    watching = watch({"every"}, last=4)
    watching.until(lambda: watching.told("every") == ["1", "4"])
    assert watching.bursts[-1].progress == (2, 4)
    state = watching.stop()
    write(tmp_path, 3)
    again = watch({"every"}, last=4, state=state)
    again.until(lambda: again.told("every") == ["3"])
    write(tmp_path, 2)
    assert again.to_end().told("every") == ["3", "2"]
    assert again.payload("finally")["success"] is True


def test_a_gap_that_is_never_filled_ends_in_a_timeout(
    watch: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_watcher, "_GRACE_S", 0.05)
    write(tmp_path, 1, 3)
    seen = watch({"every"}, timeout=0.3).to_end()
    assert seen.told("every") == ["1", "3"]
    assert seen.payload("timeout")["file-number"] == 2
    assert seen.payload("finally")["files-seen"] == 2


def test_a_watch_that_resumes_repeats_nothing(watch: Start, tmp_path: Path) -> None:
    write(tmp_path, *range(1, 8))
    names = {"every", "first", "select-3", "last"}
    whole = watch(names, last=7).to_end()
    state: Mapping[str, Any] = {}
    told: list[Any] = []
    for _ in range(20):  # every watch is given up after its first burst
        watching = watch(names, last=7, burst_limit=2, state=state)
        if watching.step() is None:
            break
        told += watching.told()
        state = watching.stop()
    assert sorted(told, key=str) == sorted(whole.told(), key=str)
    assert state["ended"] is True


def test_idle_looks_leave_the_state_as_it_is(watch: Start) -> None:
    watching = watch({"every"})
    for _ in range(3):
        watching.step()
    first, second, third = (burst.state for burst in watching.bursts)
    assert first == second == third


def test_a_list_of_files_is_watched_in_its_order(watch: Start, tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    paths = [str(tmp_path / "x_002.cbf"), str(tmp_path / "x_001.cbf")]
    seen = watch({"every"}, list=paths).to_end()
    payloads = [e.payload for e in seen.emissions if e.channel == "every"]
    assert [(p["file"], p["file-list-index"]) for p in payloads] == [
        (paths[0], 1),
        (paths[1], 2),
    ]
    assert seen.payload("finally")["success"] is True


def test_an_empty_list_ends_well_and_an_empty_name_does_not(
    watch: Start, tmp_path: Path
) -> None:
    nothing = {"files-expected": 0, "files-seen": 0, "success": True}
    for empty in ([None], []):
        seen = watch({"every"}, list=empty).to_end()
        assert seen.told() == [("finally", None)]
        assert seen.payload("finally") == nothing
    write(tmp_path, 1)
    seen = watch({"every"}, list=[f"{tmp_path}/x_001.cbf", "", "/x"]).to_end()
    assert seen.told("every") == ["1"]
    assert seen.payload("error") == {
        "file": "",
        "file-list-index": 2,
        "success": False,
    }
    assert seen.payload("any") == {"files-expected": 3, "files-seen": 1}
    assert seen.payload("finally")["success"] is False


def test_one_file_may_be_named_as_it_is(watch: Start, tmp_path: Path) -> None:
    write(tmp_path, 1)
    seen = watch({"every"}, images=f"{tmp_path}/x_001.cbf").to_end()
    assert seen.told("every") == ["1"]


def test_images_in_hdf5_are_told_of_as_they_are_written(
    watch: Start, tmp_path: Path
) -> None:
    path = tmp_path / "x.nxs"
    names = {"every", "first", "last", "select-2"}
    watching = watch(names, hdf5=str(path))
    watching.until(lambda: len(watching.bursts) == 2)
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset(
            "entry/data/data", (3, 4, 5), dtype="u2", chunks=(1, 4, 5)
        )
        watching.until(lambda: len(watching.bursts) == 4)
        file.swmr_mode = True
        for index in range(3):
            data[index] = np.ones((4, 5))
            data.flush()
            watching.until_told(index + 1)
    watching.to_end()
    assert watching.told("select-2") == ["1", "3"]
    first = watching.payload("first")
    first.pop("file-seen-at")
    assert first == {
        "hdf5": str(path),
        "hdf5-index": 0,
        "file": str(path),
        "file-number": 1,
        "parameters": {"scan_range": "1,1"},
    }
    counts = {"images-expected": 3, "images-seen": 3}
    assert watching.payload("finally") == {**counts, "success": True}


def test_a_part_of_a_master_file_is_numbered_from_one(
    watch: Start, tmp_path: Path
) -> None:
    path = tmp_path / "x.nxs"
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = np.ones((5, 4, 5))
    seen = watch({"every"}, images=f"{path}:3:4").to_end()
    payloads = [e.payload for e in seen.emissions if e.channel == "every"]
    assert seen.told("every") == ["1", "2"]
    assert [p["hdf5-index"] for p in payloads] == [2, 3]
    assert [p["parameters"]["scan_range"] for p in payloads] == ["3,3", "4,4"]


def test_what_depends_on_the_total_waits_for_it(watch: Start, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset(
            "entry/data/data",
            (0, 4, 5),
            dtype="u2",
            chunks=(1, 4, 5),
            maxshape=(None, 4, 5),
        )
        file.swmr_mode = True
        watching = watch({"every", "last", "select-2"}, hdf5=str(path))
        for count in (1, 2, 3):
            data.resize(count, axis=0)
            data[count - 1] = 1
            data.flush()
            watching.until_told(count)
        assert watching.bursts[-1].progress == (3, None)
    watching.to_end()
    assert watching.told("select-2") == ["1", "3"]
    assert watching.payload("last")["file-number"] == 3
    assert watching.told("every") == ["1", "2", "3"]


def test_an_hdf5_file_that_never_comes_is_a_timeout(
    watch: Start, tmp_path: Path
) -> None:
    path = tmp_path / "x.nxs"
    path.write_bytes(b"not (yet) an HDF5 file")
    seen = watch({"every"}, hdf5=str(path), timeout_first=0.1).to_end()
    assert seen.payload("timeout") == {
        "file": str(path),
        "hdf5-index": 0,
        "success": False,
    }
    counts = {"images-expected": None, "images-seen": 0}
    assert seen.payload("finally") == {**counts, "success": False}


def test_a_watch_goes_on_after_a_look_that_hung(
    watch: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[ProbeClient] = []

    class Watched(ProbeClient):
        def __init__(self, limit_s: float) -> None:
            super().__init__(limit_s)
            probes.append(self)

    monkeypatch.setattr(file_watcher, "ProbeClient", Watched)
    watching = watch({"every"}, look_timeout=5)
    watching.until(lambda: len(watching.bursts) == 1)
    (probe,) = probes
    probe._limit_s = 0.2
    assert probe.pid is not None
    os.kill(probe.pid, signal.SIGSTOP)
    write(tmp_path, 1, 2, 3)
    watching.step()
    assert probe.hangs == 1
    probe._limit_s = 5
    assert watching.to_end().told("every") == ["1", "2", "3"]


def test_the_probe_ends_with_the_watch(watch: Start) -> None:
    watching = watch({"every"})
    watching.step()
    probe = watching._iterator.gi_frame.f_locals["probe"]
    assert probe.pid is not None
    watching.stop()
    assert probe.pid is None


@pytest.mark.parametrize(
    ("channels", "parameters"),
    [({"every-0"}, {"hdf5": "/x.nxs"}), (set(), {"timeout": 5})],
)
def test_what_cannot_be_watched_is_refused_before_the_first_look(
    channels: set[str], parameters: dict[str, Any]
) -> None:
    step = Step(parameters=parameters, channels=frozenset(channels))
    with pytest.raises(ParameterError):
        next(watch_files(step, {}))
