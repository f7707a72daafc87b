"""Chords with ids and sizes known beforehand, on Celery's own result backend.

`chord()` counts as it publishes and draws its ids by lot, so that a publisher which is
killed and run again makes a second chord. Here the id follows from the run and the
size from the recipe; a part counts once however often it arrives. `set_chord_size` and
`on_chord_part_return` are the methods of Celery's backends that `chord()` itself uses.
"""

import json
from functools import lru_cache
from typing import Any, NamedTuple

from celery import Celery, Signature, states
from celery.app.task import Context
from celery.backends import redis as redis_backend

PART_SCRIPT: str = vars(redis_backend)["CHORD_PART_RETURN_LUA"]
"""With it Celery's backend counts a part; it is given what a `Part` has."""


class Part(NamedTuple):
    """A part that is about to arrive: keys and arguments of `PART_SCRIPT`."""

    keys: tuple[str | bytes, ...]
    args: tuple[str | int, ...]


NO_PART = Part((), ())
_ORDERED = 1
"""As Celery keeps parts unless it is told otherwise."""
_NO_CLAIM = 1
"""Seconds; only the part that completes a chord claims its body."""


def header_options(chord: str, body: Signature[Any]) -> dict[str, Any]:
    """Return the publishing options that make a task a part of `chord`."""
    return {"group_id": chord, "group_index": 0, "chord": dict(body)}


def set_chord_size(app: Celery, chord: str, size: int) -> None:
    """Say how many parts the chord waits for; set before the last of them arrives."""
    app.backend.set_chord_size(chord, size)


def is_pending(app: Celery, chord: str) -> bool:
    """Whether the chord waits for parts: it has not published its body, nor failed.

    One that is complete is not waited for: who was about to publish its body may have
    been killed, and Celery leaves the claim to it for minutes.
    """
    backend: Any = app.backend  # the Redis one
    with backend.client.pipeline() as pipe:
        pipe.get(backend.get_key_for_group(chord, ".s"))
        pipe.scard(backend.get_key_for_group(chord, ".d"))
        size, arrived = pipe.execute()
    return size is not None and int(arrived) < int(size)


def arrive(app: Celery, chord: str, part: str, body: Signature[Any]) -> None:
    """Let a part of `chord` arrive without a task; the last part publishes `body`.

    A part that arrives again changes nothing, but looks again whether the chord is
    complete: this is how a gather whose publisher was killed is set going.
    """
    request = Context(id=part, group=chord, group_index=0, chord=dict(body))
    app.backend.on_chord_part_return(request, states.SUCCESS, None)


def part_of(app: Celery, chord: str, part: str) -> Part:
    """Return what Celery's script is given when a part that is not the last arrives.

    `arrive` says the same to Redis. The script alone publishes nothing: the last part
    has to arrive by `arrive`.
    """
    keys, kept, longest = _chord_keys(app, chord)
    value = json.dumps([1, part, states.SUCCESS, None])
    return Part(keys, (part, value, _ORDERED, 0, kept, longest, _NO_CLAIM, ""))


@lru_cache(maxsize=100)
def _chord_keys(app: Celery, chord: str) -> tuple[tuple[str | bytes, ...], int, int]:
    """Return the keys of a chord, and for how long it and its results are kept, s."""
    backend: Any = app.backend  # the Redis one
    ends = (".j", ".t", ".s", ".d", "", ".c")
    keys = tuple(backend.get_key_for_group(chord, end) for end in ends)
    kept, results_kept = backend.chord_expires or 0, backend.expires or 0
    return keys, kept, max(kept, results_kept) if kept and results_kept else 0


def nudge(app: Celery, chord: str, body: Signature[Any]) -> None:
    """Look again whether `chord` is complete; publish `body` if it is.

    For a chord whose last part arrived in a worker that died before it could publish.
    """
    backend: Any = app.backend  # the Redis one
    arrived = backend.client.srandmember(backend.get_key_for_group(chord, ".d"))
    if arrived:
        text = arrived.decode() if isinstance(arrived, bytes) else str(arrived)
        arrive(app, chord, text.rpartition(":")[0], body)
