"""Messages to queues that somebody else serves, in Zocalo's form."""

from typing import Any

from kombu import Exchange

from zocelery.context import RunContext
from zocelery.recipe import Node

RECIPE_HEADER = "workflows-recipe"
"""The header by which Zocalo's clients tell a recipe-wrapped message."""


def wrap_for_zocalo(run: str, node: Node, payload: Any) -> dict[str, Any]:
    """Return the recipe-wrapped message that a client of `node`'s queue expects."""
    step: dict[str, Any] = {"parameters": dict(node.parameters), **node.extra}
    for key in ("queue", "topic", "exchange", "service"):
        value = getattr(node, key)
        if value is not None:
            step[key] = value
    return {
        "environment": {"ID": run},
        "payload": payload,
        "recipe": {"1": step, "start": [[1, []]]},
        "recipe-path": [],
        "recipe-pointer": 1,
    }


def send_to_foreign_queue(context: RunContext, name: str, payload: Any) -> None:
    """Publish `payload` to the queue, topic or exchange that node `name` names."""
    node = context.recipe.nodes[name]
    exchange, routing_key = _address(node)
    with context.app.producer_pool.acquire(block=True) as producer:
        producer.publish(
            wrap_for_zocalo(context.run, node, payload),
            exchange=exchange,
            routing_key=routing_key,
            serializer="json",
            headers={RECIPE_HEADER: True},
            delivery_mode=2,
            retry=True,
        )


def _address(node: Node) -> tuple[Exchange, str]:
    """Return where the node's messages go; kombu declares nothing for a name."""
    if node.topic:
        return Exchange(node.topic, type="fanout", no_declare=True), ""
    if node.exchange:
        exchange = Exchange(node.exchange, type="topic", no_declare=True)
        return exchange, node.queue or ""
    return Exchange("", no_declare=True), node.queue or ""
