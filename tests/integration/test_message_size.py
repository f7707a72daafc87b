"""How much a message of one image weighs."""

from random import Random
from string import ascii_letters
from uuid import uuid4

import pytest
from amqp.basic_message import Message
from kombu import Queue

from zocelery.canvas import Place
from zocelery.celery import app
from zocelery.context import RunContext
from zocelery.deployment import current_deployment
from zocelery.parameters import fill_in
from zocelery.recipe_library import current_library
from zocelery.records import FanRecord
from zocelery.registry import current_catalogue

LIMIT = 1500
"""Bytes of body and headers together."""


def publish_image(recipe_name: str, path: str) -> tuple[int, object]:
    """Return the size of the message for an image of `path`, and its arguments."""
    deployment, run, stream = current_deployment(), str(uuid4()), str(uuid4())
    given = {"images": path, "images_xy": path, "images_xz": path, "grid": "19x1"}
    library = current_library(deployment.settings.recipes)
    recipe = fill_in(library.find(recipe_name), given, allow_unfilled=True)
    record = {"recipe": recipe.model_dump(mode="json"), "priority": 9}
    context = RunContext(app, deployment, current_catalogue(), run, record)
    watch = recipe.start[0].node
    (fan,) = (fan for fan in context.plan.fans(watch) if fan.channel == "every")
    deployment.store.open_fan(run, stream, FanRecord(watch, fan.channel, "", "", 0))
    payload = {
        "hdf5": path,
        "hdf5-index": 3599,
        "file": path,
        "file-number": 3600,
        "file-seen-at": 1795226148.1595132,
        "parameters": {"scan_range": "3600,3600"},
    }
    (edge,) = (e for e in context.plan.edges[watch] if e.channel == "every")
    place = Place(stream, "3600", 1)
    signature = context.canvas.node(edge.targets[0], str(uuid4()), payload, place)
    del signature.options["queue"]
    with app.connection_for_write() as connection, connection.channel() as channel:
        queue = Queue(f"weighed-{uuid4()}", exclusive=True)(channel)
        queue.declare()
        with app.amqp.Producer(channel) as producer:
            signature.apply_async(
                exchange="", routing_key=queue.name, producer=producer
            )
        raw = channel.basic_get(queue.name, no_ack=True)
        headers = Message(raw.body, **raw.properties)._serialize_properties()
        decoded = channel.message_to_python(raw).decode()
    return len(raw.body) + len(headers), decoded[0][0]["hdf5"]


@pytest.mark.parametrize("recipe", ["grid-scan", "grid-scan-3d"])
@pytest.mark.parametrize("length", [60, 120, 165, 300, 650])
def test_an_image_travels_in_less_than_1500_bytes(
    rabbitmq_url: str, redis_url: str, recipe: str, length: int
):
    noise = "".join(Random(length).choices(ascii_letters, k=length - 11))
    size, read = publish_image(recipe, f"/{noise}_master.h5"[:length])
    assert size < LIMIT
    assert read == f"/{noise}_master.h5"[:length]
