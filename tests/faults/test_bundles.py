"""Members that share a message: each ends by itself, whatever becomes of the others."""

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.site import Site, wait_until
from zocelery.run import Run

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
MEMBERS = 64
"""Eight for each message: two slots get four messages each."""


def start(site: Site, folder: Path, **parameters: Any) -> Run:
    """Submit a fan-out of numbers, all sent at once."""
    told = {"journal": str(folder / "journal"), **parameters}
    nodes = {
        "a": {
            "task": "echo",
            "parameters": {"list": list(range(MEMBERS))},
            "output": "b",
        },
        "b": {
            "task": "faults.bundled",
            "parameters": told,
            "foreach": "list",
            "retry": {"pause": 1},
            "output": "c",
        },
        "c": {"task": "collect", "gather": True},
    }
    return site.submit({"nodes": nodes, "start": [["a", None]]})


def journal(folder: Path, word: str) -> list[tuple[str, int]]:
    """Return of which items a word stands in the journal, and the processes."""
    file = folder / "journal"
    lines = file.read_text().splitlines() if file.exists() else []
    found = (line.split() for line in lines)
    return [(item, int(pid)) for said, _, item, pid, _ in found if said == word]


def counts(site: Site, run: Run) -> dict[str, int]:
    return site.deployment.store.counts(run.id)["b"]


def test_one_that_fails_and_one_that_has_to_wait_hold_up_nobody(
    whole: Site, tmp_path: Path
):
    later = str(tmp_path / "later")
    run = start(whole, tmp_path, bad=3, early=11, later=later)
    answer = run.result(250)
    assert sorted(answer["members"]) == [n for n in range(MEMBERS) if n != 3]
    assert [failed["error"] for failed in answer["failed"]] == ["a bad one"]
    assert answer["missing"] == []
    assert counts(whole, run) == {"total": MEMBERS, "done": MEMBERS - 1, "failed": 1}
    starts = Counter(item for item, _ in journal(tmp_path, "start"))
    assert Counter(starts.values()) == {1: MEMBERS - 1, 2: 1}


def test_a_worker_that_dies_amid_its_members_loses_and_doubles_none(
    whole: Site, tmp_path: Path
):
    run = start(whole, tmp_path, seconds=0.02)
    wait_until(lambda: len(journal(tmp_path, "end")) > 4, "some members")
    for pid in {pid for _, pid in journal(tmp_path, "start")}:
        os.kill(pid, signal.SIGKILL)
    answer = run.result(250)
    assert sorted(answer["members"]) == list(range(MEMBERS))
    assert counts(whole, run) == {"total": MEMBERS, "done": MEMBERS}
    ended = Counter(item for item, _ in journal(tmp_path, "end"))
    assert len(ended) == MEMBERS
    # it may die between a member's last word and its end in Redis
    assert sum(ended.values()) <= MEMBERS + 2


def test_only_the_member_that_kills_its_workers_is_given_up(
    whole: Site, tmp_path: Path
):
    run = start(whole, tmp_path, deadly=20)
    answer = run.result(250)
    assert sorted(answer["members"]) == [n for n in range(MEMBERS) if n != 20]
    assert [failed["error"] for failed in answer["failed"]] == [
        "its worker died 3 times while running it"
    ]
    starts = Counter(item for item, _ in journal(tmp_path, "start"))
    assert Counter(starts.values()) == {1: MEMBERS - 1, 3: 1}


def test_members_that_take_long_are_shared_among_the_slots(whole: Site, tmp_path: Path):
    gate = tmp_path / "gate"
    run = start(whole, tmp_path, seconds=0.3, gate=str(gate))
    wait_until(lambda: len(journal(tmp_path, "start")) == 2, "one in each slot")
    gate.touch()
    wait_until(lambda: len(journal(tmp_path, "end")) >= MEMBERS, "all members")
    assert sorted(run.result(250)["members"]) == list(range(MEMBERS))
    shares = Counter(pid for _, pid in journal(tmp_path, "end"))
    assert len(shares) == 2
    # a message of eight that is not taken apart would hold one slot for seconds
    ends = [pid for _, pid in journal(tmp_path, "end")]
    assert max(map(len, stretches(ends))) < 8


def stretches(values: list[int]) -> list[list[int]]:
    """Return the stretches in which one value follows itself."""
    found: list[list[int]] = []
    for value in values:
        if found and found[-1][-1] == value:
            found[-1].append(value)
        else:
            found.append([value])
    return found
