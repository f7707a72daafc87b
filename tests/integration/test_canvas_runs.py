"""Recipes as canvases on real RabbitMQ and Redis, with real worker processes."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from zocelery.deployment import current_deployment
from zocelery.errors import ParameterError, RunFailedError
from zocelery.run import Run
from zocelery.submission import submit

pytestmark = pytest.mark.usefixtures("workers")
WAIT = 60


def run(nodes: Mapping[str, Any], start: Any = "a", **rest: Any) -> Run:
    started = submit({"nodes": dict(nodes), "start": start, **rest})
    started.wait(WAIT)
    return started


ECHO = {"task": "echo"}


def test_nodes_that_follow_one_another_pass_on_what_they_answer():
    done = run(
        {
            "a": {**ECHO, "parameters": {"x": 1}, "output": "b"},
            "b": {**ECHO, "parameters": {"y": 2}, "output": "c"},
            "c": {**ECHO, "parameters": {"z": 3}},
        }
    )
    assert done.result() == {"x": 1, "y": 2, "z": 3}


def test_a_gather_gets_every_member_once_in_order():
    done = run(
        {
            "a": {**ECHO, "parameters": {"list": list(range(30))}, "output": "b"},
            "b": {**ECHO, "foreach": "list", "output": "c"},
            "c": {"task": "collect"},
        }
    )
    answer = done.result()
    assert answer["members"] == list(range(30))
    assert answer["failed"] == answer["missing"] == []


def test_a_diamond_waits_for_both_branches():
    done = run(
        {
            "a": {**ECHO, "parameters": {"x": 1}, "output": ["b", "c"]},
            "b": {"task": "sleep", "parameters": {"seconds": 0.2}, "output": "d"},
            "c": {**ECHO, "parameters": {"c": 1}, "output": "d"},
            "d": {"task": "collect"},
        }
    )
    members = done.result()["members"]
    assert sorted(members, key=len) == [{"x": 1}, {"c": 1, "x": 1}]


def test_a_channel_that_stays_silent_does_not_hold_up_the_gather():
    done = run(
        {
            "a": {**ECHO, "parameters": {"way": "left"}, "output": "b"},
            "b": {
                "task": "choose",
                "parameters": {"key": "way"},
                "output": {"left": "l", "right": "r"},
            },
            "l": {**ECHO, "parameters": {"went": "left"}, "output": "d"},
            "r": {**ECHO, "parameters": {"went": "right"}, "output": "d"},
            "d": {"task": "collect"},
        }
    )
    assert [member["went"] for member in done.result()["members"]] == ["left"]
    assert "r" not in done.results()


def test_a_gather_on_a_way_not_taken_is_skipped():
    done = run(
        {
            "a": {**ECHO, "parameters": {"way": "left"}, "output": "b"},
            "b": {
                "task": "choose",
                "parameters": {"key": "way"},
                "output": {"left": "l", "right": "r"},
            },
            "l": {**ECHO, "parameters": {"went": "left"}},
            "r": {**ECHO, "output": "d"},
            "d": {"task": "collect"},
        }
    )
    status = done.status()
    assert status.state == "finished"
    assert {n.node: n.state for n in status.nodes}["d"] == "skipped"


def test_a_gather_without_any_result_is_a_failed_run():
    done = run(
        {
            "a": {**ECHO, "parameters": {"list": ["x", "y", "x"]}, "output": "b"},
            "b": {
                "task": "fail",
                "foreach": "list",
                "parameters": {"message": "no beam"},
                "output": "c",
            },
            "c": {"task": "collect"},
        }
    )
    assert done.state == "failed"
    assert done.status().error == "c: none of 3 members gave a result; 1: no beam"


def test_one_failed_member_leaves_the_others_their_result():
    done = run(
        {
            "a": {
                **ECHO,
                "parameters": {"list": [{"go": "well"}, {"go": "ill"}, {}]},
                "output": "b",
            },
            "b": {
                "task": "choose",
                "parameters": {"key": "go"},
                "foreach": "list",
                "output": {"well": "w", "ill": "i"},
            },
            "w": {**ECHO, "parameters": {"done": True}, "output": "c"},
            "i": {"task": "fail", "parameters": {"message": "ill"}, "output": "c"},
            "c": {"task": "collect"},
        }
    )
    answer = done.result()
    assert answer["items"] == ["1"]
    failed = {row["item"]: row["error"] for row in answer["failed"]}
    assert failed == {"2": "ill", "3": "the payload has no key 'go'"}
    assert {f["item"] for f in done.failures()} == {"2", "3"}


def test_a_gather_in_each_member_feeds_the_outer_gather():
    done = run(
        {
            "a": {**ECHO, "parameters": {"rows": [[1, 2], [3, 4, 5]]}, "output": "row"},
            "row": {**ECHO, "foreach": "rows", "output": "cell"},
            "cell": {**ECHO, "foreach": "", "output": "inner"},
            "inner": {"task": "collect", "output": "outer"},
            "outer": {"task": "collect"},
        }
    )
    answer = done.result()
    assert [inner["members"] for inner in answer["members"]] == [[1, 2], [3, 4, 5]]


def test_error_edges_are_told_which_node_failed_and_why():
    done = run(
        {
            "a": {
                "task": "fail",
                "parameters": {"message": "no beam"},
                "output": "b",
                "error": "tell",
            },
            "b": ECHO,
            "tell": ECHO,
        }
    )
    assert done.state == "finished"
    told = done.results()["tell"]
    assert (told["node"], told["error"]) == ("a", "no beam")


def test_the_error_nodes_of_the_recipe_hear_of_every_failure():
    done = run(
        {
            "a": {"task": "fail", "parameters": {"message": "no beam"}},
            "tell": ECHO,
        },
        error="tell",
    )
    assert done.results()["tell"]["error"] == "no beam"
    assert done.state == "failed"


def test_a_task_that_fails_for_good_is_parked_and_the_run_says_so():
    done = run({"a": {"task": "fail", "parameters": {"message": "no beam"}}})
    assert done.state == "failed"
    assert done.status().error == "a: no beam"
    with pytest.raises(RunFailedError, match="no beam"):
        done.result()


def test_a_passing_failure_is_tried_again_as_often_as_the_recipe_says():
    done = run(
        {
            "a": {
                "task": "fail",
                "parameters": {"message": "busy", "passing": True},
                "retry": {"attempts": 2, "pause": 1},
            }
        }
    )
    tries = current_deployment().history.run_tries(done.id)
    assert [(t["number"], t["state"]) for t in tries] == [(1, "retry"), (2, "parked")]


def test_two_runs_at_once_do_not_mix():
    nodes = {
        "a": {**ECHO, "parameters": {"list": ["{word}"] * 20}, "output": "b"},
        "b": {**ECHO, "foreach": "list", "output": "c"},
        "c": {"task": "collect"},
    }
    document = {"nodes": nodes, "start": "a"}
    first = submit(document, {"word": "one"})
    second = submit(document, {"word": "two"})
    assert first.result(WAIT)["members"] == ["one"] * 20
    assert second.result(WAIT)["members"] == ["two"] * 20


def test_a_run_that_is_submitted_again_under_its_id_is_the_same_run():
    document = {"nodes": {"a": ECHO}, "start": [["a", {"x": 1}]]}
    first = submit(document, {"guid": "the-same"})
    again = submit(document, {"guid": "the-same"})
    assert first.id == again.id == "the-same"
    again.wait(WAIT)
    assert len(current_deployment().history.run_tries("the-same")) == 1
    with pytest.raises(ParameterError, match="taken by another run"):
        submit({"nodes": {"b": ECHO}, "start": "b"}, {"guid": "the-same"})


def test_a_cancelled_run_ends_without_doing_the_rest():
    document = {
        "nodes": {
            "a": {"task": "sleep", "parameters": {"seconds": 2}, "output": "b"},
            "b": {"task": "sleep", "parameters": {"seconds": 300}},
        },
        "start": [["a", {"x": 1}]],
    }
    started = submit(document)
    started.cancel()
    assert started.wait(WAIT).state == "cancelled"


def test_results_stream_while_the_run_goes_on():
    started = submit(
        {
            "nodes": {
                "a": {**ECHO, "parameters": {"list": [1, 2, 3]}, "output": "b"},
                "b": {**ECHO, "foreach": "list", "output": "c"},
                "c": {"task": "collect"},
            },
            "start": "a",
        }
    )
    told = list(started.stream("b"))
    assert sorted(event["value"] for event in told) == [1, 2, 3]
    assert json.dumps(told)
