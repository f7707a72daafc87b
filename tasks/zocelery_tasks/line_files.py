"""Files of JSON lines: one payload a line, each once however often it is delivered."""

import errno
import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from zocelery.allowed_files import allowed_path
from zocelery.deployment import current_deployment
from zocelery.errors import ParameterError, PermanentError, TemporaryError
from zocelery.messages import Step
from zocelery.store import run_key

BEGUN = "lines"
"""The part of a run's live state that says at which byte each unit began its line."""
_PASSING = {errno.EINTR, errno.EAGAIN, errno.EIO, errno.ENOSPC, errno.EDQUOT}
_PASSING |= {errno.ESTALE, errno.ETIMEDOUT, errno.ENOLCK, errno.EDEADLK}

_threads = threading.Lock()
"""Locks of files on NFS are a process's: its threads wait for each other here."""


def append_line(
    step: Step, file: str, include: Sequence[str] | None, exclude: Sequence[str]
) -> dict[str, Any]:
    """Add a payload to a file, which is made if it is not there.

    Writers wait for each other. What a writer that died has left of a line is removed
    by the next. A unit that comes again looks at the place where it began before: if
    its line is there it adds none.

    Raises:
        PermanentError: tasks may not write there.
        TemporaryError: the disk is full, or away.
    """
    payload = step.payload
    if isinstance(payload, Mapping):
        names = (
            payload.keys() if include is None else [k for k in include if k in payload]
        )
        payload = {name: payload[name] for name in names if name not in exclude}
    line = json.dumps(payload).encode() + b"\n"
    try:
        path = allowed_path(file, "output_filename")
        with _locked(path) as stream:
            return {"file": str(path), "written": _add(step, stream, line)}
    except ParameterError as error:
        raise PermanentError(f"json_lines: {error}") from error
    except OSError as error:
        kind = TemporaryError if error.errno in _PASSING else PermanentError
        raise kind(f"json_lines: {file}: {error.strerror or error}") from error


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "r+b", buffering=0) as stream, _threads:
        fcntl.flock(stream, fcntl.LOCK_EX)  # given back when the file is closed
        yield stream


def _add(step: Step, stream: BinaryIO, line: bytes) -> bool:
    """Write the line behind the last whole one; False if it is there already."""
    before = _begun(step)
    if before is not None:
        stream.seek(before)
        if stream.read(len(line)) == line:
            return False
    end = _end_of_lines(stream)
    stream.truncate(end)
    _note_begin(step, end)
    stream.seek(end)
    rest = memoryview(line)
    while rest:
        rest = rest[stream.write(rest) :]
    os.fsync(stream.fileno())
    return True


def _end_of_lines(stream: BinaryIO) -> int:
    """Return where the last line that is whole ends."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 65536)
        stream.seek(start)
        found = stream.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _begun(step: Step) -> int | None:
    """Return where an earlier try began its line, None if there was none."""
    if not step.run_id:
        return None
    store = current_deployment().store
    told = store.client.hget(run_key(step.run_id, BEGUN), step.unit)
    return None if told is None else int(told)


def _note_begin(step: Step, place: int) -> None:
    if not step.run_id:
        return
    with current_deployment().store.client.pipeline() as pipe:
        pipe.hset(run_key(step.run_id, BEGUN), step.unit, place)
        pipe.sadd(run_key(step.run_id, "names"), BEGUN)
        pipe.execute()
