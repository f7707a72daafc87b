"""Whatever happens to a program, its worker or its supervisor: nothing is left."""

import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from zocelery.errors import PermanentError
from zocelery_tasks.wrappers.process import (
    UNIT_VARIABLE,
    Command,
    Ending,
    Outcome,
    end_leftovers,
    run_command,
)

STUBBORN = "trap '' TERM; setsid sh -c \"trap '' TERM; sleep 300; :\" & sleep 300; :"
"""Ignores SIGTERM, and has a child in a session of its own that does so too."""


def never() -> bool:
    return False


def run(
    folder: Path,
    script: str,
    *,
    timeout: float | None = None,
    look: Callable[[], bool] = never,
    grace: float = 0.2,
    nice: int = 0,
) -> Outcome:
    environment = {"PATH": os.environ["PATH"], UNIT_VARIABLE: str(folder)}
    command = Command(
        ["sh", "-c", script],
        folder,
        environment,
        folder / "log",
        timeout,
        grace=grace,
        nice=nice,
    )
    return run_command(command, look)


def marked(folder: Path) -> list[int]:
    """Return the processes that run for the test in `folder`, whoever owns them."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"{UNIT_VARIABLE}={folder}".encode() in variables:
            found.append(int(process.name))
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_exit_code_output_and_resources_are_told(tmp_path: Path) -> None:
    outcome = run(tmp_path, "echo out; echo err >&2; pwd; exit 3")
    assert (outcome.exit_code, outcome.signal) == (3, None)
    assert outcome.ending is Ending.ITSELF
    assert (tmp_path / "log").read_text() == f"out\nerr\n{tmp_path}\n"
    assert outcome.cpu_seconds > 0
    assert outcome.peak_memory_bytes > 100_000


def test_cpu_time_of_grandchildren_counts(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    outcome = run(tmp_path, f"sh -c '{sys.executable} -c \"{busy}\"; :'; :")
    assert outcome.cpu_seconds > 0.3


def test_a_program_and_its_children_are_nicer_than_the_worker(tmp_path: Path) -> None:
    own = os.nice(0)
    run(tmp_path, "nice; setsid nice; cat /proc/self/autogroup", nice=3)
    told = (tmp_path / "log").read_text().splitlines()
    assert told[:2] == [str(min(own + 3, 19))] * 2
    assert not told[2].startswith("/autogroup") or told[2].endswith("nice 3")


def test_a_program_is_as_nice_as_the_worker_unless_told(tmp_path: Path) -> None:
    run(tmp_path, "nice")
    assert (tmp_path / "log").read_text() == f"{os.nice(0)}\n"


def test_a_signal_is_named(tmp_path: Path) -> None:
    outcome = run(tmp_path, "kill -SEGV $$")
    assert (outcome.exit_code, outcome.signal) == (None, "SIGSEGV")


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    command = Command(["no-such-program"], tmp_path, {}, tmp_path / "log")
    with pytest.raises(PermanentError, match=r"no-such-program is not installed on"):
        run_command(command, never)


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.touch()
    command = Command([str(text)], tmp_path, {}, tmp_path / "log")
    with pytest.raises(PermanentError, match=r"/text cannot be started .*: Permission"):
        run_command(command, never)


def test_a_timeout_ends_a_stubborn_family(tmp_path: Path) -> None:
    outcome = run(tmp_path, STUBBORN, timeout=0.5)
    assert outcome.ending is Ending.TIMEOUT
    assert outcome.signal == "SIGKILL"
    assert marked(tmp_path) == []


def test_a_stop_ends_a_stubborn_family(tmp_path: Path) -> None:
    outcome = run(tmp_path, STUBBORN, look=lambda: len(marked(tmp_path)) >= 4)
    assert outcome.ending is Ending.STOPPED
    assert marked(tmp_path) == []


def test_a_program_may_end_cleanly_when_it_is_asked_to(tmp_path: Path) -> None:
    script = "trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.05; done"
    log = tmp_path / "log"
    up = lambda: log.exists() and "up" in log.read_text()  # noqa: E731
    outcome = run(tmp_path, script, look=up, grace=10)
    assert outcome.exit_code == 4
    lines = log.read_text().split()  # a shell may tell of its own child in between
    assert (lines[0], lines[-1]) == ("up", "bye")


def test_what_a_program_leaves_running_is_ended_with_it(tmp_path: Path) -> None:
    outcome = run(tmp_path, "setsid nohup sleep 300 & setsid sleep 300 & exit 0")
    assert outcome.exit_code == 0
    assert marked(tmp_path) == []


def start_worker(folder: Path) -> BaseProcess:
    worker = get_context("fork").Process(target=run, args=(folder, STUBBORN))
    worker.start()
    wait_until(lambda: len(marked(folder)) >= 4)
    return worker


def test_a_worker_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    worker = start_worker(tmp_path)
    worker.kill()
    worker.join()
    wait_until(lambda: marked(tmp_path) == [])


def test_what_outlives_worker_and_supervisor_is_found_by_the_next(
    tmp_path: Path,
) -> None:
    worker = start_worker(tmp_path)
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text()
    for pid in (int(children.split()[0]), worker.pid or 0):
        os.kill(pid, signal.SIGKILL)
    worker.join()
    wait_until(lambda: len(marked(tmp_path)) < 4)
    end_leftovers(str(tmp_path))
    wait_until(lambda: marked(tmp_path) == [])
