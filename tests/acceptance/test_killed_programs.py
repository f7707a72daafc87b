"""A worker that is killed takes its programs with it, and they run again once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

RECIPE = {
    "start": "a",
    "nodes": {
        "a": {
            "task": "command",
            "parameters": {
                "command": ["sh", "-c", "{script}"],
                "working_directory": "{folder}",
            },
        }
    },
}
SCRIPT = """
echo $$ >> {0}/starts
setsid sh -c 'echo $$ >> {0}/orphans; while :; do sleep 0.2; done' &
test $(wc -l < {0}/starts) -gt 1 || while :; do sleep 0.2; done
"""


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def numbers(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def parent(pid: int) -> int:
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text.rpartition(")")[2].split()[1])


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_killed_worker_leaves_no_orphan_and_the_program_runs_again_once(
    tmp_path: Path,
) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(RECIPE))
    script = SCRIPT.format(tmp_path)
    given = ["-p", f"script={json.dumps(script)}", "-p", f"folder={tmp_path}/work"]
    command = [sys.executable, "-m", "zocelery", "run", str(recipe), *given, "--json"]
    environment = {**os.environ, "ZOCELERY_WORKERS_TASK_LEASE": "2"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    try:
        starts, orphans = tmp_path / "starts", tmp_path / "orphans"
        wait_until(lambda: bool(numbers(starts) and numbers(orphans)), 110)
        first, orphan = numbers(starts)[0], numbers(orphans)[0]
        os.kill(parent(parent(first)), signal.SIGKILL)
        wait_until(lambda: not is_alive(first) and not is_alive(orphan), 20)
        output, _ = process.communicate(timeout=100)
    finally:
        process.kill()
    assert len(numbers(starts)) == 2
    assert not any(is_alive(pid) for pid in numbers(orphans))
    end = json.loads(output.splitlines()[-1])
    assert end["state"] == "finished"
    folders = sorted(folder.name for folder in (tmp_path / "work").iterdir())
    assert folders == ["a", "a.2"]
