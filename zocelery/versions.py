"""Versions: what a worker does with what a newer zocelery has written.

Messages and stored runs carry the major version of their form. Within one of these
something may only be added, which older workers pass over. What is of a newer one is
not guessed at: the message is parked, to be re-injected when newer workers serve its
queue; stored rows and runs are left to newer workers.
"""

from typing import Any

from zocelery.errors import NewerVersionError

MESSAGE_VERSION = 1
"""Of messages, of what is stored with a run, and of rows of watches and long tasks."""
VERSION_HEADER = "zocelery"
"""The header of every message that says its version; without it, it is 1."""


def newer_problem(version: Any) -> str | None:
    """Return why something of this version is not for this worker, or None if it is."""
    known = isinstance(version, int) and 1 <= version <= MESSAGE_VERSION
    if version is None or known:
        return None
    return f"version {version!r:.20}, this zocelery understands up to {MESSAGE_VERSION}"


def refuse_newer(what: str, version: Any) -> None:
    """Raise NewerVersionError if `what` is of a version that is not understood."""
    problem = newer_problem(version)
    if problem is not None:
        raise NewerVersionError(f"{what}: {problem}")
