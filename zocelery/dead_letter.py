"""Parking: a message that cannot be worked on waits as a dead letter, with its reason.

The message keeps its id, group and chord, so that what waits for it goes on waiting and
is completed when the dead letter is re-injected.
"""

import logging
import time
import traceback
from typing import Any

from celery import Task

from zocelery import identity
from zocelery.deployment import current_deployment
from zocelery.queues import DEAD_LETTER_EXCHANGE, dead_letter_queue, dead_letter_queues

logger = logging.getLogger(__name__)
REASON_PREFIX = "x-z-"
"""Headers with the reason; they are taken off again at re-injection."""
LONGEST_TRACEBACK = 8000


def park(task: "Task[Any, Any]", error: BaseException) -> None:
    """Publish the running task's message to the dead letters of its queue.

    The caller ends the task without an answer (`raise Ignore`), so that its chord stays
    pending. Dying in between leaves the message twice, under one id.
    """
    request = task.request
    delivery = request.delivery_info or {}
    queue = delivery.get("routing_key") or "control"
    signature = task.signature_from_request(request)
    signature.options.pop("queue", None)
    signature.apply_async(
        exchange=DEAD_LETTER_EXCHANGE,
        routing_key=queue,
        headers=_reason(error, queue, request.retries + 1),
        declare=[
            dead
            for dead in dead_letter_queues(current_deployment().settings.broker)
            if dead.name == dead_letter_queue(queue)
        ],
    )
    logger.error("Parked %s in %s: %s", request.id, dead_letter_queue(queue), error)


def _reason(error: BaseException, queue: str, tries: int) -> dict[str, Any]:
    text = "".join(traceback.format_exception(error))[-LONGEST_TRACEBACK:]
    return {
        f"{REASON_PREFIX}error": f"{type(error).__name__}: {error}",
        f"{REASON_PREFIX}traceback": text,
        f"{REASON_PREFIX}host": identity.host_name(),
        f"{REASON_PREFIX}tries": tries,
        f"{REASON_PREFIX}queue": queue,
        f"{REASON_PREFIX}time": time.time(),
    }
