"""Confirms: several messages are published, and then the broker's word is waited for.

A publisher must not go on before the broker has confirmed that it keeps what it was
given. To wait for that after each message takes a round trip for each; here there are
two, however many messages are published together.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from amqp.exceptions import MessageNacked, RecoverableConnectionError


@contextmanager
def confirmed_together(producer: Any) -> Iterator[None]:
    """Publish with `producer` inside; everything has been confirmed at the end.

    Brokers that confirm nothing, and those that kombu speaks to otherwise than by
    AMQP, are published to as ever.

    Raises:
        MessageNacked: the broker has refused a message. Which are there is not known
            then, nor after any other error: all have to be published again.
        TimeoutError: the broker has said nothing for `broker.timeout`.
    """
    channel = producer.channel
    publish = getattr(channel, "basic_publish_confirm", None)
    if publish is None or channel.basic_publish != publish:
        yield
        return
    confirms = _Confirms(channel)
    channel.basic_publish = confirms.publish
    try:
        yield
        confirms.wait(producer)
    except BaseException as error:
        # what it still says would be taken for the confirmation of something else
        with suppress(Exception):
            if isinstance(error, OSError):
                producer.connection.collect()  # it would not hear that it is closed
            else:
                channel.close()
        raise
    finally:
        channel.basic_publish = publish
        confirms.end()


class _Confirms:
    """What the broker has confirmed of what is published on a channel."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._last: int | None = None
        """The number of the last message; the broker counts those of the channel."""
        self._owed: set[int] = set()
        self._is_refused = False
        channel.events["basic_ack"].add(self._note_ack)
        channel.events["basic_nack"].add(self._note_nack)

    def publish(self, message: Any, **options: Any) -> None:
        """Publish; the first message is waited for, and tells what number it has."""
        if self._last is None:
            self._channel.basic_publish_confirm(message, **options)
            return
        type(self._channel).basic_publish(self._channel, message, **options)
        self._last += 1
        self._owed.add(self._last)

    def wait(self, producer: Any) -> None:
        """Wait until everything is confirmed.

        Raises:
            MessageNacked: the broker has refused some of it.
            RecoverableConnectionError: the channel is gone, and with it its word.
        """
        # one that is lost before anything is owed has been replaced by kombu
        while self._owed:
            if producer.channel is not self._channel or not self._channel.connection:
                raise RecoverableConnectionError("closed before all was confirmed")
            self._channel.connection.drain_events()
        if self._is_refused:
            raise MessageNacked

    def end(self) -> None:
        """Listen no more."""
        self._channel.events["basic_ack"].discard(self._note_ack)
        self._channel.events["basic_nack"].discard(self._note_nack)

    def _note_ack(self, number: int, multiple: bool) -> None:
        if self._last is None:
            self._last = number
        elif multiple:
            self._owed = {owed for owed in self._owed if owed > number}
        else:
            self._owed.discard(number)

    def _note_nack(self, number: int, multiple: bool) -> None:
        self._is_refused = True
        self._note_ack(number, multiple)
