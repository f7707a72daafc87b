"""Queues: every exchange, queue, priority and dead-letter place, in one table."""

from dataclasses import dataclass
from typing import Any

from kombu import Exchange, Queue

from zocelery.settings import BrokerSettings

EXCHANGE = "zocelery"
DEAD_LETTER_EXCHANGE = "zocelery.dlx"
RESULTS_EXCHANGE = "results"
DEAD_LETTER_PREFIX = "dlq."
"""As Zocalo names them, so that `zocalo.dlq_check` sees them."""
HIGHEST_PRIORITY = 9
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


def results_exchange() -> Exchange:
    """Return the topic exchange that beamline clients listen to."""
    return Exchange(RESULTS_EXCHANGE, type="topic", durable=True)


def _queue_type(broker: BrokerSettings) -> dict[str, Any]:
    quorum = broker.queue_type == "quorum"
    return {"x-queue-type": "quorum"} if quorum else {}


def _queue_arguments(queue: WorkQueue, broker: BrokerSettings) -> dict[str, Any]:
    arguments = _queue_type(broker)
    arguments["x-dead-letter-exchange"] = DEAD_LETTER_EXCHANGE
    if queue.prioritised:
        arguments["x-max-priority"] = HIGHEST_PRIORITY + 1
    return arguments


def _consumer_arguments(queue: WorkQueue, broker: BrokerSettings) -> dict[str, Any]:
    if not queue.long_tasks or broker.is_redis:
        return {}
    return {"x-consumer-timeout": LONG_TASK_TIMEOUT_MS}
