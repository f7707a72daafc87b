"""Queues: every exchange, queue, priority and dead-letter place, in one table."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kombu import Exchange, Queue

from zocelery.errors import ConfigurationError
from zocelery.settings import (
    BridgeSettings,
    BrokerSettings,
    ClientSettings,
    Settings,
)

EXCHANGE = "zocelery"
DEAD_LETTER_EXCHANGE = "zocelery.dlx"
RESULTS_EXCHANGE = "results"
DEAD_LETTER_PREFIX = "dlq."
"""As Zocalo names them, so that `zocalo.dlq_check` sees them."""
HIGHEST_PRIORITY = 9
RESULTS_TTL_MS = 60_000
"""A centre that nobody has asked for in a minute is of no use to a beamline."""
LONG_TASK_TIMEOUT_MS = 172_800_000
"""Two days: a consumer of `wrappers` may hold a message that long (RabbitMQ 3.12+)."""


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """One row of the table of queues."""

    name: str
    prioritised: bool = False
    long_tasks: bool = False


WORK_QUEUES = (
    WorkQueue("images", prioritised=True),
    WorkQueue("watch"),
    WorkQueue("control"),
    WorkQueue("wrappers", long_tasks=True),
    WorkQueue("lims"),
)
QUEUE_NAMES = tuple(queue.name for queue in WORK_QUEUES)


_DELAY = re.compile(r"([01]\.){28}")
"""What Celery puts before the routing key of a message that waits on quorum queues."""


def queue_of(delivery: Mapping[str, Any] | None) -> str | None:
    """Return the work queue that a message came from, by how it was delivered."""
    key = (delivery or {}).get("routing_key")
    return _DELAY.sub("", key, count=1) if isinstance(key, str) else None


def dead_letter_queue(name: str) -> str:
    """Return the name of the queue for dead letters of the queue `name`."""
    return DEAD_LETTER_PREFIX + name


def work_queues(broker: BrokerSettings) -> list[Queue]:
    """Return the queues that workers consume, as kombu declares them."""
    exchange = Exchange(EXCHANGE, type="topic", durable=True)
    return [
        Queue(
            queue.name,
            exchange,
            routing_key=queue.name,
            durable=True,
            queue_arguments=_queue_arguments(queue, broker),
            consumer_arguments=_consumer_arguments(queue, broker),
            no_declare=not broker.declare,
        )
        for queue in WORK_QUEUES
    ]


def dead_letter_queues(broker: BrokerSettings) -> list[Queue]:
    """Return the queues where dead letters wait; nobody consumes them."""
    exchange = Exchange(DEAD_LETTER_EXCHANGE, type="topic", durable=True)
    return [
        Queue(
            dead_letter_queue(queue.name),
            exchange,
            routing_key=queue.name,
            durable=True,
            queue_arguments=_queue_type(broker),
            no_declare=not broker.declare,
        )
        for queue in WORK_QUEUES
    ]


def client_queue_names(bridge: BridgeSettings) -> tuple[str, ...]:
    """Return the queues that Zocalo's clients and services write to, for the bridge.

    Raises:
        ConfigurationError: one of them is a queue of zocelery's own tasks.
    """
    names = tuple(dict.fromkeys((bridge.queue, *bridge.services)))
    refuse_own_queues("bridge", names)
    return names


def refuse_own_queues(section: str, names: Iterable[str]) -> None:
    """Refuse queues of zocelery's own tasks where the configuration names others'.

    Raises:
        ConfigurationError: one of `names` is such; the message names it and `section`.
    """
    for name in names:
        if name in QUEUE_NAMES or name.startswith(DEAD_LETTER_PREFIX):
            raise ConfigurationError(
                f"{section}: queue {name!r} is one of zocelery's own; Zocalo's needs a "
                "virtual host of its own"
            )


def all_queue_names(settings: Settings) -> tuple[str, ...]:
    """Return all queues that have dead letters: of tasks and, behind them, of clients.

    Raises:
        ConfigurationError: see `client_queue_names`.
    """
    if settings.broker.is_redis:
        return QUEUE_NAMES
    return (*QUEUE_NAMES, *client_queue_names(settings.bridge))


def client_queues(settings: Settings) -> list[Queue]:
    """Return the queues of Zocalo's clients, each with that of its dead letters.

    They are made only where they are not there yet: Zocalo may have declared them, with
    other arguments, which the broker would not forgive.
    """
    if settings.broker.is_redis:
        return []
    kind = _queue_type(settings.broker)
    exchange = Exchange(DEAD_LETTER_EXCHANGE, type="topic", durable=True)
    found = []
    for name in client_queue_names(settings.bridge):
        dead = {"x-dead-letter-exchange": DEAD_LETTER_EXCHANGE}
        dead["x-dead-letter-routing-key"] = name
        found.append(Queue(name, durable=True, queue_arguments={**kind, **dead}))
        letters = dead_letter_queue(name)
        found.append(Queue(letters, exchange, name, durable=True, queue_arguments=kind))
    return found


def results_queues(settings: Settings) -> list[Queue]:
    """Return the queues of beamlines' software for results, as they are configured."""
    if settings.broker.is_redis:
        return []
    arguments = {**_queue_type(settings.broker), "x-message-ttl": RESULTS_TTL_MS}
    keys = (
        results_key(settings.clients, b) for b in settings.clients.results_beamlines
    )
    return [
        Queue(key, results_exchange(), key, durable=True, queue_arguments=arguments)
        for key in keys
    ]


def results_key(clients: ClientSettings, beamline: str) -> str:
    """Return the routing key, and the queue's name, of a beamline's results."""
    return clients.results_key.replace("{beamline}", beamline)


def results_exchange() -> Exchange:
    """Return the topic exchange that beamline clients listen to."""
    return Exchange(RESULTS_EXCHANGE, type="topic", durable=True)


def _queue_type(broker: BrokerSettings) -> dict[str, Any]:
    quorum = broker.queue_type == "quorum"
    return {"x-queue-type": "quorum"} if quorum else {}


def _queue_arguments(queue: WorkQueue, broker: BrokerSettings) -> dict[str, Any]:
    arguments = _queue_type(broker)
    arguments["x-dead-letter-exchange"] = DEAD_LETTER_EXCHANGE
    if broker.queue_type == "quorum":
        # the routing key of a message that has waited there is not the queue's name
        arguments["x-dead-letter-routing-key"] = queue.name
    elif queue.prioritised:
        # quorum queues refuse it before RabbitMQ 4.3, from 4.0 they have two levels
        arguments["x-max-priority"] = HIGHEST_PRIORITY + 1
    return arguments


def _consumer_arguments(queue: WorkQueue, broker: BrokerSettings) -> dict[str, Any]:
    if not queue.long_tasks or broker.is_redis:
        return {}
    return {"x-consumer-timeout": LONG_TASK_TIMEOUT_MS}
