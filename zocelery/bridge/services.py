"""Zocalo's service queues: each message becomes a task, or a run of its own."""

from collections.abc import Mapping
from typing import Any

from celery import Celery
from pydantic import ValidationError

from zocelery.bridge.delivery import Delivery
from zocelery.bridge.request import read_object
from zocelery.catalogue import ELSEWHERE, TaskKind, TaskSpec
from zocelery.errors import ConfigurationError, ParameterError
from zocelery.recipe import Node, Recipe, Start
from zocelery.registry import current_catalogue
from zocelery.serving import Envelope, publish_served, served_task
from zocelery.settings import Settings
from zocelery.submission import launch, prepare


def check_services(services: Mapping[str, str]) -> None:
    """Raise ConfigurationError unless each queue of `bridge.services` can be served.

    A task that gathers cannot: it runs when all members are there, and how many they
    are, and which, is known from the node that fans out, which somebody else has run.
    """
    for queue, name in services.items():
        try:
            served_task(name)
        except ParameterError as error:
            raise ConfigurationError(f"queue {queue!r}: {error}") from error


def forward(app: Celery, settings: Settings, delivery: Delivery) -> None:
    """Publish the task that works on a recipe-wrapped message, or start its run.

    Short tasks are published with their message. Watches and programs, which live in
    rows, get a run of their own, in which all that follows is served by others.

    Raises:
        ParameterError: it is no recipe-wrapped message, or no task serves its queue.
        RecipeError: its recipe is not valid.
    """
    spec = served_task(settings.bridge.services[delivery.queue])
    envelope = read_envelope(delivery, settings.workers.largest_message)
    _ = envelope.node  # a mistake is found before the message is acknowledged
    if spec.kind is TaskKind.PLAIN:
        publish_served(app, spec, envelope)
    else:
        start_served(envelope, spec)


def read_envelope(delivery: Delivery, largest: int) -> Envelope:
    """Return what a recipe-wrapped message carries.

    Raises:
        ParameterError: it is none; says why.
    """
    message = read_object(delivery, largest)
    if "recipe" not in message:
        raise ParameterError("it carries no recipe; this queue takes wrapped messages")
    try:
        return Envelope.model_validate(message)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ParameterError(f"its {where}: {first['msg']}") from error


def start_served(envelope: Envelope, spec: TaskSpec) -> None:
    """Start the run of one node of somebody else's recipe, once."""
    recipe = envelope.parsed
    node = recipe.nodes[str(envelope.pointer)]
    others = {name: _elsewhere(recipe.nodes[name]) for name in node.targets}
    own = node.model_copy(update={"task": spec.name, "wrapper": None})
    alone = Recipe(
        nodes={node.name: own, **others},
        start=(Start(node=node.name, payload=envelope.payload),),
        name=f"served-{spec.name}",
    )
    served: dict[str, Any] = {
        "recipe": dict(envelope.recipe),
        "environment": dict(envelope.environment),
        "path": [*envelope.path, envelope.pointer],
    }
    prepared = prepare(alone, {}, current_catalogue())
    launch(prepared, {}, run_id=envelope.id, template=alone, served=served)


def _elsewhere(node: Node) -> Node:
    """Return a node whose messages go to its own queue, whatever tasks there are."""
    extra = {**node.extra, ELSEWHERE: True}
    update = {"outputs": {}, "error": (), "extra": extra, "transport_delay": 0.0}
    return node.model_copy(update=update)
