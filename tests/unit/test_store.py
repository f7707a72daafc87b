"""The live state of runs, as far as it needs no more than a Redis."""

import fakeredis
import pytest

from zocelery.store import RunStore


@pytest.fixture
def store() -> RunStore:
    return RunStore(fakeredis.FakeRedis(decode_responses=True))


def test_what_a_unit_has_said_is_asked_of_it_alone(store: RunStore):
    for unit, channel in (("u1", ""), ("u1", "first"), ("u2", "last"), ("u1", "x|y")):
        store.note_spoken("run", unit, channel)
    said = store.spoken("run", "u1", ["", "last", "x|y", "!error"])
    assert said == {"", "x|y"}
    assert store.spoken("run", "u2", []) == set()


def test_nothing_is_left_of_a_run_that_is_forgotten(store: RunStore):
    assert store.create_run("run", {"version": 1}, 60)
    assert store.is_waiting("run")
    store.note_progress("run", "node", {"seen": 1})
    store.forget_run("run")
    assert not store.is_waiting("run")
    assert store.client.keys("*run*") == []
