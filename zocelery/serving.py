"""Serving: a task works on a message of somebody else's recipe, on its way through it.

Zocalo's services send the whole recipe with each message. What the task says goes on,
with that recipe, to the queues that it names: to Zocalo's services or to other tasks
here. A facility so moves from one to the other queue by queue.
"""

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from celery import Celery, Signature, shared_task
from celery.exceptions import Ignore
from pydantic import ConfigDict, Field

from zocelery import dead_letter, registry
from zocelery.alarm import ended_after
from zocelery.catalogue import TaskKind, TaskSpec
from zocelery.deliveries import DeliveredTask
from zocelery.deployment import current_deployment
from zocelery.egress import RECIPE_HEADER, Letter, publish
from zocelery.errors import ParameterError, PermanentError, RecipeError
from zocelery.logs import log_context
from zocelery.messages import Emission, Step
from zocelery.outbox import check_json
from zocelery.recipe import DEFAULT_CHANNEL, Frozen, Node, Recipe, Retry
from zocelery.recipe_format import parse_recipe
from zocelery.registry import current_catalogue
from zocelery.task import PASSING_ERRORS, retry_pause

logger = logging.getLogger(__name__)
SERVE_TASK = "zocelery.serve"
SERVED_KINDS = (TaskKind.PLAIN, TaskKind.WATCH, TaskKind.WRAPPER)
_NAMESPACE = uuid.UUID("b8b2a0fc-3d4f-4d0f-8f0a-6a1f8a0b8c11")


class Envelope(Frozen):
    """A recipe-wrapped message as Zocalo's services send and expect it."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_alias=True, serialize_by_alias=True
    )

    payload: Any = None
    recipe: Mapping[str, Any]
    pointer: int = Field(alias="recipe-pointer", ge=1)
    """The node for which it is."""
    path: tuple[Any, ...] = Field(default=(), alias="recipe-path")
    """The nodes before."""
    environment: Mapping[str, Any] = Field(default_factory=dict)
    """`ID`, and what nodes before have named."""

    @property
    def run(self) -> str:
        """The id of the recipe that somebody else runs, "" if there is none."""
        return str(self.environment.get("ID") or "")

    @property
    def id(self) -> str:
        """The same whenever the message comes again."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return str(uuid.uuid5(_NAMESPACE, text))

    @property
    def parsed(self) -> Recipe:
        """The recipe that came with it.

        Raises:
            RecipeError: it is not valid, or has no such node.
        """
        recipe = _parsed(json.dumps(self.recipe))
        if str(self.pointer) not in recipe.nodes:
            raise RecipeError(f"its recipe has no node {self.pointer}")
        return recipe

    @property
    def node(self) -> Node:
        """The node for which it is; raises as `parsed`."""
        return self.parsed.nodes[str(self.pointer)]

    def onward(
        self, node: str, payload: Any, environment: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the message for a following node."""
        return {
            "environment": dict(environment),
            "payload": payload,
            "recipe": dict(self.recipe),
            "recipe-path": [*self.path, self.pointer],
            "recipe-pointer": int(node),
        }


def letter_to(node: Node, body: Mapping[str, Any], key: str | None = None) -> Letter:
    """Return the letter that carries a wrapped message to the queue of `node`."""
    if node.topic:
        place = {"exchange": node.topic, "kind": "fanout", "routing_key": ""}
    else:
        place = {"exchange": node.exchange or "", "routing_key": node.queue or ""}
    return Letter(body=body, headers={RECIPE_HEADER: True}, id=key, **place)


def served_task(name: str) -> TaskSpec:
    """Return the task that serves a queue of Zocalo's.

    Raises:
        ParameterError: there is none of the name, or it waits for many messages.
    """
    specs = {spec.name: spec for spec in current_catalogue()}
    spec = specs.get(name)
    if spec is None:
        raise ParameterError(f"bridge.services: there is no task {name!r}")
    if spec.kind not in SERVED_KINDS:
        raise ParameterError(
            f"bridge.services: task {name!r} gathers many messages, and only a run of "
            "the whole recipe knows which: let zocelery run it"
        )
    return spec


def publish_served(app: Celery, spec: TaskSpec, envelope: Envelope) -> None:
    """Publish the task that works on a message; confirmed when it returns."""
    body = envelope.model_dump(mode="json")
    Signature(
        SERVE_TASK,
        args=(body, spec.name),
        options={
            "task_id": envelope.id,
            "queue": spec.queue,
            "compression": "zlib",
            "argsrepr": f"{spec.name}, node {envelope.pointer} of {envelope.run[:8]}",
            "kwargsrepr": "",
        },
        app=app,
    ).apply_async()


class _Outlet:
    """Keeps what a task says until it has ended: a task that fails has said nothing."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []

    def send(self, channel: str, payload: Any, item: str | None = None) -> None:
        """Say something on a channel."""
        del item
        self.said.append((channel, payload))

    def send_members(self, channel: str, emissions: Sequence[Emission]) -> None:
        """Say several things on a channel."""
        self.said += [(channel, emission.payload) for emission in emissions]


@shared_task(base=DeliveredTask, bind=True, name=SERVE_TASK, ignore_result=True)
def serve(self: DeliveredTask, body: dict[str, Any], name: str) -> None:
    """Work on one message of somebody else's recipe and send on what comes of it."""
    try:
        envelope = Envelope.model_validate(body)
        where = log_context(run=envelope.run, node=str(envelope.pointer))
        with where, self.survived():
            _serve(self.app, envelope, served_task(name))
    except PASSING_ERRORS as error:
        _try_again(self, error)
    except Ignore:
        raise
    except Exception as error:
        dead_letter.park(self, error)
        raise Ignore from error


def _serve(app: Celery, envelope: Envelope, spec: TaskSpec) -> None:
    node, outlet = envelope.node, _Outlet()
    environment = dict(envelope.environment)
    step = Step(
        parameters=node.parameters,
        payload=envelope.payload,
        job_parameters=node.job_parameters,
        extra=node.extra,
        environment=environment,
        run_id=envelope.run,
        unit=envelope.id,
        node=node.name,
        channels=frozenset(node.outputs),
        outlet=outlet,
    )
    with ended_after(_limit(spec)):
        answer = registry.task_function(spec)(step)
    if answer is not None:
        outlet.send(DEFAULT_CHANNEL, answer)
    for number, (channel, payload) in enumerate(outlet.said):
        check_json(payload, node.name)
        for target in _targets(node, spec, channel):
            key = str(uuid.uuid5(_NAMESPACE, f"{envelope.id}\0{number}\0{target}"))
            onward = envelope.onward(target, payload, environment)
            publish(app, letter_to(envelope.parsed.nodes[target], onward, key))


def _targets(node: Node, spec: TaskSpec, channel: str) -> tuple[str, ...]:
    names = {channel}
    if channel in (DEFAULT_CHANNEL, spec.default_channel):
        names = {DEFAULT_CHANNEL, spec.default_channel}
    return tuple(t for name in sorted(names) for t in node.outputs.get(name, ()))


def _limit(spec: TaskSpec) -> float:
    if spec.queue != "images":
        return 0.0
    return current_deployment().settings.workers.image_limit


def _try_again(task: DeliveredTask, error: Exception) -> None:
    policy = Retry()
    if task.request.retries + 1 >= policy.attempts:
        late = PermanentError(f"failed {policy.attempts} times: {error}")
        dead_letter.park(task, late)
        raise Ignore from error
    pause = retry_pause(policy, task.request.retries)
    logger.warning("Next try in %d s: %s", pause, error)
    raise task.retry(countdown=pause, max_retries=None) from error


@lru_cache(maxsize=64)
def _parsed(document: str) -> Recipe:
    return parse_recipe(json.loads(document), name="served")
