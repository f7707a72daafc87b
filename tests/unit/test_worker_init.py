"""Workers are warm before they say that they are ready."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zocelery import pulse, readiness
from zocelery_tasks.worker_init import analyse, small_image


def test_the_image_of_the_warm_up_has_four_spots(tmp_path: Path):
    file = tmp_path / "warm_00001.cbf"
    file.write_bytes(small_image())
    assert analyse(file) == 4


class Loop:
    """A worker's consumer with a pool of two processes, and its timer."""

    def __init__(self) -> None:
        self.pool = SimpleNamespace(
            _pool=SimpleNamespace(_pool=["first", "second"], _fileno_to_inq={})
        )
        self.timer = self
        self.later: list[Any] = []

    def call_after(self, seconds: float, function: Any, args: Any) -> None:
        """Keep what the loop is to call."""
        assert 0 < seconds < 1
        self.later.append((function, args))

    def go_round(self) -> None:
        """Call what was asked for."""
        (function, args), self.later = self.later[0], self.later[1:]
        function(*args)


def test_a_worker_is_ready_when_all_processes_of_its_pool_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ready = tmp_path / "ready"
    monkeypatch.setenv(pulse.READY_VARIABLE, str(ready))
    consumer = Loop()
    readiness.say_ready(consumer)
    up = consumer.pool._pool._fileno_to_inq
    for process in ("first", "second"):
        assert not ready.exists()
        up[len(up)] = process
        consumer.go_round()
    assert int(ready.read_text()) == os.getpid()
    assert consumer.later == []


def test_servers_that_are_away_hold_no_process_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(readiness, "LONGEST_SECONDS", 0.05)
    held = threading.Event()
    monkeypatch.setattr(readiness, "_open", lambda *_: held.wait(60))
    readiness.open_servers(SimpleNamespace())  # type: ignore[arg-type]
    assert not held.is_set()
    held.set()
