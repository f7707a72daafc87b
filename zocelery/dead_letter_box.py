"""The dead letters of one queue, held by the broker for us while they are looked at.

What is not acknowledged goes back to where it was, in its old order, when the box is
closed or its process dies.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from amqp.exceptions import NotFound
from celery import Celery

from zocelery.canvas import celery_name
from zocelery.dead_letter_format import DeadLetter, from_message
from zocelery.queues import DEAD_LETTER_PREFIX, all_queue_names, dead_letter_queue
from zocelery.settings import current_settings
from zocelery.store import RunStore

LEASE_SECONDS = 10.0
IDLE_SECONDS = 2.0
"""If the broker sends nothing for so long, somebody else holds the rest."""
MOST_PREFETCHED = 65_535


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant; what is left empty excludes nothing."""

    queues: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    """Ids, or how they begin."""
    tasks: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    """Ids of runs, or how they begin."""
    nodes: tuple[str, ...] = ()
    older_than: float | None = None
    """Seconds; a letter of unknown age is not older than anything."""

    def work_queues(self) -> tuple[str, ...]:
        """Return the queues whose dead letters are looked at."""
        named = (queue.removeprefix(DEAD_LETTER_PREFIX) for queue in self.queues)
        return tuple(dict.fromkeys(named)) or all_queue_names(current_settings())

    def fits(self, letter: DeadLetter) -> bool:
        """Whether a letter is meant."""
        tasks = (*self.tasks, *(celery_name(task) for task in self.tasks))
        old = self.older_than
        return (
            (not self.queues or letter.queue in self.work_queues())
            and (not self.ids or letter.id.startswith(self.ids))
            and (not self.tasks or letter.task in tasks)
            and (not self.runs or (letter.run or "").startswith(self.runs))
            and (not self.nodes or letter.node in self.nodes)
            and (old is None or _age(letter) > old)
        )


@dataclass(frozen=True, slots=True)
class HeldLetter:
    """A dead letter that nobody else gets as long as the box is open."""

    letter: DeadLetter
    channel: Any
    delivery_tag: Any

    def acknowledge(self) -> None:
        """Let the broker forget it: it is safe elsewhere."""
        self.channel.basic_ack(self.delivery_tag)


class DeadLetterBox:
    """Reads the dead letters of one queue, each once."""

    def __init__(self, connection: Any, queue: str) -> None:
        """Use `connection`; `queue` is the work queue, not that of its dead letters."""
        self._connection = connection
        self._queue = queue
        self._arrived: deque[Any] = deque()
        self._channel: Any = None

    def count(self) -> int | None:
        """Return how many letters wait; None if there is no such place."""
        try:
            with self._connection.channel() as channel:
                name = dead_letter_queue(self._queue)
                return int(channel.queue_declare(name, passive=True).message_count)
        except (NotFound, *self._connection.channel_errors):
            return None

    def letters(self) -> Iterator[HeldLetter]:
        """Yield the letters that wait now, oldest first; they are held until `close`.

        Nothing is read ahead but what fits into the buffers of the connection.
        """
        count = self.count()
        if not count:
            return
        self._channel = self._connection.channel()
        if hasattr(self._channel, "auto_decode"):
            self._channel.auto_decode = False  # bytes stay bytes
        most = count if count <= MOST_PREFETCHED else 0
        self._channel.basic_qos(0, most, False)
        # not by kombu's Consumer: that decodes and decompresses what it is given
        self._channel.basic_consume(
            dead_letter_queue(self._queue),
            no_ack=False,
            callback=self._arrived.append,
            consumer_tag="zocelery dlq",
        )
        for _ in range(count):
            message = self._next()
            if message is None:
                return
            letter = from_message(message, self._queue)
            yield HeldLetter(letter, self._channel, message.delivery_tag)

    def close(self) -> None:
        """Put back what has not been acknowledged."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _next(self) -> Any:
        while not self._arrived:
            try:
                self._connection.drain_events(timeout=IDLE_SECONDS)
            except TimeoutError:
                return None
        return self._arrived.popleft()


@contextmanager
def open_box(app: Celery, queue: str) -> Iterator[DeadLetterBox]:
    """Open the dead letters of a work queue on a connection of their own."""
    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
        box = DeadLetterBox(connection, queue)
        yield box
        box.close()  # after an error the end of the connection does it


@contextmanager
def alone(store: RunStore, queue: str, patience: float) -> Iterator[bool]:
    """Wait until no other `dlq` command holds the letters of `queue`.

    While one holds them they are invisible to all others.

    Args:
        store: where the lease is.
        queue: the work queue.
        patience: seconds to wait.

    Yields:
        Whether the letters are ours; False after `patience` seconds.
    """
    give_up = time.monotonic() + patience
    while True:
        with store.leases.hold(f"dlq:{queue}", LEASE_SECONDS) as held:
            if held or time.monotonic() > give_up:
                yield held
                return
        time.sleep(0.05)


def _age(letter: DeadLetter) -> float:
    return 0.0 if letter.time is None else time.time() - letter.time
