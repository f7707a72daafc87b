"""Each mistake ends in one clear line on stderr and exit code 2; nothing is started."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zocelery import servers


def zocelery(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zocelery", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **environment},
        check=False,
    )


def refused(*arguments: str, **environment: str) -> str:
    done = zocelery(*arguments, **environment)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def write_recipe(folder: Path, document: Any) -> str:
    file = folder / "recipe.json"
    text = document if isinstance(document, str) else json.dumps(document)
    file.write_text(text)
    return str(file)


GRID = ("-p", "grid=4x1")


def test_an_image_that_is_not_there(tmp_path: Path):
    pattern = f"images={tmp_path}/x_%05d.cbf:1:4"
    line = refused("run", "grid-scan", "-p", pattern, *GRID)
    assert f"{tmp_path}/x_00001.cbf: no such file" in line
    assert "live=true" in line


def test_a_recipe_file_that_is_not_there():
    assert "/no/such.json" in refused("run", "/no/such.json")


def test_a_recipe_that_nobody_knows():
    assert "grid-scann" in refused("run", "grid-scann")


def test_a_recipe_that_is_not_json(tmp_path: Path):
    line = refused("run", write_recipe(tmp_path, '{"nodes": '))
    assert "recipe.json" in line
    assert "line 1" in line


def test_a_name_that_leads_out_of_the_folders():
    assert ".." in refused("run", "../grid-scan")


@pytest.mark.parametrize(
    ("nodes", "named"),
    [
        ({"a": {"task": "no_such_task"}}, ("'a'", "no_such_task")),
        ({"a": {"task": "echo", "output": {"evry": "b"}}, "b": {"task": "echo"}},
         ("'a'", "evry")),
        ({"a": {"task": "echo", "output": "b"}}, ("'a'", "'b'")),
        ({"a": {"task": "echo", "parameters": {"x": "{beam}"}}}, ("'a'", "beam")),
        ({"a": {"task": "echo", "output": "b"}, "b": {"task": "echo", "output": "a"}},
         ("a", "b")),
    ],
    ids=["unknown task", "unknown channel", "unknown node", "unfilled", "cycle"],
)  # fmt: skip
def test_a_recipe_that_cannot_run(tmp_path: Path, nodes: Any, named: tuple[str, ...]):
    line = refused("run", write_recipe(tmp_path, {"nodes": nodes, "start": "a"}))
    for name in named:
        assert name in line


def test_a_broker_that_does_not_answer(tmp_path: Path):
    recipe = {"nodes": {"a": {"task": "echo"}}, "start": "a"}
    url = f"amqp://me:secret@127.0.0.1:{servers.free_port()}//"
    line = refused("submit", write_recipe(tmp_path, recipe), ZOCELERY_BROKER_URL=url)
    assert "cannot reach RabbitMQ at amqp://me:***@127.0.0.1" in line
    assert "secret" not in line


def test_a_grid_that_is_none(tmp_path: Path):
    (tmp_path / "x.cbf").touch()
    images = f"images={tmp_path}/x.cbf"
    line = refused("run", "grid-scan", "-p", images, "-p", "grid=4by1")
    assert "4by1" in line


def test_a_result_that_must_not_be_written(tmp_path: Path):
    (tmp_path / "x.cbf").touch()
    output = "/proc/no-such-folder/result.json"
    line = refused(
        *("run", "grid-scan", "-p", f"images={tmp_path}/x.cbf", *GRID),
        *("-p", f"output={output}"),
    )
    assert output in line


def test_a_disk_that_is_too_full_to_start(tmp_path: Path):
    recipe = write_recipe(tmp_path, {"nodes": {"a": {"task": "echo"}}, "start": "a"})
    line = refused("run", recipe, ZOCELERY_RUN_FREE_SPACE=str(10**18))
    assert "MB are free" in line


def test_an_option_that_the_configuration_does_not_have(tmp_path: Path):
    file = tmp_path / "z.toml"
    file.write_text("[broker]\nulr = 1\n")
    line = refused("--config", str(file), "runs")
    assert "broker.ulr" in line


@pytest.mark.usefixtures("redis_url")
def test_a_run_that_nobody_knows(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'h.sqlite'}"
    line = refused("status", "no-such-run", ZOCELERY_HISTORY_URL=url)
    assert "no-such-run" in line
