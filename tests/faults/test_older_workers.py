"""Workers that lack a task: what they cannot do waits, and their runs say so."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.faults.site import Site, Worker
from tests.faults.test_deliveries import recipe
from tests.unit.small_images import write_cbf

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
STEP = {"task": "faults.step"}
RECIPE = recipe(
    [["a", {"list": [1, 2]}], ["p", {"x": 1}]],
    a={"task": "echo", "output": "b"},
    b={**STEP, "foreach": "list", "output": "c"},
    c={"task": "collect", "gather": True},
    p=STEP,
)
REFUSED = "refused: unknown task 'faults.step'; it waits as dead letter "


@contextmanager
def an_old_worker(site: Site, queues: str) -> Iterator[None]:
    """Let a worker serve `queues` that has nothing of the facility's."""
    worker = site.add_worker("old", queues, "threads", 2)
    without = os.environ.get("PYTHONPATH", "")
    worker.environment = {**site.environment, "PYTHONPATH": without}
    worker.start()
    try:
        worker.await_ready()
        yield
    finally:
        site.workers.pop("old").stop()


def reinject(site: Site, run: str) -> None:
    command = [sys.executable, "-m", "zocelery", "dlq", "reinject", "--run", run]
    subprocess.run(command, env=dict(site.environment), check=True)


def test_units_that_a_worker_does_not_know_wait_and_their_run_goes_on_later(
    whole: Site, victim: Callable[..., Worker]
):
    with an_old_worker(whole, "lims"):
        run = whole.submit(RECIPE)
        status = run.wait(60)
    assert status.state == "failed"
    assert f"p: {REFUSED}" in (status.error or "")
    assert f"b: 2 wait as dead letters; {REFUSED}" in (status.error or "")
    victim("threads")
    reinject(whole, run.id)
    status = run.wait(60)
    assert (status.state, status.error) == ("finished", None)
    assert run.results()["c"]["members"] == [1, 2]
    assert run.results()["p"] == {"x": 1}


def test_a_run_that_no_worker_knows_ends_and_goes_on_with_newer_ones(
    whole: Site, victim: Callable[..., Worker]
):
    whole.workers["control"].stop()
    with an_old_worker(whole, "control,lims"):
        run = whole.submit(RECIPE)
        status = run.wait(60)
    assert status.state == "failed"
    assert f"p: {REFUSED}" in (status.error or "")
    assert "a: node 'b': task 'faults.step' is not known" in (status.error or "")
    whole.start_workers()
    victim("threads")
    reinject(whole, run.id)
    status = run.wait(60)
    assert (status.state, status.error) == ("finished", None)
    assert run.results()["c"]["members"] == [1, 2]


def test_members_that_came_in_bundles_wait_and_go_on_as_well(
    whole: Site, tmp_path: Path
):
    image = write_cbf(tmp_path / "x_1.cbf", np.arange(400, dtype="i4").reshape(20, 20))
    whole.workers["images"].stop()
    with an_old_worker(whole, "images"):
        run = whole.submit(
            recipe(
                [["a", {"list": [{"file": str(image)}] * 40}]],
                a={"task": "echo", "output": "b"},
                b={"task": "per_image_analysis", "foreach": "list", "output": "c"},
                c={"task": "faults.gather", "gather": True},
            )
        )
        status = run.wait(60)
    assert (status.error or "").startswith("b: 40 wait as dead letters; ")
    assert "task 'faults.gather' is not known" in (status.error or "")
    whole.start_workers()
    reinject(whole, run.id)
    status = run.wait(60)
    assert (status.state, status.error) == ("finished", None)
    assert run.results()["c"]["count"] == 40
