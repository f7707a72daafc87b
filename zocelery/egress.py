"""Messages to queues that somebody else serves, in Zocalo's form or plain."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from kombu import Exchange
from kombu.exceptions import ChannelError

from zocelery.context import RunContext
from zocelery.errors import PermanentError, TemporaryError
from zocelery.recipe import Node, Recipe, Start
from zocelery.recipe_format import to_zocalo
from zocelery.store import RunStore, run_key

RECIPE_HEADER = "workflows-recipe"
"""The header by which Zocalo's clients tell a recipe-wrapped message."""
SENT = "sent"
"""The part of a run's live state with the ids of messages that have been sent."""
SENDING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to somebody else, and where it goes."""

    body: Mapping[str, Any]
    routing_key: str
    exchange: str = ""
    kind: str = "topic"
    """Of the exchange: "topic" or "fanout". Nothing is declared."""
    headers: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    """The same in every try, so that a receiver can tell a message that comes again."""


def wrap_step(run: str, step: Mapping[str, Any], payload: Any) -> dict[str, Any]:
    """Return a recipe-wrapped message: a recipe of this step alone, and its payload."""
    return {
        "environment": {"ID": run},
        "payload": payload,
        "recipe": {"1": dict(step), "start": [[1, []]]},
        "recipe-path": [],
        "recipe-pointer": 1,
    }


def wrap_for_zocalo(run: str, node: Node, payload: Any) -> dict[str, Any]:
    """Return the recipe-wrapped message that a client of `node`'s queue expects."""
    step: dict[str, Any] = {"parameters": dict(node.parameters), **node.extra}
    for key in ("queue", "topic", "exchange", "service"):
        value = getattr(node, key)
        if value is not None:
            step[key] = value
    return wrap_step(run, step, payload)


def wrap_onward(context: RunContext, node: Node, payload: Any) -> dict[str, Any]:
    """Return the recipe-wrapped message for `node` with all that follows it there.

    What somebody else's recipe has brought here goes on with that recipe.
    """
    served = context.record.get("served")
    if served is not None:
        return {
            "environment": dict(served["environment"]),
            "payload": payload,
            "recipe": served["recipe"],
            "recipe-path": served["path"],
            "recipe-pointer": int(node.name),
        }
    if not node.targets:
        return wrap_for_zocalo(context.run, node, payload)
    document, number = _recipe_from(context, node)
    return {
        "environment": {"ID": context.run},
        "payload": payload,
        "recipe": document,
        "recipe-path": [],
        "recipe-pointer": number,
    }


def _recipe_from(context: RunContext, node: Node) -> tuple[dict[str, Any], int]:
    """Return what follows `node` as a recipe of Zocalo's, and the number of `node`.

    Tasks that have no queue of Zocalo's are reached by the one that the bridge serves
    for them.

    Raises:
        PermanentError: there is none: who serves `node` could not send on.
    """
    queues = {t: q for q, t in context.deployment.settings.bridge.services.items()}
    nodes = {}
    for name in _followers(context.recipe, node.name):
        found = context.recipe.nodes[name]
        if found.queue is None and not found.topic and not found.exchange:
            queue = queues.get(found.task or found.wrapper or "")
            if queue is None:
                raise PermanentError(
                    f"node {name!r} follows {node.name!r}, which somebody else serves: "
                    "the bridge has no queue for it (bridge.services)"
                )
            found = found.model_copy(update={"queue": queue})
        nodes[name] = found
    start = (Start(node=node.name, payload=[]),)
    document, numbers = to_zocalo(Recipe(nodes=nodes, start=start))
    return document, numbers[node.name]


def _followers(recipe: Recipe, node: str) -> list[str]:
    """Return a node and all that stands behind it, in recipe order."""
    found, waiting = {node}, [node]
    while waiting:
        fresh = set(recipe.nodes[waiting.pop()].targets) - found
        found |= fresh
        waiting.extend(fresh)
    return [name for name in recipe.nodes if name in found]


def send_to_foreign_queue(
    context: RunContext, name: str, payload: Any, unit: str | None = None
) -> None:
    """Publish `payload` to the queue, topic or exchange that node `name` names.

    Args:
        context: the run.
        name: of the node.
        payload: what it is told.
        unit: id of this message, if it is to be sent only once; see `send_once`.
    """
    node = context.recipe.nodes[name]
    exchange, kind = node.exchange or "", "topic"
    if node.topic:
        exchange, kind = node.topic, "fanout"
    letter = Letter(
        body=wrap_onward(context, node, payload),
        routing_key="" if node.topic else node.queue or "",
        exchange=exchange,
        kind=kind,
        headers={RECIPE_HEADER: True},
        id=unit,
    )
    if unit is None:
        publish(context.app, letter)
    else:
        send_once(context.app, context.store, context.run, letter)


def send_once(app: Celery, store: RunStore, run: str, letter: Letter) -> bool:
    """Publish a letter that has an id unless that has been done; whether it was taken.

    Tries that come after one another, and at the same time, send it once. Only a worker
    that dies between the broker's confirmation and the note of it leaves it twice.

    Raises:
        TemporaryError: another try is sending it at this moment.
        PermanentError: see `publish`.
    """
    key, note = run_key(run, SENT), str(letter.id)
    with store.leases.hold(f"sending:{letter.id}", SENDING_SECONDS) as mine:
        if not mine:
            raise TemporaryError(f"message {letter.id} is being sent")
        told = store.client.hget(key, note)
        if told is None:
            taken = publish(app, letter)
            with store.client.pipeline() as pipe:
                pipe.hset(key, note, int(taken))
                pipe.sadd(run_key(run, "names"), SENT)
                pipe.execute()
            return taken
    return bool(told == "1")


def publish(app: Celery, letter: Letter) -> bool:
    """Publish a letter and wait until the broker has it; False if nobody listens.

    Raises:
        PermanentError: there is no such queue or exchange. To an exchange nobody may
            listen: that is no error.
    """
    place = letter.exchange or letter.routing_key
    try:
        taken = _publish(app, letter)
    except ChannelError as error:
        raise PermanentError(f"cannot send to {place!r}: {error}") from error
    if not taken and not letter.exchange:
        raise PermanentError(f"cannot send to {place!r}: there is no such queue")
    return taken


def _publish(app: Celery, letter: Letter) -> bool:
    """Publish a letter; False if the broker has found no queue for it."""
    with app.producer_pool.acquire(block=True) as producer, _returned(producer) as back:
        producer.publish(
            dict(letter.body),
            exchange=Exchange(letter.exchange, type=letter.kind, no_declare=True),
            routing_key=letter.routing_key,
            serializer="json",
            headers=dict(letter.headers),
            delivery_mode=2,
            retry=True,
            mandatory=True,
            message_id=letter.id,
        )
        return not back


@contextmanager
def _returned(producer: Any) -> Iterator[list[Any]]:
    """Yield a list to which is added what the broker returns; Redis returns nothing."""
    returned: list[Any] = []
    channel = producer.channel
    listeners = channel.events["basic_return"] if hasattr(channel, "events") else set()

    def _note(*told: Any) -> None:
        returned.append(told)

    listeners.add(_note)
    try:
        yield returned
    finally:
        listeners.discard(_note)
