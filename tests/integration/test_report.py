"""`zocelery report`: runs of real workers as pages."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from zocelery.cli.report import report
from zocelery.cli.runs import show
from zocelery.errors import InputFileError, UnknownRunError
from zocelery.submission import submit

pytestmark = pytest.mark.usefixtures("workers")
WAIT = 60


def finish(nodes: dict[str, Any]) -> str:
    run = submit({"nodes": nodes, "start": next(iter(nodes))})
    run.wait(WAIT)
    return run.id


def invoke(*words: str) -> Result:
    return CliRunner().invoke(report, words)


def program(folder: Path, script: str, **keys: Any) -> dict[str, Any]:
    parameters = {"command": ["sh", "-c", script], "working_directory": str(folder)}
    return {"task": "command", "parameters": parameters, **keys}


def test_a_page_tells_of_failed_members(tmp_path):
    nodes = {
        "list": {"task": "split", "output": {"each": ["each", "breaks"]}},
        "each": {"task": "echo", "output": "all"},
        "breaks": {"task": "fail", "output": "all"},
        "all": {"task": "collect", "gather": True},
    }
    run = submit({"nodes": nodes, "start": [["list", [1, 2]]]})
    assert run.wait(WAIT).state == "finished"
    file = tmp_path / "run.html"
    assert invoke(run.id, "-o", str(file)).exit_code == 0
    told = file.read_text().partition("<h2>Failed members</h2>")[2]
    assert told.count("<td>all</td>") == 2  # the gather that did without them


def test_a_page_tells_of_programs_that_failed(tmp_path):
    nodes = {
        "first": {
            "task": "echo",
            "parameters": {"x": 1},
            "output": ["works", "breaks"],
        },
        "works": program(tmp_path, "echo all is well"),
        "breaks": program(tmp_path, "echo '<b>Sorry</b>: no images'; exit 3"),
    }
    run = finish(nodes)
    file = tmp_path / "run.html"
    answer = invoke(run[:8], "-o", str(file))
    assert (answer.exit_code, answer.output) == (0, f"{file}\n")
    page = file.read_text()
    assert "&lt;b&gt;Sorry&lt;/b&gt;: no images" in page
    assert "all is well\n" not in page
    assert 'src="data:image/svg+xml;base64,' in page
    assert sorted(p.name for p in tmp_path.glob("*.html*")) == ["run.html"]
    told = json.loads(CliRunner().invoke(show, [run, "--json"]).output)
    states = {p["node"]: p["exit_code"] for p in told["programs"]}
    assert states == {"works": 0, "breaks": 3}


def test_what_cannot_be_written_is_named(tmp_path):
    run = finish({"a": {"task": "echo"}})
    error = invoke(run, "-o", str(tmp_path / "nowhere" / "x.html")).exception
    assert isinstance(error, InputFileError)
    assert "nowhere/x.html: cannot be written: No such file" in str(error)


def test_an_unknown_run_is_named(tmp_path):
    error = invoke("nobody", "-o", str(tmp_path / "x.html")).exception
    assert isinstance(error, UnknownRunError)
    assert not list(tmp_path.iterdir())
