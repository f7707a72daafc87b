"""A worker is killed between each two effects of what it does: nothing is lost.

Which effect it is killed before or after, the first time it comes there, stands in its
environment; it is then started again, as always.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.site import Site, wait_until
from tests.faults.test_bundles import MEMBERS, start
from tests.faults.test_deliveries import recipe
from zocelery.run import is_result

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@contextmanager
def killed(site: Site, name: str, where: str, folder: Path) -> Iterator[Path]:
    """Start one of the usual workers anew, to be killed once at an effect.

    Yields the file that is there when it has been.
    """
    worker, flag = site.workers[name], folder / "killed"
    usual = worker.environment
    worker.stop()
    worker.environment = {**usual, "FAULTS_KILL": where, "FAULTS_KILLED": str(flag)}
    worker.start()
    worker.await_ready()
    try:
        yield flag
    finally:
        worker.environment = usual
        worker.stop()


EFFECTS = [
    # what sends many members at once
    ("control", "before", "zocelery.store:RunStore.open_units"),
    ("control", "after", "zocelery.store:RunStore.open_units"),
    ("control", "before", "zocelery.confirms:_Confirms.wait"),
    ("control", "after", "zocelery.confirms:_Confirms.wait"),
    ("control", "after", "zocelery.store:RunStore.add_items"),
    ("control", "before", "zocelery.outbox:Outbox._close_fan"),
    ("control", "after", "zocelery.outbox:Outbox._close_fan"),
    # what works on several that came in one message
    ("images", "before", "zocelery.bundle:_Bundle._run_member"),
    ("images", "after", "zocelery.bundle:_Bundle._run_member"),
    ("images", "after", "zocelery.bundle:_Bundle.run"),
]
SHORT = (EFFECTS[8],)
"""Tried in the short form, too."""


@pytest.mark.parametrize(
    "effect", EFFECTS, ids=lambda e: f"{e[0]}-{e[1]}-{e[2].rpartition('.')[2]}"
)
def test_members_are_done_once_whenever_their_worker_is_killed(
    effect: tuple[str, str, str],
    whole: Site,
    tmp_path: Path,
    is_full: bool,
):
    if not is_full and effect not in SHORT:
        pytest.skip("takes its time: --faults=full")
    name, when, where = effect
    with killed(whole, name, f"{when} {where}", tmp_path) as flag:
        run = start(whole, tmp_path)
        answer = run.result(250)
        assert flag.exists(), "it was never killed"
    assert sorted(answer["members"]) == list(range(MEMBERS))
    assert (answer["failed"], answer["missing"]) == ([], [])
    counts = whole.deployment.store.counts(run.id)
    assert counts["b"] == {"total": MEMBERS, "done": MEMBERS}
    assert counts["c"] == {"total": 1, "done": 1}
    told = Counter(
        event["item"]
        for event in run.events(wait=False)
        if is_result(event) and event["node"] == "b"
    )
    assert set(told.values()) == {1}


PARKING = [
    ("before", "zocelery.dead_letter:park"),
    ("after", "zocelery.dead_letter:park"),
    ("after", "zocelery.store:RunStore.park_unit"),
]


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("effect", PARKING, ids=" ".join)
def test_a_unit_is_parked_once_whenever_its_worker_is_killed(
    effect: tuple[str, str], whole: Site, tmp_path: Path
):
    failing = {"task": "fail", "parameters": {"message": "no beam"}}
    with killed(whole, "control", " ".join(effect), tmp_path) as flag:
        run = whole.submit(recipe([["a", {"x": 1}]], a=failing))
        status = run.wait(250)
        wait_until(flag.exists, "its end")
    assert (status.state, status.error) == ("failed", "a: no beam")
    store = whole.deployment.store
    assert store.parked_count(run.id) == 1
    assert store.counts(run.id)["a"] == {"total": 1, "parked": 1}
