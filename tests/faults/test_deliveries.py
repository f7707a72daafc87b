"""Messages that come again: poison, innocents beside it, twins, deadlines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.duplicates import messages_in
from tests.faults.site import Site, Worker, running_site, wait_until
from zocelery.endings import Ending

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
Start = list[list[Any]]


def journal(file: Path, node: str) -> list[str]:
    """Return the words that the tasks of a node have written."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.split()[0] for line in lines if line.split()[1] == node]


def recipe(start: Start, **nodes: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": nodes, "start": start}


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_task_that_kills_its_worker_is_parked_after_three_deliveries(
    pool: str,
    whole: Site,
    victim: Callable[..., Worker],
    tmp_path: Path,
    is_full: bool,
):
    if pool != "prefork" and not is_full:
        pytest.skip("takes its time: --faults=full")
    log = tmp_path / "journal"
    poison = {"task": "faults.poison", "parameters": {"journal": str(log)}}
    before = messages_in(whole.rabbitmq.url, ("dlq.lims",))
    victim(pool)
    run = whole.submit(recipe([["p", {"x": 1}]], p=poison))
    status = run.wait(250)
    assert status.state == "failed"
    assert status.error == "p: its worker died 3 times while running it"
    assert journal(log, "p") == ["start"] * 3
    assert messages_in(whole.rabbitmq.url, ("dlq.lims",)) == before + 1


def test_what_stands_beside_poison_is_not_parked_with_it(
    whole: Site, victim: Callable[..., Worker], tmp_path: Path
):
    log = tmp_path / "journal"
    told = {"journal": str(log)}
    victim("threads", 2)
    run = whole.submit(
        recipe(
            [["i", {"x": 1}], ["p", {"x": 1}]],
            i={"task": "faults.step", "parameters": {**told, "seconds": 1.5}},
            p={"task": "faults.poison", "parameters": told},
        )
    )
    status = run.wait(250)
    assert {n.node: n.state for n in status.nodes} == {"i": "done", "p": "parked"}
    assert journal(log, "p") == ["start"] * 3
    assert journal(log, "i").count("end") == 1


def test_a_member_that_takes_too_long_is_named_and_the_others_count(
    whole: Site, tmp_path: Path
):
    late = {"gate": str(tmp_path / "never")}
    member = {"task": "faults.member", "foreach": "list", "output": "c"}
    run = whole.submit(
        recipe(
            [["a", None]],
            a={"task": "echo", "parameters": {"list": [1, 2]}, "output": ["b", "d"]},
            b={**member, "parameters": late, "timeout": 1},
            d=member,
            c={"task": "collect", "gather": True},
        )
    )
    answer = run.result(250)
    assert sorted(answer["members"]) == [1, 2]
    assert {f["error"] for f in answer["failed"]} == {"took longer than 1 s"}


def test_a_twin_of_a_running_gather_waits_until_it_has_ended(
    whole: Site, tmp_path: Path
):
    log, gate = tmp_path / "journal", tmp_path / "gate"
    parameters = {"journal": str(log), "gate": str(gate)}
    run = whole.submit(
        recipe(
            [["a", None]],
            a={"task": "echo", "parameters": {"list": [1, 2, 3]}, "output": "b"},
            b={"task": "faults.member", "foreach": "list", "output": "c"},
            c={"task": "faults.gather", "parameters": parameters, "gather": True},
        )
    )
    control = whole.workers["control"]
    wait_until(lambda: journal(log, "c"), "the gather")
    held = control.log.read_text().count("Somebody holds")
    whole.rabbitmq.stop()  # the broker delivers again what was not acknowledged
    whole.rabbitmq.start()
    wait_until(lambda: control.log.read_text().count("Somebody holds") > held, "twin")
    assert journal(log, "c") == ["start"]
    gate.touch()
    assert run.result(250)["sum"] == 6
    assert journal(log, "c") == ["start", "end"]


def test_a_run_that_takes_longer_than_its_deadline_has_failed(
    whole: Site, victim: Callable[..., Worker], tmp_path: Path
):
    log, gate = tmp_path / "journal", tmp_path / "gate"
    parameters = {"journal": str(log), "gate": str(gate)}
    victim("threads")
    run = whole.submit(
        recipe(
            [["a", {"x": 1}]],
            a={"task": "faults.step", "parameters": parameters, "output": "b"},
            b={"task": "faults.step", "parameters": parameters},
        ),
        deadline=1.0,
    )
    status = run.wait(250)
    assert (status.state, status.error) == ("failed", "its deadline of 1 s is over")
    wait_until(lambda: journal(log, "a"), "the first step")
    gate.touch()
    wait_until(lambda: journal(log, "a") == ["start", "end"], "the first step's end")
    wait_until(lambda: whole.waiting_messages() == 0, "the queues")
    assert run.status().state == "failed"
    assert whole.deployment.history.run(run.id)["state"] == "failed"
    assert journal(log, "b") == []


def test_a_gather_that_celery_gave_up_is_set_going_again(whole: Site, tmp_path: Path):
    gate = tmp_path / "gate"
    run = whole.submit(
        recipe(
            [["a", None]],
            a={"task": "echo", "parameters": {"list": [1, 2, 3]}, "output": "b"},
            b={
                "task": "faults.member",
                "parameters": {"gate": str(gate)},
                "foreach": "list",
                "output": "c",
            },
            c={"task": "collect", "gather": True},
        )
    )
    store = whole.deployment.store
    wait_until(lambda: all(closed_streams(whole, run.id)), "the end of the stream")
    # so it does with a chord whose body could not be published
    sizes = list(store.client.scan_iter("celery-taskset-meta-*.s"))
    assert store.client.delete(*sizes)
    gate.touch()
    assert run.result(250)["members"] == [1, 2, 3]
    assert store.counts(run.id)["c"] == {"total": 1, "done": 1}


def closed_streams(site: Site, run: str) -> list[bool]:
    """Return for each stream of a run's gathers whether it has ended, or [False]."""
    store = site.deployment.store
    gathers = store.awaited_gathers(run)
    found = [c for unit in gathers for c in store.streams(run, unit).values()]
    return found or [False]


def test_a_member_that_could_not_be_published_is_not_waited_for(whole: Site):
    store, run = whole.deployment.store, "a-run-by-hand"
    store.create_run(run, {}, 60)
    try:
        store.open_units(run, "a", ["parent"])
        store.open_units(run, "b", ["one", "two", "three"])
        store.finish_units(run, [Ending("one", "b", "done", {})])
        assert store.withdraw_units(run, "b", ["one", "two", "three"]) == 2
        assert store.open_count(run) == 1
        # it had gone out after all, and the rest is sent in the next try
        store.finish_units(run, [Ending("two", "b", "done", {})])
        assert store.open_units(run, "b", ["one", "two", "three"]) == 1
        assert store.open_count(run) == 2
        assert store.counts(run)["b"] == {"total": 3, "done": 2}
    finally:
        store.forget_run(run)


@pytest.mark.usefixtures("full")
def test_a_broker_that_loses_patience_makes_no_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    log, gate = tmp_path / "journal", tmp_path / "gate"
    parameters = {"journal": str(log), "gate": str(gate)}
    folder = tmp_path / "site"
    folder.mkdir()
    advanced = tmp_path / "advanced.config"
    advanced.write_text("[{rabbit, [{channel_tick_interval, 1000}]}].\n")
    monkeypatch.setenv("RABBITMQ_ADVANCED_CONFIG_FILE", str(advanced))
    with running_site(folder, "consumer_timeout = 3000") as site:
        control = site.add_worker("control", "control", "threads", 4)
        site.add_worker("other", "control", "threads", 4)
        site.add_worker("images", "images", "prefork", 1)
        site.add_worker("wrappers", "wrappers", "prefork", 1)
        site.start_workers()
        run = site.submit(
            recipe(
                [["a", None], ["l", {"x": 1}]],
                a={"task": "echo", "parameters": {"list": [1, 2]}, "output": "b"},
                b={"task": "faults.member", "foreach": "list", "output": "c"},
                c={"task": "faults.gather", "parameters": parameters, "gather": True},
                l={"task": "faults.long", "parameters": parameters},
            )
        )
        wait_until(lambda: journal(log, "c") and journal(log, "l"), "both")
        logs = [worker.log for worker in (control, site.workers["other"])]

        def twin_waits() -> bool:
            return any("Somebody holds" in file.read_text() for file in logs)

        wait_until(twin_waits, "the broker's patience")
        assert journal(log, "c") == journal(log, "l") == ["start"]
        gate.touch()
        assert run.result(250)["c"]["sum"] == 3
        assert journal(log, "c") == journal(log, "l") == ["start", "end"]
