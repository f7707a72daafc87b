"""Messages to others on real RabbitMQ and Redis: in the right form, and once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Queue

from tests.lims_rows import at_once
from zocelery.celery import app, apply_topology
from zocelery.deployment import current_deployment
from zocelery.egress import Letter, publish, send_once
from zocelery.errors import PermanentError, TemporaryError
from zocelery.identity import new_run_id
from zocelery.messages import Step
from zocelery.queues import results_exchange, results_key, results_queues
from zocelery.settings import current_settings
from zocelery.submission import submit
from zocelery_tasks.announcements import feedback, json_lines, publish_results

WAIT = 60
CENTRE = {
    "centre_of_mass": [4.5, 3.25, 2.75],
    "max_voxel": [4, 3, 2],
    "max_count": 105062,
    "n_voxels": 35,
    "total_count": 2387574,
    "bounding_box": [[2, 2, 2], [8, 8, 7]],
    "sample_id": None,
}
ANSWER = {"results": [CENTRE], "status": "success", "type": "3d"}
PARAMETERS = {"beamline": "i03", "dcid": 1002, "dcgid": 4321}


@pytest.fixture(scope="module")
def broker(redis_url: str, rabbitmq_url: str) -> Iterator[Connection]:
    """A connection to the broker, with the exchange of results declared."""
    assert redis_url
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=5)
        apply_topology(connection, current_settings())
        yield connection
    assert rabbitmq_url


@pytest.fixture
def beamline(broker: Connection) -> Iterator[Any]:
    """The queue of i03's software, as the facility declares it."""
    queue = Queue("xrc.i03", results_exchange(), "xrc.i03", durable=True)(broker)
    queue.declare()
    queue.purge()
    yield queue
    queue.delete()


def taken(queue: Any) -> list[Any]:
    """Return all messages that are in a queue."""
    found = []
    while (message := queue.get(no_ack=True)) is not None:
        found.append(message)
    return found


def step_of(unit: str, payload: Any, run: str, **parameters: Any) -> Step:
    return Step(parameters=parameters, payload=payload, unit=unit, run_id=run)


def keep_trying(work: Any) -> Any:
    """Do as a worker does: try again what may work later."""
    while True:
        try:
            return work()
        except TemporaryError:
            continue


def test_a_centre_comes_once_though_it_is_delivered_eight_times(beamline: Any):
    step = step_of("u1", ANSWER, new_run_id(), **PARAMETERS)
    answers = at_once(lambda: keep_trying(lambda: publish_results(step)))
    assert answers == [{"key": "xrc.i03", "taken": True}] * 8
    (message,) = taken(beamline)
    assert message.headers == {"workflows-recipe": True}
    assert message.properties["message_id"] == "u1"
    told = json.loads(message.body)
    assert told["environment"] == {"ID": step.run_id}
    assert told["payload"] == ANSWER
    pointer = told["recipe-pointer"]
    assert told["recipe"][str(pointer)] == {
        "queue": "xrc.i03",
        "exchange": "results",
        "parameters": {"dcid": 1002, "dcgid": 4321, "gpu": True},
    }


def test_a_beamline_that_does_not_listen_holds_up_nobody(broker: Connection):
    step = step_of("u1", ANSWER, new_run_id(), **{**PARAMETERS, "beamline": "i99"})
    for _ in range(2):
        assert publish_results(step) == {"key": "xrc.i99", "taken": False}
    queue = Queue("after", durable=False, auto_delete=True)(broker)
    queue.declare()
    assert publish(app, Letter({"a": 1}, "after"))  # the channel is still good
    assert [message.payload for message in taken(queue)] == [{"a": 1}]


def test_defect_12_a_queue_that_is_not_there_is_an_error_and_not_a_hole(
    broker: Connection,
):
    assert broker.connected
    with pytest.raises(PermanentError, match="'nowhere': there is no such queue"):
        publish(app, Letter({}, "nowhere"))
    with pytest.raises(PermanentError, match="cannot send to 'no-exchange'"):
        publish(app, Letter({}, "x", "no-exchange"))
    run, store = new_run_id(), current_deployment().store
    letter = Letter({}, "nowhere", id="u")
    for _ in range(2):
        with pytest.raises(PermanentError):
            send_once(app, store, run, letter)


def test_murfey_is_answered_by_a_plain_message(
    broker: Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ZOCELERY_CLIENTS_FEEDBACK_QUEUES", '["murfey_*"]')
    current_settings.cache_clear()
    queue = Queue("murfey_feedback", durable=False, auto_delete=True)(broker)
    queue.declare()
    message = {"register": "atlas_registered", "movie_id": 0}
    step = step_of(
        "u2", {"movie_id": 7}, new_run_id(), queue="murfey_feedback", message=message
    )
    for _ in range(2):
        feedback(step)
    other = step_of("u3", {}, new_run_id(), queue="control")
    with pytest.raises(PermanentError, match=r"'control' is none .*feedback_queues"):
        feedback(other)
    current_settings.cache_clear()
    (told,) = taken(queue)
    assert told.headers == {}
    assert told.payload == {"register": "atlas_registered", "movie_id": 7}


def test_a_line_that_is_delivered_eight_times_is_there_once(
    broker: Connection, tmp_path: Path
):
    assert broker.connected
    file, run = tmp_path / "f.jsonl", new_run_id()
    steps = [
        step_of(f"u{n % 10}", {"n": n % 10}, run, output_filename=str(file))
        for n in range(80)
    ]
    waiting = iter(steps)
    at_once(lambda: [json_lines(next(waiting)) for _ in range(10)])
    lines = [json.loads(line)["n"] for line in file.read_text().splitlines()]
    assert sorted(lines) == list(range(10))


def test_beamlines_of_the_configuration_have_their_queues(broker: Connection):
    settings = current_settings()
    clients = settings.clients.model_copy(update={"results_beamlines": ("i98",)})
    changed = settings.model_copy(update={"clients": clients})
    (queue,) = results_queues(changed)
    assert results_key(clients, "i98") == queue.name == "xrc.i98"
    names = apply_topology(broker, changed)
    assert apply_topology(broker, changed) == names
    assert publish(app, Letter({"a": 1}, "xrc.i98", "results"))
    bound = queue(broker)
    assert len(taken(bound)) == 1
    bound.delete()


@pytest.mark.usefixtures("workers")
def test_a_sink_of_zocalos_recipe_gets_its_message_wrapped(beamline: Any):
    sink = {
        "queue": "xrc.i03",
        "exchange": "results",
        "parameters": {"dcid": "{dcid}", "gpu": True},
    }
    recipe = {
        "1": {"task": "echo", "parameters": {"results": []}, "output": 2},
        "2": sink,
        "start": [[1, []]],
    }
    run = submit(recipe, {"dcid": 7})
    assert run.wait(WAIT).state == "finished"
    (message,) = taken(beamline)
    assert message.headers == {"workflows-recipe": True}
    told = json.loads(message.body)
    assert told["payload"] == {"results": []}
    step = told["recipe"][str(told["recipe-pointer"])]
    assert step["parameters"] == {"dcid": "7", "gpu": True}
