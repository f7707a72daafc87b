"""Workers that are told to end: what they were doing is done once, by whomever."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.site import Site, Worker, wait_until
from tests.faults.test_deliveries import journal, recipe
from zocelery.run import Run

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


class Work:
    """A step that waits at a gate, on a worker that is about to be ended."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.log, self.gate = folder / "journal", folder / "gate"
        parameters = {"journal": str(self.log), "gate": str(self.gate)}
        step = {"task": "faults.step", "parameters": parameters}
        self.run: Run = site.submit(recipe([["a", {"x": 1}]], a=step))
        wait_until(lambda: self.words == ["start"], "the step")

    @property
    def words(self) -> list[str]:
        """What the step has written."""
        return journal(self.log, "a")


def says(worker: Worker, text: str) -> Any:
    """Return a condition: the worker has said `text`."""
    return lambda: text in worker.log.read_text()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_warm_shutdown_ends_what_has_begun(
    pool: str, whole: Site, victim: Callable[..., Worker], tmp_path: Path
):
    worker = victim(pool)
    work = Work(whole, tmp_path)
    worker.kill(signal.SIGTERM, wanted=False)
    wait_until(says(worker, "Warm shutdown"), "the shutdown")
    assert worker.is_alive()
    work.gate.touch()
    assert work.run.result(250) == {"x": 1}
    wait_until(lambda: not worker.is_alive(), "the end of the worker")
    assert work.words == ["start", "end"]


@pytest.mark.usefixtures("full")
def test_a_soft_shutdown_waits_a_while_for_what_has_begun(
    whole: Site, victim: Callable[..., Worker], tmp_path: Path
):
    worker = victim("prefork")
    work = Work(whole, tmp_path)
    worker.kill(signal.SIGQUIT, wanted=False)
    wait_until(says(worker, "Soft Shutdown"), "the shutdown")
    work.gate.touch()
    assert work.run.result(250) == {"x": 1}
    wait_until(lambda: not worker.is_alive(), "the end of the worker")
    assert work.words == ["start", "end"]


def test_a_cold_shutdown_gives_back_what_has_begun(
    whole: Site, victim: Callable[..., Worker], tmp_path: Path
):
    worker = victim("prefork", worker_soft_shutdown_timeout=1.0)
    work = Work(whole, tmp_path)
    worker.kill(signal.SIGQUIT)
    wait_until(lambda: work.words == ["start", "start"], "another worker")
    work.gate.touch()
    assert work.run.result(250) == {"x": 1}
    assert work.words == ["start", "start", "end"]


def test_a_worker_that_is_killed_after_its_grace_loses_nothing(
    whole: Site, victim: Callable[..., Worker], tmp_path: Path
):
    worker = victim("prefork")
    work = Work(whole, tmp_path)
    worker.kill(signal.SIGTERM)
    wait_until(says(worker, "Warm shutdown"), "the shutdown")
    worker.kill(signal.SIGKILL)
    wait_until(lambda: work.words == ["start", "start"], "another worker")
    work.gate.touch()
    assert work.run.result(250) == {"x": 1}
    assert work.words == ["start", "start", "end"]


@pytest.mark.usefixtures("full")
def test_deployments_in_a_row_do_not_make_a_task_poison(
    whole: Site, victim: Callable[..., Worker], tmp_path: Path
):
    worker = victim("prefork", worker_soft_shutdown_timeout=0.1)
    work = Work(whole, tmp_path)
    for number in range(2, 6):
        worker.kill(signal.SIGQUIT)
        wait_until(lambda: len(work.words) >= number, f"start {number}")  # noqa: B023  # waited for here
    work.gate.touch()
    assert work.run.result(250) == {"x": 1}
    assert work.words.count("end") == 1
