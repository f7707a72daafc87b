"""Zocalo's queues one by one: tasks here work on messages of its recipes, and back."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bridge_site import (
    WAIT,
    bridge,
    dead_letters,
    declare,
    message_count,
    runs_with,
    send,
    take,
    until,
)
from zocelery.catalogue import ELSEWHERE
from zocelery.deployment import current_deployment
from zocelery.submission import open_run, submit

pytestmark = pytest.mark.usefixtures("serving")
HEADERS = {"workflows-recipe": True}
NEXT = "legacy.next"
SERVICES = {
    "echo": "echo",
    "legacy.echo": "echo",
    "legacy.fail": "fail",
    "legacy.watch": "file_watcher",
}
RECIPE = {
    "1": {"service": "A service of Zocalo's", "queue": "somewhere", "output": 2},
    "2": {
        "queue": "legacy.echo",
        "parameters": {"d_min": 2},
        "output": {"result": [3, 4], "other": 4},
    },
    "3": {"queue": NEXT, "comment": "kept", "output": 5},
    "4": {"queue": NEXT},
    "5": {"queue": "never", "parameters": {"x": [1]}},
    "start": [[1, []]],
}


@pytest.fixture(scope="module")
def serving(workers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A bridge for some queues of Zocalo's, and a queue that Zocalo serves."""
    assert workers
    declare(NEXT)
    folder = tmp_path_factory.mktemp("served")
    with bridge(folder, bridge_services=SERVICES):
        yield


def wrapped(pointer: int = 2, recipe: Any = RECIPE, **more: Any) -> dict[str, Any]:
    return {
        "payload": {"file": "x.cbf"},
        "recipe": recipe,
        "recipe-pointer": pointer,
        "recipe-path": [1],
        "environment": {"ID": "abc", "program": 7},
        **more,
    }


def taken(count: int) -> list[dict[str, Any]]:
    until(lambda: message_count(NEXT) >= count)
    found = take(NEXT)
    assert len(found) == count
    return sorted(found, key=lambda one: str(one["recipe-pointer"]))


def test_what_a_task_says_goes_on_to_the_queues_of_the_messages_own_recipe():
    send(wrapped(), "legacy.echo", application_headers={"workflows-recipe": "True"})
    for pointer, message in zip((3, 4), taken(2), strict=True):
        assert message["headers"].items() >= HEADERS.items()
        del message["headers"]
        assert message == {
            "payload": {"d_min": 2, "file": "x.cbf"},
            "recipe": RECIPE,
            "recipe-pointer": pointer,
            "recipe-path": [1, 2],
            "environment": {"ID": "abc", "program": 7},
        }


def test_a_hundred_messages_are_a_hundred_answers():
    for number in range(100):
        send(wrapped(payload={"n": number}), "legacy.echo")
    found = taken(200)
    numbers = sorted(message["payload"]["n"] for message in found)
    assert numbers == sorted([*range(100), *range(100)])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "not JSON"),
        ({"payload": 1}, "carries no recipe"),
        (wrapped(recipe={"1": {"queue": "x"}}), "start"),
        (wrapped(pointer=9), "its recipe has no node 9"),
        (wrapped(pointer=-1), "recipe-pointer"),
    ],
)
def test_what_is_no_message_of_a_recipe_becomes_a_dead_letter(body: Any, reason: str):
    send(body, "legacy.echo")
    ((_, headers),) = until(lambda: dead_letters("legacy.echo"))
    assert reason in headers["x-z-error"]


def test_a_task_that_gathers_cannot_serve_a_queue_and_the_bridge_says_so_at_once():
    services = json.dumps({"reduce.x": "collect"})
    ended = subprocess.run(
        [sys.executable, "-m", "zocelery", "bridge"],
        env={**os.environ, "ZOCELERY_BRIDGE_SERVICES": services},
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert ended.returncode == 2
    assert "queue 'reduce.x': bridge.services: task 'collect' gathers" in ended.stderr


def test_a_task_that_fails_waits_as_a_dead_letter_with_its_message():
    recipe = {**RECIPE, "2": {"queue": "legacy.fail", "output": 3}}
    recipe = {k: v for k, v in recipe.items() if k != "4"}
    dead_letters("control")  # of others
    send(wrapped(recipe=recipe), "legacy.fail")
    ((body, headers),) = until(lambda: dead_letters("control"))
    assert headers["x-z-error"] == "PermanentError: asked to fail"
    assert headers["task"] == "zocelery.serve"
    assert body
    assert message_count(NEXT) == 0


def test_a_watch_of_somebody_elses_recipe_lives_here_and_feeds_it(tmp_path: Path):
    for number in (1, 2, 3):
        (tmp_path / f"x_{number}.cbf").write_text("image")
    watch = {
        "queue": "legacy.watch",
        "parameters": {
            "pattern": str(tmp_path / "x_%d.cbf"),
            "pattern-start": "1",
            "pattern-end": "3",
        },
        "output": {"every": 3, "finally": 4},
    }
    recipe = {**RECIPE, "2": watch, "4": {"queue": "legacy.echo", "output": 5}}
    recipe["5"] = {"queue": NEXT}
    recipe["3"] = {"queue": NEXT}
    for _ in range(2):
        send(wrapped(recipe=recipe, payload=[]), "legacy.watch")
    found = taken(4)
    assert [message["recipe-pointer"] for message in found] == [3, 3, 3, 5]
    files = sorted(message["payload"]["file-number"] for message in found[:3])
    assert files == [1, 2, 3]
    assert found[0]["recipe"] == recipe
    assert found[0]["recipe-path"] == [1, 2]
    # through the task `echo`, which serves the queue of node 4
    assert found[3]["recipe-path"] == [1, 2, 4]
    assert found[3]["payload"]["success"] is True
    (row,) = [r for r in runs_with() if r["recipe"] == "served-file_watcher"]
    assert open_run(row["run"]).wait(WAIT).state == "finished"
    assert len(current_deployment().history.run_tries(row["run"])) == 1


def test_what_follows_a_node_of_zocalos_travels_with_the_message_to_it():
    nodes = {
        "1": {"queue": "echo", "output": 2},
        "2": {"queue": NEXT, ELSEWHERE: True, "output": {"more": [3]}},
        "3": {"queue": "echo", "parameters": {"word": "hi"}, "output": 4},
        "4": {"queue": NEXT, ELSEWHERE: True},
        "start": [[1, {"x": 1}]],
    }
    run = submit(nodes)
    assert run.wait(WAIT).state == "finished"
    (message,) = taken(1)
    assert message["environment"]["ID"] == run.id
    assert (message["recipe-pointer"], message["payload"]) == (2, {"x": 1})
    assert message["recipe"].keys() == {"2", "3", "4", "start"}
    # what Zocalo's service does with it: send its answer to node 3
    onward = {**message, "recipe-pointer": 3, "recipe-path": [2], "payload": {"y": 2}}
    del onward["headers"]
    send(onward, "echo", application_headers=HEADERS)
    (answer,) = taken(1)
    assert answer["payload"] == {"word": "hi", "y": 2}
    assert answer["recipe-pointer"] == 4
    assert json.dumps(answer["recipe"]) == json.dumps(message["recipe"])
