"""What the broker is asked for, and what it makes of it."""

import time
from typing import Any

import pytest
from kombu import Connection, Queue

from zocelery.celery import app, apply_topology
from zocelery.deployment import current_deployment
from zocelery.queues import QUEUE_NAMES, all_queue_names, dead_letter_queue
from zocelery.settings import current_settings
from zocelery.submission import submit

pytestmark = pytest.mark.usefixtures("workers")
ECHO = {"task": "echo"}


def depth(connection: Connection, name: str) -> int:
    return int(Queue(name)(connection.default_channel).queue_declare(passive=True)[1])


def test_the_topology_may_be_applied_again_and_again():
    with app.connection_for_write() as connection:
        for _ in range(2):
            names = apply_topology(connection, current_settings())
    known = all_queue_names(current_settings())
    assert known == (*QUEUE_NAMES, "processing_recipe")
    assert set(names) == {*known, *map(dead_letter_queue, known)}


def test_a_parked_task_waits_with_its_reason_and_its_place_in_the_chord():
    with app.connection_for_write() as connection:
        before = depth(connection, "dlq.control")
        run = submit(
            {
                "nodes": {
                    "a": {**ECHO, "output": ["b", "c"]},
                    "b": {
                        "task": "fail",
                        "parameters": {"message": "no beam"},
                        "output": "d",
                    },
                    "c": {**ECHO, "output": "d"},
                    "d": {"task": "collect"},
                },
                "start": [["a", {"x": 1}]],
            }
        )
        assert run.wait(60).state == "failed"
        assert depth(connection, "dlq.control") == before + 1
        message = None
        with connection.channel() as channel:
            while (got := channel.basic_get("dlq.control")) is not None:
                message = got
    assert message is not None
    headers = message.properties["application_headers"]
    assert headers["x-z-error"] == "PermanentError: no beam"
    assert headers["x-z-queue"] == "control"
    assert headers["group"]
    assert headers["task"] == "zocelery.fail"


def test_a_live_run_overtakes_a_queued_reprocessing_run():
    def grid(word: str, urgency: Any):
        nodes = {
            "a": {**ECHO, "parameters": {"list": [word] * 300}, "output": "b"},
            "b": {"task": "per_image_analysis", "foreach": "list", "output": "c"},
            "c": {"task": "collect"},
        }
        return submit({"nodes": nodes, "start": "a"}, urgency=urgency)

    # every member fails at once: what counts is the order in which they are taken
    slow = grid("reprocessing", "reprocessing")
    store = current_deployment().store
    give_up = time.monotonic() + 30
    while not store.counts(slow.id).get("b", {}).get("total"):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    fast = grid("live", "live")
    fast.wait(60)
    slow.wait(60)
    assert fast.status().ended < slow.status().ended
