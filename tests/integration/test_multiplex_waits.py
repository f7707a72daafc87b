"""xia2.multiplex waits for data sets that are still to come, without a slot."""

from pathlib import Path

import pytest

from zocelery.deployment import current_deployment
from zocelery.run import Run
from zocelery.submission import submit

pytestmark = pytest.mark.usefixtures("workers")
WAIT = 60


def tries(run: Run) -> int:
    return len(current_deployment().history.run_tries(run.id))


def test_it_waits_for_its_siblings_while_other_programs_run(tmp_path: Path) -> None:
    pair = {k: str(tmp_path / f"x.{k}") for k in ("experiments", "reflections")}
    given = {"data": [pair], "wait": 50, "first_pause": 0.2}
    folder = {"working_directory": str(tmp_path / "work")}
    waiting = submit("xia2-multiplex", {**given, **folder})
    parameters = {"command": ["true"], **folder}
    other = {"a": {"task": "command", "parameters": parameters}}
    run = submit({"nodes": other, "start": "a"})
    assert run.wait(WAIT).state == "finished"  # the tests have one slot for programs
    assert waiting.state == "running"
    for file in pair.values():
        Path(file).touch()
    ended = waiting.wait(WAIT)
    assert ended.state == "failed"  # the files are empty, if it is installed at all
    assert "xia2.multiplex" in (ended.error or "")
    assert "not there yet" not in (ended.error or "")
    assert tries(waiting) > 1


def test_it_gives_up_after_its_time_and_says_what_is_missing(tmp_path: Path) -> None:
    pair = {k: str(tmp_path / f"x.{k}") for k in ("experiments", "reflections")}
    given = {"data": [pair], "wait": 1, "first_pause": 0.3}
    run = submit("xia2-multiplex", {**given, "working_directory": str(tmp_path)})
    error = run.wait(WAIT).error or ""
    assert error.startswith("multiplex: 0 of 1 data sets are there, 1 needed")
    assert tries(run) == 4  # after 0, 0.3, 0.9 and 1 s
