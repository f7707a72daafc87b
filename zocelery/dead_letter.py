"""Parking: a message that cannot be worked on waits as a dead letter, with its reason.

The message keeps its id, group and chord, so that what waits for it goes on waiting and
is completed when the dead letter is re-injected.
"""

import logging
import time
import traceback
import uuid
from collections.abc import Mapping
from typing import Any

from celery import Celery, Task
from kombu import Queue

from zocelery import identity
from zocelery.deployment import current_deployment
from zocelery.queues import (
    DEAD_LETTER_EXCHANGE,
    dead_letter_queue,
    dead_letter_queues,
    queue_of,
)

logger = logging.getLogger(__name__)
REASON_PREFIX = "x-z-"
"""Headers with the reason; they are taken off again at re-injection."""
REINJECTED_HEADER = REASON_PREFIX + "reinjected"
"""How often the message has been re-injected; it stays."""
LONGEST_TRACEBACK = 8000
LONGEST_ERROR = 2000
LARGEST_HEADERS = 64_000
"""Characters: RabbitMQ takes headers in one frame of 128 KiB, or closes the channel."""
PROPERTIES = (
    "content_type",
    "content_encoding",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)
"""The properties that AMQP knows beside the headers."""
_EXACT_ENCODINGS = ("utf-8", "utf8", "us-ascii", "ascii", "latin-1")
"""What is decoded and encoded in these comes out as the same bytes."""
_UNSAFE_PROPERTIES = ("expiration", "user_id")
"""A dead letter must not expire, and only its first sender may name itself."""
_UNSAFE_HEADERS = ("CC", "BCC")
"""RabbitMQ would send copies to the queues that they name."""


def park(task: "Task[Any, Any]", error: BaseException) -> None:
    """Publish the running task's message to the dead letters of its queue.

    The caller ends the task without an answer (`raise Ignore`), so that its chord stays
    pending. Dying in between leaves the message twice, under one id.
    """
    request = task.request
    queue = queue_of(request.delivery_info) or "control"
    signature = task.signature_from_request(request)
    signature.options.pop("queue", None)
    old = signature.options.get("headers") or {}
    signature.apply_async(
        exchange=DEAD_LETTER_EXCHANGE,
        routing_key=queue,
        headers={**old, **_reason(error, queue, request.retries + 1)},
        declare=_declared(queue),
        mandatory=True,  # a place that does not exist is an error, not a hole
    )
    logger.error(
        "Parked %s in %s: %s", request.id, dead_letter_queue(queue), _in_short(error)
    )


def refuse(app: Celery, message: Any, queue: str, problem: str) -> None:
    """Publish a received message that is no task to the dead letters of its queue.

    It is left to the caller to acknowledge the message afterwards.

    Args:
        app: the worker's.
        message: as kombu received it; neither decoded nor acknowledged.
        queue: the work queue that it came from.
        problem: why it is refused.

    Raises:
        Exception: it could not be published exactly as it came.
    """
    body = _bytes_of(message)
    headers, properties = _made_safe(message)
    headers |= _reason_headers(problem, "", queue, 1)
    with app.producer_pool.acquire(block=True) as producer:
        for place in _declared(queue):
            producer.maybe_declare(place)
        publish_exactly(
            producer, body, headers, properties, DEAD_LETTER_EXCHANGE, queue
        )


def publish_exactly(
    producer: Any,
    body: bytes,
    headers: Mapping[str, Any],
    properties: Mapping[str, Any],
    exchange: str,
    routing_key: str,
) -> None:
    """Publish bytes as they are and wait until the broker has confirmed them.

    Raises:
        Exception: the broker has not taken the message, or there is no such queue; the
            producer's channel should not be used any more.
    """
    known = {n: properties[n] for n in PROPERTIES if properties.get(n) is not None}
    channel = producer.channel
    message = channel.prepare_message(
        body,
        priority=known.pop("priority", None),
        content_type=known.pop("content_type", None),
        content_encoding=known.pop("content_encoding", None),
        headers=dict(headers),
        properties=known,
    )
    channel.basic_publish(
        message, exchange=exchange, routing_key=routing_key, mandatory=True
    )


def _bytes_of(message: Any) -> bytes:
    if (message.headers or {}).get("compression") and not message.errors:
        raise ValueError("it has been decompressed, its bytes are not kept")
    if not isinstance(message.body, str):
        return bytes(message.body or b"")
    encoding = str(message.content_encoding or "utf-8").lower()
    if encoding not in _EXACT_ENCODINGS:
        raise ValueError(f"the bytes behind the encoding {encoding!r} are not kept")
    return message.body.encode(encoding)


def _made_safe(message: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return headers and properties with which a message can wait: nothing is lost."""
    headers, properties = dict(message.headers or {}), dict(message.properties or {})
    if len(repr(headers)) > LARGEST_HEADERS:
        raise ValueError("its headers leave no room for a reason")
    for name in _UNSAFE_PROPERTIES:
        if properties.get(name) is not None:
            headers[f"{REASON_PREFIX}property-{name}"] = properties.pop(name)
    for name in _UNSAFE_HEADERS:
        if name in headers:
            headers[f"{REASON_PREFIX}header-{name}"] = headers.pop(name)
    if not isinstance(headers.get("id"), str):
        headers[f"{REASON_PREFIX}id"] = str(uuid.uuid4())
    return headers, {**properties, "delivery_mode": 2}


def _declared(queue: str) -> list[Queue]:
    name = dead_letter_queue(queue)
    places = dead_letter_queues(current_deployment().settings.broker)
    return [place for place in places if place.name == name]


def _reason(error: BaseException, queue: str, tries: int) -> dict[str, Any]:
    text = "".join(traceback.format_exception(error))[-LONGEST_TRACEBACK:]
    return _reason_headers(_in_short(error), text, queue, tries)


def _in_short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:LONGEST_ERROR]


def _reason_headers(error: str, trace: str, queue: str, tries: int) -> dict[str, Any]:
    return {
        f"{REASON_PREFIX}error": error[:LONGEST_ERROR],
        f"{REASON_PREFIX}traceback": trace,
        f"{REASON_PREFIX}host": identity.host_name(),
        f"{REASON_PREFIX}tries": tries,
        f"{REASON_PREFIX}queue": queue,
        f"{REASON_PREFIX}time": time.time(),
    }
