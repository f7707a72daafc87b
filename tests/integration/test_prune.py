"""Old runs are forgotten with all that belongs to them, and nothing else is."""

import json
import time
from typing import Any

import pytest
from click.testing import CliRunner

from zocelery.celery import app
from zocelery.cli import cli
from zocelery.deployment import current_deployment
from zocelery.leases import PREFIX
from zocelery.rerunning import rerun
from zocelery.retention import LAST_PRUNED, prune_if_due
from zocelery.run import Run
from zocelery.submission import submit

pytestmark = pytest.mark.usefixtures("workers")
WAIT = 60
DAY = 86400.0
ECHO: dict[str, Any] = {"task": "echo", "parameters": {"x": 1}}


def run(nodes: dict[str, Any], start: Any = "a") -> Run:
    started = submit({"nodes": nodes, "start": start})
    started.wait(WAIT)
    return started


def make_old(done: Run, days: float) -> None:
    """Let a run have ended so long ago."""
    history = current_deployment().history
    history.add_run(run=done.id, ended=time.time() - days * DAY)


def prune(*options: str) -> list[dict[str, Any]]:
    command = ["runs", "prune", "--older-than", "30", "--json", *options]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def is_known(done: Run) -> bool:
    return current_deployment().history.find_run(done.id) is not None


def test_old_runs_go_with_all_that_belongs_to_them():
    old, young = run({"a": ECHO}), run({"a": ECHO})
    make_old(old, 31)
    make_old(young, 29)
    deployment = current_deployment()
    folder = deployment.settings.wrappers.working_directory / old.id / "xia2"
    folder.mkdir(parents=True)
    (folder / "xia2.log").write_text("text")
    keys = f"{PREFIX}run:{old.id}*"
    assert list(deployment.store.client.scan_iter(keys))
    assert [found["run"] for found in prune("--dry-run")] == [old.id]
    assert folder.is_dir()
    assert is_known(old)
    found = prune()
    assert [f["run"] for f in found] == [old.id]
    assert found[0]["folders"] == [str(folder.parent.absolute())]
    assert not folder.parent.exists()
    assert not list(deployment.store.client.scan_iter(keys))
    assert deployment.history.run_nodes(old.id) == []
    assert prune() == []
    assert is_known(young)
    folder.parent.parent.rmdir()


def test_a_run_that_goes_on_stays_however_old():
    started = submit(
        {
            "nodes": {"a": {"task": "sleep", "parameters": {"seconds": 1.5}}},
            "start": [["a", {}]],
        }
    )
    make_old(started, 400)
    assert prune() == []
    started.wait(WAIT)


def test_a_run_stays_as_long_as_a_rerun_of_it():
    first = run({"a": {**ECHO, "output": "b"}, "b": {"task": "echo"}})
    second = rerun(first.id, from_nodes=["b"])
    second.wait(WAIT)
    third = rerun(second.id, from_nodes=["b"])
    third.wait(WAIT)
    for old in (first, second):
        make_old(old, 100)
    assert prune() == []
    make_old(third, 100)
    assert {f["run"] for f in prune()} == {first.id, second.id, third.id}


def test_dead_letters_of_what_is_forgotten_are_named_and_stay():
    failed = run({"a": {"task": "fail"}})
    make_old(failed, 31)
    assert failed.state == "failed"
    letters = [f["dead_letters"] for f in prune()]
    assert len(letters) == 1
    assert len(letters[0]) == 1
    queue, _, name = letters[0][0].partition(" ")
    assert queue == "dlq.control"
    listed = CliRunner().invoke(cli, ["dlq", "list", "--run", failed.id, "--json"])
    assert name in listed.stdout


def test_the_janitor_prunes_once_a_day_where_it_is_configured(monkeypatch):
    deployment = current_deployment()
    old = run({"a": ECHO})
    make_old(old, 3)
    assert prune_if_due(app, deployment) is None  # not configured
    settings = deployment.settings
    kept = settings.model_copy(
        update={"run": settings.run.model_copy(update={"retention": 2.0})}
    )
    monkeypatch.setattr(deployment, "settings", kept)
    thread = prune_if_due(app, deployment)
    assert thread is not None
    thread.join(WAIT)
    assert not is_known(old)
    assert prune_if_due(app, deployment) is None  # not twice a day
    deployment.store.client.delete(LAST_PRUNED)
