"""Readiness: a worker's processes open their connections before they say so.

The first message of a process would otherwise wait for handshakes with the broker and
Redis, and in some workers for the history's tables to be looked at.
"""

import logging
import threading
from typing import Any

from celery import Celery

from zocelery import pulse
from zocelery.deployment import Deployment, current_deployment

logger = logging.getLogger(__name__)
LONGEST_SECONDS = 2.0
"""A server that is away holds nobody up longer: Celery kills a child of a pool that has
not come up after four."""
LOOK_SECONDS = 0.02
_WITH_HISTORY = frozenset({"control", "watch", "wrappers"})
"""The queues whose workers write the history."""


def open_servers(app: Celery, *, history: bool = False) -> None:
    """Connect this process to broker and Redis, and open the history if wanted.

    What is away is waited for by the messages.
    """
    thread = threading.Thread(
        target=_open, args=(app, current_deployment(), history), daemon=True
    )
    thread.start()
    thread.join(LONGEST_SECONDS)


def say_ready(consumer: Any) -> None:
    """Say that a worker is ready, as soon as all processes of its pool are.

    Args:
        consumer: Celery's, which takes messages from now on; its loop asks again.
    """
    pool: Any = getattr(consumer.pool, "_pool", None)
    processes, up = (getattr(pool, n, None) for n in ("_pool", "_fileno_to_inq"))
    if processes is None or up is None:  # threads: tasks run in this process
        queues = consumer.app.amqp.queues.consume_from
        open_servers(consumer.app, history=not _WITH_HISTORY.isdisjoint(queues))
    elif len(up) < len(processes):
        consumer.timer.call_after(LOOK_SECONDS, say_ready, (consumer,))
        return
    pulse.say_ready()


def _open(app: Celery, deployment: Deployment, history: bool) -> None:
    try:
        deployment.store.client.ping()
        with app.producer_pool.acquire(block=True) as producer:
            _ = producer.channel
        if history:
            _ = deployment.history
    except Exception as error:  # of whichever library: the first message tells it
        logger.info("Not connected yet: %s", error)
