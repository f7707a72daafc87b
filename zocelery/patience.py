"""Patience: how long a broker is waited for that hangs, or takes no messages.

A broker that has ended closes its connections; one that hangs says nothing, and one
with an alarm, because its memory or its disk is full, does not read what is published.
AMQP itself sets no limit to either.
"""

import logging
import socket
import struct
from dataclasses import dataclass
from functools import partial
from typing import Any

from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)

ALARM_SECONDS = 600.0
"""A worker waits so long for the end of an alarm, then it publishes anew: what it has
published before is read by the broker as well when the alarm is over."""


@dataclass(frozen=True)
class Patience:
    """Makes of each new connection one on which nothing is waited for without limit.

    To be called with a connection of amqp's that has been opened.
    """

    seconds: float
    """The longest silence while an answer is waited for."""
    alarm_seconds: float | None = None
    """The longest while the broker says that it has an alarm; by default as ever."""

    def options(self) -> dict[str, Any]:
        """Return the options of kombu's transport that set these limits."""
        return {
            "read_timeout": self.seconds,
            "write_timeout": self.seconds,
            "on_open": self,
        }

    def __call__(self, connection: Any) -> None:
        """Listen to what the broker says of its alarms on a connection."""
        connection.on_blocked = partial(self._note_blocked, connection)
        connection.on_unblocked = partial(self._note_unblocked, connection)

    def __json__(self) -> str:
        """Return what `celery inspect stats` shows, among the broker's options."""
        return str(self)

    def _note_blocked(self, connection: Any, reason: str) -> None:
        del reason  # of amqp's own making: "see broker logs"
        if self.alarm_seconds is not None:
            logger.warning(
                "The broker takes no messages, its memory or disk is full: waiting"
            )
            _wait_at_most(connection, self.alarm_seconds)

    def _note_unblocked(self, connection: Any) -> None:
        if self.alarm_seconds is not None:
            logger.warning("The broker takes messages again")
            _wait_at_most(connection, self.seconds)


def _wait_at_most(connection: Any, seconds: float) -> None:
    """Limit how long reads and writes wait that set no limit of their own."""
    whole = int(seconds)
    limit = struct.pack("ll", whole, int((seconds - whole) * 1e6))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.sock.setsockopt(socket.SOL_SOCKET, option, limit)


def give_up(error: Exception, pause: float) -> None:
    """End publishing when the broker is silent: a client does not wait for another try.

    Raises:
        OperationalError: it did not answer; one that is away is tried again.
    """
    del pause
    if isinstance(error, TimeoutError):
        raise OperationalError(_in_words(error)) from error


def go_on(error: Exception, pause: float) -> None:
    """Say that a worker's publishing waits; kombu tells of each failure."""
    if not pause:  # else it is the next try of the same
        logger.warning("Publishing waits for the broker: %s", _in_words(error))


def _in_words(error: Exception) -> str:
    return str(error) or "it gives no answer"
