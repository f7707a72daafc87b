"""The ends of several units are recorded at once, and asked about together."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

from zocelery.chords import Part
from zocelery.endings import Ending, Settled
from zocelery.records import Entry
from zocelery.store import RunStore

UNITS = ["one", "two", "three"]


@pytest.fixture
def store(redis_url: str) -> Iterator[RunStore]:
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    yield RunStore(client)
    client.close()


@pytest.fixture
def run(store: RunStore) -> Iterator[str]:
    made = str(uuid.uuid4())
    store.create_run(made, {}, 60)
    store.open_units(made, "b", UNITS)
    yield made
    store.forget_run(made)


def ending(unit: str, **more: Any) -> Ending:
    entry = Entry(key=unit, source="a/every", item=unit, ok=True, value=1)
    event = {"node": "b", "item": unit}
    return Ending(unit, "b", "done", event, [("c", entry)], **more)


def ended(store: RunStore, run: str) -> list[str]:
    return [event["item"] for _, event in store.events(run)]


def lose(connection: Connection, *_: Any, **__: Any) -> None:
    connection.disconnect()
    raise RedisConnectionError("lost")


def test_an_end_is_recorded_before_anybody_asks(store: RunStore, run: str):
    endings = store.endings(run)
    found: list[Settled] = []
    endings.add(ending("one"), found.append)
    endings.settle()  # the first may have had to bring the script along
    endings.add(ending("two"), found.append)
    give_up = time.monotonic() + 30
    while ended(store, run) != ["one", "two"]:
        assert time.monotonic() < give_up
    assert [each.still_open for each in found] == [2]
    endings.settle()
    assert [each.still_open for each in found] == [2, 1]


def test_what_follows_is_done_in_the_order_of_the_ends(store: RunStore, run: str):
    store.park_unit(run, "three", "b", {})
    endings = store.endings(run)
    told: list[tuple[str, Settled]] = []
    for unit in UNITS[:2]:
        endings.add(ending(unit), lambda each, unit=unit: told.append((unit, each)))
    endings.settle()
    assert told == [("one", Settled(1, False, 1)), ("two", Settled(0, False, 1))]
    endings.settle()
    assert len(told) == 2


def test_redis_that_has_forgotten_the_script_is_given_it_again(
    store: RunStore, run: str
):
    endings = store.endings(run)
    found: list[Settled] = []
    store.client.script_flush()
    for unit in UNITS:
        endings.add(ending(unit), found.append)
    endings.settle()
    assert [each.still_open for each in found] == [2, 1, 0]
    assert ended(store, run) == UNITS


@pytest.mark.parametrize("at", ["send_command", "read_response"])
def test_ends_on_a_connection_that_is_lost_are_recorded_once(
    store: RunStore, run: str, monkeypatch: pytest.MonkeyPatch, at: str
):
    endings = store.endings(run)
    endings.add(ending("one"), lambda _: None)
    endings.settle()
    found: list[Settled] = []
    endings.add(ending("two"), found.append)
    with monkeypatch.context() as patch:
        patch.setattr(Connection, at, lose)
        if at == "send_command":
            endings.add(ending("three"), found.append)
        else:
            with pytest.raises(RedisConnectionError):  # neither way leads there
                endings.settle()
            endings.add(ending("two"), found.append)
            endings.add(ending("three"), found.append)
    endings.settle()
    assert [each.still_open for each in found][-1] == 0
    assert sorted(ended(store, run)) == sorted(UNITS)
    assert store.counts(run)["b"] == {"total": 3, "done": 3}
    assert store.entry_count(run, "c") == 3


def test_the_part_that_may_be_the_last_is_left_to_celery(store: RunStore, run: str):
    keys = tuple(f"test:{run}:{end}" for end in (".j", ".t", ".s", ".d", "", ".c"))
    store.client.set(keys[2], 2)
    parts = [Part(keys, (unit, "[]", 1, 0, 60, 60, 1, "")) for unit in UNITS[:2]]
    endings = store.endings(run)
    found: list[Settled] = []
    for unit, part in zip(UNITS, parts, strict=False):
        endings.add(ending(unit, part=part), found.append)
    endings.settle()
    assert [each.arrived for each in found] == [True, False]
    store.client.delete(*keys)
