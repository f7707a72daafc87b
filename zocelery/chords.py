"""Chords with ids and sizes known beforehand, on Celery's own result backend.

`chord()` counts as it publishes and draws its ids by lot, so that a publisher which is
killed and run again makes a second chord. Here the id follows from the run and the
size from the recipe; a part counts once however often it arrives. `set_chord_size` and
`on_chord_part_return` are the methods of Celery's backends that `chord()` itself uses.
"""

from typing import Any

from celery import Celery, Signature, states
from celery.app.task import Context


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


def nudge(app: Celery, chord: str, body: Signature[Any]) -> None:
    """Look again whether `chord` is complete; publish `body` if it is.

    For a chord whose last part arrived in a worker that died before it could publish.
    """
    backend: Any = app.backend  # the Redis one
    arrived = backend.client.srandmember(backend.get_key_for_group(chord, ".d"))
    if arrived:
        text = arrived.decode() if isinstance(arrived, bytes) else str(arrived)
        arrive(app, chord, text.rpartition(":")[0], body)
