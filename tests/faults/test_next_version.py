"""Workers of the next version beside those of this, in whichever order they come."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tests.faults.site import HERE, Site, wait_until
from tests.faults.test_deliveries import recipe
from tests.faults.test_older_workers import reinject
from zocelery.run import Run
from zocelery.versions import MESSAGE_VERSION

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
NEXT = {"FAULTS_VERSION": str(MESSAGE_VERSION + 1)}
STEP = {"task": "faults.step"}
RECIPE = recipe([["a", {"x": 1}]], a={"task": "echo", "output": "b"}, b=STEP)


@contextmanager
def a_worker(site: Site, queue: str, version: Mapping[str, str]) -> Iterator[None]:
    """Let a worker of a version serve a queue alone."""
    usual = site.workers.pop(queue, None)
    if usual is not None:
        usual.stop()
    name = f"{queue}-of-{version.get('FAULTS_VERSION', 'this')}"
    worker = site.add_worker(name, queue, "threads", 2)
    worker.environment = {**site.environment, **version}
    worker.start()
    try:
        worker.await_ready()
        yield
    finally:
        site.workers.pop(name).stop()
        if usual is not None:
            site.workers[queue] = usual
            site.start_workers()


def submit_as_the_next_version(site: Site, document: Mapping[str, Any]) -> Run:
    """Submit a run as a client of the next version does."""
    done = subprocess.run(
        [sys.executable, str(HERE / "submitter.py")],
        input=json.dumps({"recipe": document}) + "\n",
        env={**site.environment, **NEXT},
        capture_output=True,
        text=True,
        check=True,
    )
    return Run(json.loads(done.stdout)["run"], site.deployment)


def dead_letters(site: Site, *options: str) -> list[dict[str, Any]]:
    """Return what `zocelery dlq list` says."""
    command = [sys.executable, "-m", "zocelery", "dlq", "list", "--json", *options]
    done = subprocess.run(
        command, env=site.environment, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_run_whose_messages_are_newer_is_told_and_goes_on_with_newer_workers(
    whole: Site,
):
    with a_worker(whole, "control", NEXT):
        with a_worker(whole, "lims", {}):
            run = whole.submit(RECIPE)
            status = run.wait(250)
        assert status.state == "failed"
        assert status.error is not None
        refused = f"b: refused: b of run {run.id[:8]}: version {NEXT['FAULTS_VERSION']}"
        assert status.error.startswith(refused)
        with a_worker(whole, "lims", NEXT):
            reinject(whole, run.id)
            status = run.wait(250)
    assert (status.state, status.error) == ("finished", None)
    assert run.results()["b"] == {"x": 1}


@pytest.mark.usefixtures("full")
def test_newer_workers_do_the_work_of_older_ones(whole: Site):
    with a_worker(whole, "lims", NEXT):
        run = whole.submit(RECIPE)
        assert run.wait(250).state == "finished"
    assert run.results()["b"] == {"x": 1}


@pytest.mark.usefixtures("full")
def test_a_newer_run_is_left_alone_by_older_workers_and_its_letter_names_it(
    whole: Site,
):
    with a_worker(whole, "control", {}):
        run = submit_as_the_next_version(whole, RECIPE)
        (letter,) = wait_until(lambda: dead_letters(whole, "--run", run.id), "letter")
        assert f"a of run {run.id[:8]}: version" in letter["error"]
        assert whole.deployment.store.parked_count(run.id) == 0
        assert run.state == "running"
    with a_worker(whole, "control", NEXT), a_worker(whole, "lims", NEXT):
        reinject(whole, run.id)
        status = run.wait(250)
        assert (status.state, status.error) == ("finished", None)
    assert run.results()["b"] == {"x": 1}
