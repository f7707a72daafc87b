"""The drop folder: where requests wait while the servers are away.

A request is a file of its own with the run's id in it, fixed when it was stored. It is
taken away when the run exists: whoever is killed in between, the next one submits it
under the same id, which starts nothing twice.
"""

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from kombu.exceptions import OperationalError as BrokerError
from pydantic import ValidationError
from redis.exceptions import RedisError

from zocelery import identity
from zocelery.deployment import Deployment, current_deployment
from zocelery.errors import (
    ConfigurationError,
    InputFileError,
    ServerUnreachableError,
    UserError,
)
from zocelery.recipe import Frozen, Recipe
from zocelery.registry import load_catalogue
from zocelery.run import Run
from zocelery.submission import Urgency, check_servers, launch, prepare

VERSION = 1
"""Of what is in a file; a newer one is left to a newer `zocelery pickup`."""
REFUSED_FOLDER = "refused"
AWAY_ERRORS = (ServerUnreachableError, BrokerError, RedisError)
"""What says that a server is away."""
_ABANDONED_SECONDS = 3600.0
"""No submitter that lives takes longer to write a file."""


class StoredRequest(Frozen):
    """A submission that waits for the servers."""

    version: int = VERSION
    run: str
    """The id that the run will have."""
    recipe: Recipe
    """With its placeholders: the parameters fill it in when it is sent."""
    parameters: Mapping[str, Any]
    urgency: Urgency = "live"
    deadline: float | None = None
    """Seconds from its submission; None for what the configuration then says."""
    host: str
    """Where it was submitted."""
    stored: float
    """Unix time, s."""


class PickedUp(Frozen):
    """What became of one file of the drop folder."""

    event: Literal["sent", "refused", "left"]
    file: Path
    """Where it was; for refused ones where it is now."""
    run: str | None = None
    reason: str | None = None
    """Why it was refused or left."""


def configured_folder(deployment: Deployment) -> Path | None:
    """Return the drop folder of the configuration, or None if there is none."""
    folder = deployment.settings.run.drop_folder
    return Path(folder).expanduser() if folder else None


def store_request(
    folder: Path,
    recipe: Recipe,
    parameters: Mapping[str, Any],
    run_id: str,
    urgency: Urgency = "live",
    deadline: float | None = None,
) -> Path:
    """Store a request safely on disk and return its file.

    Raises:
        InputFileError: the folder cannot be written to.
    """
    now = time.time()
    request = StoredRequest(
        run=identity.check_run_id(run_id),
        recipe=recipe,
        parameters=dict(parameters),
        urgency=urgency,
        deadline=deadline,
        host=identity.host_name(),
        stored=now,
    )
    name = f"{int(now * 1e6):017d}-{run_id}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{name}.{os.getpid()}"
        with draft.open("x") as stream:
            stream.write(request.model_dump_json(indent=1))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(folder / name)
        _sync(folder)
    except OSError as error:
        raise InputFileError(
            f"drop folder {folder}: cannot be written to: {error.strerror}"
        ) from error
    return folder / name


def pick_up(folder: Path) -> Iterator[PickedUp]:
    """Send what waits in a drop folder, oldest first; yield what became of each file.

    Several may do so at once: each file is taken by one of them.

    Raises:
        ServerUnreachableError: a server is still away; what was not sent stays.
        InputFileError: the folder cannot be read.
    """
    from zocelery.celery import app

    deployment = current_deployment()
    waiting = _waiting(folder)
    if waiting:
        check_servers(app, deployment)
    for file in waiting:
        with _claimed(file) as text:
            if text is not None:
                yield _deal_with(deployment, file, text)


def _waiting(folder: Path) -> list[Path]:
    try:
        names = sorted(file.name for file in folder.iterdir())
    except OSError as error:
        raise InputFileError(
            f"drop folder {folder}: cannot be read: {error.strerror}"
        ) from error
    for name in names:
        draft = folder / name
        with suppress(OSError):
            if name.startswith(".") and _age(draft) > _ABANDONED_SECONDS:
                draft.unlink()
    return [
        folder / name
        for name in names
        if name.endswith(".json") and not name.startswith(".")
    ]


def _age(file: Path) -> float:
    return time.time() - file.stat().st_mtime


@contextmanager
def _claimed(file: Path) -> Iterator[bytes | None]:
    """Hold a file for this process alone; yield its content, None if it is taken.

    The lock goes with its holder, however that ends.
    """
    try:
        stream = file.open("rb")
    except FileNotFoundError:
        yield None
        return
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            here = file.stat().st_ino == os.fstat(stream.fileno()).st_ino
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.ENOENT):
                raise
            here = False
        yield stream.read() if here else None


def _deal_with(deployment: Deployment, file: Path, text: bytes) -> PickedUp:
    try:
        request = _read(file, text)
        if isinstance(request, int):
            reason = f"version {request}, this zocelery reads up to {VERSION}"
            return PickedUp(event="left", file=file, reason=reason)
        run = _send(deployment, request)
    except AWAY_ERRORS:
        raise
    except UserError as error:
        return _set_aside(file, str(error))
    file.unlink()
    _sync(file.parent)
    return PickedUp(event="sent", file=file, run=run.id)


def _read(file: Path, text: bytes) -> StoredRequest | int:
    """Return the request in a file, or its version if that is too new.

    Raises:
        InputFileError: it cannot be read as a request.
    """
    try:
        document = json.loads(text)
        version = document["version"]
        if isinstance(version, int) and version > VERSION:
            return version
        request = StoredRequest.model_validate(document)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        shown = _first_problem(error)
        raise InputFileError(f"{file}: is not a stored request: {shown}") from error
    identity.check_run_id(request.run)
    return request


def _first_problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _send(deployment: Deployment, request: StoredRequest) -> Run:
    """Start the run, unless it has been started before."""
    live = deployment.store.state(request.run)
    known = deployment.history.find_run(request.run) is not None
    if (live is None and known) or (live is not None and live != "submitting"):
        return Run(request.run, deployment)
    catalogue = load_catalogue(deployment.settings.queues)
    prepared = prepare(request.recipe, request.parameters, catalogue)
    return launch(
        prepared,
        request.parameters,
        run_id=request.run,
        urgency=request.urgency,
        deadline=request.deadline,
        template=request.recipe,
    )


def _set_aside(file: Path, reason: str) -> PickedUp:
    """Move a file that can never be sent out of the way, with the reason beside it."""
    folder = file.parent / REFUSED_FOLDER
    folder.mkdir(exist_ok=True)
    (folder / f"{file.name}.reason.txt").write_text(f"{reason}\n")
    moved = file.rename(folder / file.name)
    return PickedUp(event="refused", file=moved, reason=reason)


def _sync(folder: Path) -> None:
    """Let what was renamed in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_folder(deployment: Deployment) -> Path:
    """Return the drop folder of the configuration.

    Raises:
        ConfigurationError: there is none.
    """
    folder = configured_folder(deployment)
    if folder is None:
        raise ConfigurationError("no drop folder is configured (run.drop_folder)")
    return folder
