"""Ids that come out the same however often they are worked out.

The id of a task, of a stream and of a chord follows from the run and the way through
the recipe: a task that is run twice publishes the same messages twice, and whoever
receives them can tell.
"""

import re
import socket
import uuid
from collections.abc import Iterable
from functools import lru_cache

from zocelery.errors import ParameterError

_NAMESPACE = uuid.UUID("5f0c1a52-6d0b-4b0e-9a51-7a6f63656c79")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def new_run_id() -> str:
    """Return an id for a new run."""
    return str(uuid.uuid4())


def check_run_id(run: str) -> str:
    """Return `run` if it can be a run's id.

    Raises:
        ParameterError: it is empty, too long or has characters that are not allowed.
    """
    if not _RUN_ID.fullmatch(run):
        raise ParameterError(
            f"run id {run!r}: 1 to 64 letters, digits, dots, dashes and underscores"
        )
    return run


def start_unit(run: str, index: int) -> str:
    """Return the id of the unit that start number `index` of a run begins with."""
    return _derive(run, "start", str(index))


def child_unit(
    parent: str, channel: str, node: str, item: str | None, copy: int = 0
) -> str:
    """Return the id of the unit of `node` that `parent` feeds.

    `copy` tells apart the messages of a channel that feeds one node several times.
    """
    again = (str(copy),) if copy else ()
    return _derive(parent, channel, node, item or "", *again)


def stream_id(unit: str, channel: str) -> str:
    """Return the id of the stream that `unit` emits on `channel`."""
    return _derive(unit, "stream", channel)


def bundle_id(units: Iterable[str]) -> str:
    """Return the id of the message that brings several units."""
    return _derive("bundle", *units)


def scope_instance(run: str, stream: str, item: str) -> str:
    """Return the id of the scope that a member of a stream opens, or of the run."""
    return _derive(stream, "item", item) if stream else run


@lru_cache(maxsize=1000)  # each member of a stream asks for it
def gather_unit(instance: str, gather: str) -> str:
    """Return the id of the only unit of `gather` in a scope."""
    return _derive(instance, "gather", gather)


def chord_id(within: str, gather: str) -> str:
    """Return the id of the chord of `gather` over a scope or over a stream."""
    return _derive(within, "chord", gather)


def part_id(unit: str, gather: str, number: int) -> str:
    """Return the id of a part that `unit` owes to `gather` and pays without a task."""
    return _derive(unit, "part", gather, str(number))


def host_name() -> str:
    """Return the name by which this machine is known in history and logs."""
    return socket.gethostname()


def _derive(*parts: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, "\0".join(parts)))
