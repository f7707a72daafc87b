"""With --json stdout is JSON lines."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from zocelery.cli import cli
from zocelery.queues import QUEUE_NAMES
from zocelery.submission import submit


def answer(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--json"])


def lines(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.usefixtures("workers")
def test_check_tells_each_thing_that_is_in_order():
    found = {row["check"]: row["found"] for row in lines(answer("check"))}
    assert {"environment", "kernels", "broker", "redis", "history"} < found.keys()
    assert found["queues"] == [*QUEUE_NAMES, "processing_recipe"]
    assert "echo" in found["tasks"]
    assert "guest:***@" in found["broker"]


@pytest.mark.usefixtures("workers")
def test_cancel_tells_how_the_run_stands():
    nodes = {"a": {"task": "echo", "transport-delay": 2}}
    run = submit({"nodes": nodes, "start": [["a", {"x": 1}]]})
    assert lines(answer("cancel", run.id)) == [{"run": run.id, "state": "cancelled"}]
    assert run.wait(60).state == "cancelled"


def test_probes_tell_of_the_worker_of_a_file(tmp_path: Path):
    file = tmp_path / "worker"
    file.write_text(f"{os.getpid()}\n")
    for probe, word in (("ready", "ready"), ("live", "alive")):
        (row,) = lines(answer("probe", probe, "--file", str(file)))
        assert row == {"file": str(file), word: True}
    missing = answer("probe", "ready", "--file", str(tmp_path / "none"))
    assert missing.exit_code != 0
    assert missing.stdout == ""
