"""A second delivery of what has been parked: the run has failed, the letter stays.

A worker may die when it has parked a unit and before it has acknowledged the message.
"""

from pathlib import Path

import pytest

from tests.integration.test_dead_letters import dlq, letters, parked, wait_until
from zocelery.canvas import RUN_ITSELF
from zocelery.celery import app
from zocelery.context import get_context
from zocelery.control import run_outcome
from zocelery.dead_letter_box import Selection
from zocelery.dead_letter_format import DeadLetter
from zocelery.dead_letters import DeadLetters
from zocelery.deployment import current_deployment
from zocelery.run import Run

pytestmark = pytest.mark.usefixtures("workers")


def letter_of(run: Run) -> DeadLetter:
    desk = DeadLetters(app, current_deployment())
    (letter,) = desk.look(Selection(runs=(run.id,)))
    return letter


def test_a_run_has_failed_though_a_second_delivery_of_what_is_parked_has_begun(
    tmp_path: Path,
):
    run = parked(tmp_path / "x_1.cbf")
    letter = letter_of(run)
    context = get_context(app, run.id)
    before = run_outcome(context)
    task = "per_image_analysis"
    current_deployment().history.start_try(run.id, letter.id, "b", task, 1, "here")
    assert run_outcome(context) == before
    assert before[0] == "failed"
    assert dlq("drop", "--run", run.id).exit_code == 0


def test_a_second_delivery_of_what_is_parked_leaves_it_to_its_letter(tmp_path: Path):
    run = parked(tmp_path / "x_1.cbf")
    letter = letter_of(run)
    context = get_context(app, run.id)
    store = current_deployment().store
    store.cancel(run.id)
    payload = {"file": str(tmp_path / "x_1.cbf")}
    context.canvas.node("b", letter.id, payload, RUN_ITSELF).apply_async()
    for mark in ("1", "2", "3"):  # two processes take turns
        context.canvas.mark("images", mark).apply_async()
    wait_until(lambda: len(store.marks(run.id)) == 3)
    assert store.parked_count(run.id) == 1
    assert not store.is_finished(run.id, letter.id)
    assert dlq("drop", "--run", run.id).exit_code == 0
    assert letters("images") == []
