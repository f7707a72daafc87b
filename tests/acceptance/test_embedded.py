"""`zocelery run` brings servers and workers of its own and takes them away again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

SLEEP = {
    "nodes": {"a": {"task": "sleep", "parameters": {"seconds": 4}}},
    "start": [["a", {"x": 1}]],
}


WITHOUT_RABBITMQ = """
from zocelery import cli, servers
servers.find_rabbitmq = lambda: None
cli.main()
"""


def start(
    folder: Path, *options: str, program: Sequence[str] = ("-m", "zocelery")
) -> "subprocess.Popen[str]":
    recipe = folder / "sleep.json"
    recipe.write_text(json.dumps(SLEEP))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ZOCELERY_")}
    return subprocess.Popen(
        [sys.executable, *program, "run", str(recipe), "--json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "TMPDIR": str(folder)},
    )


def wait_until(condition: Callable[[], bool], seconds: float = 90) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def workers_of(folder: Path) -> list[int]:
    """Return the main processes of the workers that write into `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes()
            output = str((entry / "fd" / "1").readlink())
        except OSError:
            continue
        if b"wrappers@embedded" in command and output.startswith(str(folder)):
            found.append(int(entry.name))
    return sorted(found)


def folders(folder: Path) -> list[Path]:
    return list(folder.glob("zocelery-*"))


@pytest.mark.parametrize(
    "program",
    [("-m", "zocelery"), ("-c", WITHOUT_RABBITMQ)],
    ids=["RabbitMQ", "Redis alone"],
)
def test_a_worker_that_is_killed_is_started_again_and_the_run_ends(
    tmp_path: Path, program: Sequence[str]
):
    run = start(tmp_path, program=program)
    wait_until(lambda: len(workers_of(tmp_path)) >= 2)  # main process and child
    wait_until(lambda: bool(list(tmp_path.glob("zocelery-*/wrappers.ready"))))
    time.sleep(1.5)  # the task of 4 s has begun, or will be taken up by the next
    for pid in workers_of(tmp_path):
        os.kill(pid, signal.SIGKILL)
    output, errors = run.communicate(timeout=110)
    assert run.returncode == 0, errors
    assert json.loads(output.splitlines()[-1])["results"] == {"a": {"x": 1}}
    assert folders(tmp_path) == []


def test_a_terminated_run_leaves_nothing_behind(tmp_path: Path):
    run = start(tmp_path)
    wait_until(lambda: bool(list(tmp_path.glob("zocelery-*/wrappers.ready"))))
    run.terminate()
    run.communicate(timeout=60)
    assert run.returncode == 143
    wait_until(lambda: not workers_of(tmp_path))
    assert folders(tmp_path) == []
