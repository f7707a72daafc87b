"""Programs as nodes of runs: once, cancelled, followed, failed, tried again."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from zocelery.celery import app
from zocelery.cli.logs import logs
from zocelery.context import get_context
from zocelery.deployment import Deployment, current_deployment
from zocelery.foreman import Foreman
from zocelery.long_row import ROWS
from zocelery.long_task import CANCEL_SECONDS
from zocelery.publication import publish
from zocelery.run import Run
from zocelery.settings import current_settings
from zocelery.submission import submit
from zocelery_tasks.wrappers.process import LOOK_SECONDS

pytestmark = pytest.mark.usefixtures("workers")
WAIT = 60
ECHO: dict[str, Any] = {"task": "echo"}


def wait_until(condition: Callable[[], bool], seconds: float = WAIT) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def shell(folder: Path, script: str, **keys: Any) -> dict[str, Any]:
    parameters = {"command": ["sh", "-c", script], "working_directory": str(folder)}
    extra = keys.pop("parameters", {})
    return {"task": "command", "parameters": {**parameters, **extra}, **keys}


def start(nodes: dict[str, Any]) -> Run:
    return submit({"nodes": nodes, "start": next(iter(nodes))})


def tries(run: Run) -> list[str]:
    return [row["state"] for row in current_deployment().history.run_tries(run.id)]


def test_a_program_answers_to_the_next_node_and_stands_in_the_history(tmp_path):
    nodes = {
        "a": shell(tmp_path, "echo hello", output={"success": "b", "completed": "c"}),
        "b": ECHO,
        "c": ECHO,
    }
    run = start(nodes)
    assert run.wait(WAIT).state == "finished"
    assert run.results()["b"]["programs"][0]["exit_code"] == 0
    assert run.results()["c"]["message"] == "a has succeeded"
    row = current_deployment().history.run_programs(run.id)[0]
    assert (row["node"], row["program"], row["state"]) == ("a", "sh", "done")
    assert row["cpu_seconds"] > 0
    assert row["peak_memory_bytes"] > 100_000
    assert Path(row["log"]).read_text() == "hello\n"
    assert not current_deployment().store.client.hlen(ROWS)


def test_the_same_message_twice_runs_the_program_once(tmp_path):
    run = start({"a": shell(tmp_path, f"echo x >> {tmp_path}/starts; sleep 1")})
    publish(get_context(app, run.id))
    assert run.wait(WAIT).state == "finished"
    publish(get_context(app, run.id))
    start({"x": shell(tmp_path, "true")}).wait(WAIT)
    assert (tmp_path / "starts").read_text() == "x\n"
    assert tries(run) == ["done"]


def cancelled(folder: Path, script: str) -> Mapping[str, Any]:
    """Return what the history says of a program whose run was cancelled."""
    script = f"echo $$ > pid.new; mv pid.new pid; {script}"
    run = start({"a": shell(folder, script, output="b"), "b": ECHO})
    wait_until(lambda: (folder / "a" / "pid").exists())
    pid = int((folder / "a" / "pid").read_text())
    run.cancel()
    wait_until(lambda: tries(run) != ["running"])
    assert not Path(f"/proc/{pid}").exists()
    assert tries(run) == ["cancelled"]
    assert run.wait(WAIT).state == "cancelled"
    assert list(run.results()) == []
    return current_deployment().history.run_programs(run.id)[0]


def test_cancelling_ends_a_program_that_obeys_without_killing_it(tmp_path):
    script = "trap 'exit 4' TERM; while :; do sleep 0.05; done"
    row = cancelled(tmp_path, script)
    assert (row["state"], row["exit_code"], row["signal"]) == ("stopped", 4, None)


def test_cancelling_kills_a_program_that_does_not_obey_after_the_grace(tmp_path):
    row = cancelled(tmp_path, "trap '' TERM; while :; do sleep 0.2; done")
    assert (row["state"], row["signal"]) == ("stopped", "SIGKILL")


def test_the_grace_leaves_time_to_end_a_cancelled_program_within_five_seconds():
    looks = CANCEL_SECONDS + LOOK_SECONDS
    assert current_settings().wrappers.grace + 2 * looks < 4


def test_a_foreman_opens_its_servers_before_the_first_long_task():
    deployment = Deployment(current_settings())
    foreman = Foreman(app, deployment, 1)
    thread = threading.Thread(target=foreman.run)
    thread.start()
    try:
        wait_until(lambda: "history" in vars(deployment))
    finally:
        foreman.stop()
        thread.join(WAIT)
        deployment.close()
    assert not thread.is_alive()


def test_a_row_that_cannot_be_read_stops_no_other_program(tmp_path):
    client = current_deployment().store.client
    client.hset(ROWS, "unreadable", "{}")
    try:
        run = start({"a": shell(tmp_path, "echo hello")})
        assert run.wait(WAIT).state == "finished"
        assert client.hget(ROWS, "unreadable") == "{}"
    finally:
        client.hdel(ROWS, "unreadable")


def test_a_failed_program_tells_its_channels_and_fails_the_run(tmp_path):
    nodes = {
        "a": shell(
            tmp_path,
            "echo no beam; exit 7",
            output={"success": "b", "failure": "f", "completed": "c"},
        ),
        "b": ECHO,
        "f": ECHO,
        "c": ECHO,
    }
    run = start(nodes)
    status = run.wait(WAIT)
    assert status.state == "failed"
    assert "a: sh ended with exit code 7" in (status.error or "")
    assert "no beam" in (status.error or "")
    assert run.results()["f"]["exit_code"] == 7
    assert run.results()["c"]["ok"] is False
    assert "b" not in run.results()


def test_a_program_that_asks_for_another_try_gets_a_fresh_folder(tmp_path):
    script = f"if ! test -e {tmp_path}/no; then touch {tmp_path}/no; exit 75; fi"
    retry = {"attempts": 2, "pause": 0.1}
    node = shell(tmp_path, script, retry=retry, parameters={"retry_exit_codes": [75]})
    run = start({"a": node})
    assert run.wait(WAIT).state == "finished"
    assert tries(run) == ["retry", "done"]
    folders = [p["folder"] for p in current_deployment().history.run_programs(run.id)]
    assert folders == [f"{tmp_path}/a", f"{tmp_path}/a.2"]


def test_logs_of_two_tries_are_told_apart_also_after_the_end(tmp_path):
    script = f"echo hello; mkdir {tmp_path}/second 2>/dev/null && exit 75; exit 0"
    retry = {"attempts": 2, "pause": 0.1}
    node = shell(tmp_path, script, retry=retry, parameters={"retry_exit_codes": [75]})
    run = start({"a": node})
    assert run.wait(WAIT).state == "finished"
    told = "==> a <==\nhello\n==> a try 2 <==\nhello\n"
    for words in ([run.id], [run.id, "--follow"]):
        assert CliRunner().invoke(logs, words).output == told
    (tmp_path / "a.2" / "a.2.log").unlink()  # on another machine: what Redis has kept
    told = f"==> a <==\nhello\n[try 2: {tmp_path}/a.2]\nhello\n"
    assert CliRunner().invoke(logs, [run.id]).output == told


def test_a_timeout_ends_the_program_and_says_so(tmp_path):
    run = start({"a": shell(tmp_path, "sleep 60", timeout=1)})
    assert "took longer than" in (run.wait(WAIT).error or "")


def test_members_of_a_fan_out_run_programs_that_a_gather_collects(tmp_path):
    nodes = {
        "a": {**ECHO, "parameters": {"list": [1, 2, 3]}, "output": "b"},
        "b": {
            **shell(tmp_path, "true", output="c"),
            "foreach": "list",
        },
        "c": {"task": "collect"},
    }
    run = start(nodes)
    assert run.wait(WAIT).state == "finished"
    folders = {m["working_directory"] for m in run.results()["c"]["members"]}
    assert folders == {f"{tmp_path}/b.{n}" for n in (1, 2, 3)}


def test_a_program_that_feeds_a_gather_is_waited_for(tmp_path):
    nodes = {
        "a": {**ECHO, "parameters": {"x": 1}, "output": ["b", "c"]},
        "b": shell(tmp_path, "sleep 0.5", output="d"),
        "c": {**ECHO, "output": "d"},
        "d": {"task": "collect"},
    }
    run = start(nodes)
    assert run.wait(WAIT).state == "finished"
    assert len(run.results()["d"]["members"]) == 2


def test_progress_shows_in_the_status_while_the_program_runs(tmp_path):
    script = f"echo image 3 of 9; while ! test -e {tmp_path}/go; do sleep 0.1; done"
    told = {"progress": r"image (?P<seen>\d+) of (?P<expected>\d+)"}
    run = start({"a": shell(tmp_path, script, parameters=told)})
    wait_until(lambda: run.status().nodes[0].progress == "image 3 of 9")
    (tmp_path / "go").touch()
    assert run.wait(WAIT).nodes[0].progress is None


def test_logs_are_shown_while_and_after_the_program_runs(tmp_path):
    script = "echo first; sleep 0.5; echo last >&2"
    nodes = {"a": shell(tmp_path, script, output="b"), "b": shell(tmp_path, "echo b")}
    run = start(nodes)
    followed = CliRunner().invoke(logs, [run.id, "--follow", "--node", "a"])
    assert followed.output == "first\nlast\n"
    run.wait(WAIT)
    shown = CliRunner().invoke(logs, [run.id]).output
    assert shown == "==> a <==\nfirst\nlast\n==> b <==\nb\n"
    (tmp_path / "a" / "a.log").unlink()  # on another machine: what Redis has kept
    assert CliRunner().invoke(logs, [run.id]).output == shown
