"""Something between the tasks and their queues that sends every message twice."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import amqp

SHADOW = "shadow"


class Duplicator:
    """Publishes a copy of each message that goes through zocelery's exchange."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = amqp.Connection(f"{parts.hostname}:{parts.port}")
        self._connection.connect()
        self._channel = self._connection.channel()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.copies = 0

    def start(self) -> None:
        """Bind a queue that gets all that the others get, and copy what comes."""
        self._channel.queue_declare(SHADOW, exclusive=True)
        self._channel.queue_bind(SHADOW, "zocelery", routing_key="#")
        self._channel.basic_consume(SHADOW, no_ack=True, callback=self._copy)
        self._thread.start()

    def stop(self) -> None:
        """Copy no more."""
        self._ended.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._connection.drain_events(timeout=0.1)
            except TimeoutError:
                continue

    def _copy(self, message: amqp.Message) -> None:
        copy = amqp.Message(body=message.body, **message.properties)
        queue = message.delivery_info["routing_key"]
        # Past the exchange, straight into the queue: the copy is not copied.
        self._channel.basic_publish(copy, exchange="", routing_key=queue)
        self.copies += 1


@contextmanager
def everything_twice(url: str) -> Iterator[Duplicator]:
    """Send every message twice as long as the context lasts."""
    duplicator = Duplicator(url)
    duplicator.start()
    try:
        yield duplicator
    finally:
        duplicator.stop()


def messages_in(url: str, queues: tuple[str, ...]) -> int:
    """Return how many messages wait in these queues."""
    parts = urlsplit(url)
    with amqp.Connection(f"{parts.hostname}:{parts.port}") as connection:
        channel = connection.channel()
        return sum(channel.queue_declare(q, passive=True).message_count for q in queues)


def purge(url: str, queue: str) -> None:
    """Throw away what waits in a queue."""
    parts = urlsplit(url)
    with amqp.Connection(f"{parts.hostname}:{parts.port}") as connection:
        connection.channel().queue_purge(queue)


def consumers_of(url: str, queue: str) -> int:
    """Return how many workers consume a queue."""
    parts = urlsplit(url)
    with amqp.Connection(f"{parts.hostname}:{parts.port}") as connection:
        declared = connection.channel().queue_declare(queue, passive=True)
        return int(declared.consumer_count)
