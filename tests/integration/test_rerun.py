"""A run that is run again does what is missing, and nothing twice."""

import json
import time
from typing import Any

import pytest
from click.testing import CliRunner

from zocelery.celery import app
from zocelery.cli import cli
from zocelery.context import get_context
from zocelery.deployment import current_deployment
from zocelery.errors import ParameterError
from zocelery.publication import begin_run
from zocelery.rerunning import plan_rerun, rerun
from zocelery.run import Run
from zocelery.submission import submit

pytestmark = pytest.mark.usefixtures("workers")
WAIT = 60
ECHO: dict[str, Any] = {"task": "echo"}
FAN: dict[str, Any] = {
    "a": {**ECHO, "parameters": {"list": [1, 2, 3]}, "output": "b"},
    "b": {**ECHO, "foreach": "list", "output": "c"},
    "c": {"task": "collect", "output": "d"},
}


def run(nodes: dict[str, Any], start: Any = "a", **parameters: Any) -> Run:
    started = submit({"nodes": nodes, "start": start}, parameters)
    started.wait(WAIT)
    return started


def states(done: Run) -> dict[str, str]:
    done.wait(WAIT)
    return {node.node: node.state for node in done.status().nodes}


def tried(done: Run) -> list[str]:
    return sorted(t["node"] for t in current_deployment().history.run_tries(done.id))


def test_only_what_failed_is_run_again_on_the_answers_of_the_rest():
    nodes = {
        **FAN,
        "d": {"task": "choose", "parameters": {"key": "{key}"}, "output": {"3": "e"}},
        "e": ECHO,
    }
    first = run(nodes, key="nonsense")
    assert first.state == "failed"
    again = rerun(first.id, parameters={"key": "items"})
    assert states(again)["c"] == "reused"
    assert tried(again) == ["d"]
    assert again.results()["c"]["members"] == [1, 2, 3]
    assert again.status().rerun_of == first.id


def test_a_rerun_of_a_failed_node_goes_on_behind_it():
    nodes = {
        **FAN,
        "d": {"task": "fail", "parameters": {"message": "no beam"}, "output": "e"},
        "e": ECHO,
    }
    first = run(nodes)
    for again in (rerun(first.id, failed=True), rerun(first.id, failed=True)):
        assert again.wait(WAIT).error == "d: no beam"
        assert tried(again) == ["d"]
        assert states(again) == {
            **dict.fromkeys(("a", "b/each", "b", "c"), "reused"),
            "d": "parked",
            "e": "skipped",
        }


def test_from_a_node_on_everything_runs_again():
    nodes = {**FAN, "d": {**ECHO, "output": "e"}, "e": ECHO}
    first = run(nodes)
    again = rerun(first.id, from_nodes=["d"])
    assert again.result(WAIT) == first.result(WAIT)
    assert tried(again) == ["d", "e"]


def test_a_fan_out_whose_member_is_named_runs_again_whole():
    first = run({**FAN, "d": ECHO})
    again = rerun(first.id, from_nodes=["b"])
    assert again.result(WAIT) == first.result(WAIT)
    assert tried(again) == ["b/each", "c", "d"]
    assert states(again)["a"] == "reused"


def test_without_a_wish_everything_runs_again():
    first = run({**FAN, "d": ECHO})
    again = rerun(first.id)
    assert again.result(WAIT) == first.result(WAIT)
    assert tried(again) == tried(first)


def test_changed_parameters_run_what_they_change_and_what_follows():
    nodes = {
        "a": {**ECHO, "parameters": {"x": 1}, "output": ["b", "c"]},
        "b": {**ECHO, "parameters": {"word": "{word}"}, "output": "d"},
        "c": {**ECHO, "parameters": {"c": 1}, "output": "d"},
        "d": {"task": "collect"},
    }
    first = run(nodes, word="one")
    again = rerun(first.id, parameters={"word": "two"})
    assert [m.get("word") for m in again.result(WAIT)["members"]].count("two") == 1
    assert tried(again) == ["b", "d"]
    assert states(again) == {"a": "reused", "b": "done", "c": "reused", "d": "done"}


def test_a_branch_that_was_not_taken_is_not_taken_again():
    nodes = {
        "a": {**ECHO, "parameters": {"way": "left"}, "output": "b"},
        "b": {
            "task": "choose",
            "parameters": {"key": "way"},
            "output": {"left": "l", "right": "r"},
        },
        "l": {**ECHO, "parameters": {"went": "left"}, "output": "d"},
        "r": {**ECHO, "parameters": {"went": "right"}, "output": "d"},
        "d": {"task": "collect", "output": "e"},
        "e": ECHO,
    }
    first = run(nodes)
    again = rerun(first.id, from_nodes=["d"])
    assert again.result(WAIT) == first.result(WAIT)
    assert tried(again) == ["d", "e"]
    assert states(again)["r"] == "skipped"


def test_what_a_watch_told_at_its_end_is_told_again_without_watching(tmp_path):
    (tmp_path / "x_00001.cbf").write_text("x" * 10)
    nodes = {
        "w": {
            "task": "file_watcher",
            "parameters": {"images": f"{tmp_path}/x_%05d.cbf:1:1", "live": True},
            "output": {"every": "b", "finally": "f"},
        },
        "b": {**ECHO, "output": "c"},
        "c": {"task": "collect"},
        "f": ECHO,
    }
    first = run(nodes, "w")
    (tmp_path / "x_00001.cbf").unlink()
    again = rerun(first.id, from_nodes=["f"])
    assert again.wait(WAIT).state == "finished"
    assert again.results()["f"] == first.results()["f"]
    assert tried(again) == ["f"]
    assert states(again)["c"] == "reused"


def test_a_program_that_has_run_for_hours_does_not_run_again(tmp_path):
    command = ["sh", "-c", f"echo x >> {tmp_path}/starts"]
    parameters = {"command": command, "working_directory": str(tmp_path)}
    nodes = {
        "a": {
            "task": "command",
            "parameters": parameters,
            "output": {"success": "b", "completed": "c"},
        },
        "b": {"task": "fail", "output": "d"},
        "c": {**ECHO, "output": "d"},
        "d": {"task": "collect"},
    }
    first = run(nodes)
    again = rerun(first.id, failed=True)
    assert again.wait(WAIT).state == "failed"
    assert (tmp_path / "starts").read_text() == "x\n"
    assert tried(again) == ["b"]
    named = rerun(first.id, from_nodes=["c"])
    named.wait(WAIT)
    assert named.results()["c"] == first.results()["c"]
    assert (tmp_path / "starts").read_text() == "x\n"


def test_a_run_whose_redis_has_lost_its_data_is_completed():
    first = run({**FAN, "d": {"task": "fail", "output": "e"}, "e": ECHO})
    current_deployment().store.forget_run(first.id)
    history = current_deployment().history
    history.add_run(run=first.id, state="running", ended=None, counts=None, error=None)
    assert first.state == "failed"
    again = rerun(first.id, failed=True)
    assert again.wait(WAIT).state == "failed"  # d fails for good
    assert tried(again) == ["d"]
    assert again.results()["c"] == first.results()["c"]
    assert "Redis" in history.run(first.id)["error"]


def test_a_run_that_goes_on_when_redis_loses_its_data_is_completed():
    nodes = {
        **FAN,
        "d": {"task": "echo", "output": "e", "transport-delay": 3},
        "e": {**ECHO, "output": "f"},
        "f": ECHO,
    }
    store, history = current_deployment().store, current_deployment().history
    lost = submit({"nodes": nodes, "start": "a"})
    give_up = time.monotonic() + WAIT
    while "c" not in lost.results():
        assert time.monotonic() < give_up
        time.sleep(0.05)
    store.client.flushdb()
    assert lost.wait(WAIT).state == "failed"
    completed = rerun(lost.id, failed=True)
    assert completed.result(WAIT)["members"] == [1, 2, 3]
    assert tried(completed)[-2:] == ["e", "f"]
    assert states(completed)["c"] == "reused"
    assert history.run(lost.id)["state"] == "failed"


def test_a_run_that_was_lost_after_its_last_node_is_completed_by_reuse_alone():
    first = run({**FAN, "d": ECHO})
    current_deployment().store.forget_run(first.id)
    history = current_deployment().history
    history.add_run(run=first.id, state="running", ended=None, counts=None)
    again = rerun(first.id, failed=True)
    assert again.result(WAIT)["members"] == [1, 2, 3]
    assert tried(again) == []


def test_a_rerun_of_a_rerun_reuses_what_that_reused():
    nodes = {**FAN, "d": {"task": "fail"}}
    second = rerun(run(nodes).id, failed=True)
    second.wait(WAIT)
    third = rerun(second.id, failed=True)
    assert states(third)["c"] == "reused"
    assert tried(third) == ["d"]


def test_a_rerun_that_is_asked_for_and_published_twice_runs_once():
    nodes = {**FAN, "d": {**ECHO, "output": "e"}, "e": ECHO}
    first = run(nodes)
    again = rerun(first.id, from_nodes=["d"], run_id=f"{first.id[:8]}-again")
    begin_run(get_context(app, again.id))
    same = rerun(first.id, from_nodes=["d"], run_id=again.id)
    assert same.result(WAIT) == first.result(WAIT)
    assert tried(same) == ["d", "e"]
    counts = current_deployment().store.counts(again.id)
    assert counts["a"] == counts["c"] == {"total": 1, "reused": 1}


def test_a_run_of_which_nothing_failed_has_nothing_to_run_again():
    first = run({"a": {**ECHO, "parameters": {"x": 1}}})
    with pytest.raises(ParameterError, match="nothing of it would be run again"):
        rerun(first.id, failed=True)
    with pytest.raises(ParameterError, match=r"no node 'z' \(it has a\)"):
        rerun(first.id, from_nodes=["z"])


def test_a_run_that_goes_on_is_not_run_again():
    started = submit(
        {
            "nodes": {"a": {"task": "sleep", "parameters": {"seconds": 1}}},
            "start": [["a", {}]],
        }
    )
    with pytest.raises(ParameterError, match="is running"):
        rerun(started.id)
    started.wait(WAIT)


def test_files_of_reused_nodes_need_not_be_there_any_more(tmp_path):
    file = tmp_path / "x_00001.cbf"
    file.write_text("x" * 10)
    nodes = {
        "w": {
            "task": "file_watcher",
            "parameters": {"images": f"{tmp_path}/x_%05d.cbf:1:1"},
            "output": {"every": "b"},
        },
        "b": {**ECHO, "output": "c"},
        "c": {"task": "collect", "output": "d"},
        "d": {**ECHO, "parameters": {"word": "{word}"}},
    }
    first = run(nodes, "w", word="one")
    file.unlink()
    planned = plan_rerun(first.id, parameters={"word": "two"})
    assert planned.again == ("d",)
    with pytest.raises(Exception, match="x_00001"):
        plan_rerun(first.id, from_nodes=["w"])


def test_the_command_tells_what_it_reuses_and_waits():
    first = run({**FAN, "d": ECHO})
    command = ["rerun", first.id[:12], "--from", "d", "--json"]
    planned = CliRunner().invoke(cli, [*command, "--dry-run"])
    assert json.loads(planned.stdout)["again"] == ["d"]
    done = CliRunner().invoke(cli, [*command, "--wait"])
    submitted, end = map(json.loads, done.stdout.splitlines())
    assert submitted["reused"] == ["a", "b/each", "b", "c"]
    assert end["state"] == "finished"
    assert done.exit_code == 0
    listed = CliRunner().invoke(cli, ["runs", "--json", "--limit", "1"])
    assert json.loads(listed.stdout)["rerun_of"] == first.id
