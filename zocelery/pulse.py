"""Pulse: files by which a worker says that it is ready and alive.

systemd, Kubernetes and `zocelery run` look at the files; no broker is asked.
"""

import os
import time
from pathlib import Path
from typing import Any

from celery import bootsteps

from zocelery.errors import ServerUnreachableError

READY_VARIABLE = "ZOCELERY_READY_FILE"
"""Names the file that a worker makes when it takes messages, and removes at its end."""
ALIVE_VARIABLE = "ZOCELERY_ALIVE_FILE"
"""Names the file that a worker touches from its main loop."""
PULSE_SECONDS = 5.0


class PulseStep(bootsteps.StartStopStep):
    """Touches the worker's file of life while its main loop goes round."""

    requires = ("celery.worker.components:Timer",)

    def start(self, worker: Any) -> None:
        """Begin to touch the file, if one is named."""
        name = os.environ.get(ALIVE_VARIABLE)
        if name:
            Path(name).touch()
            worker.timer.call_repeatedly(PULSE_SECONDS, Path(name).touch)


def say_ready() -> None:
    """Make the file that says that this worker is ready, if one is named."""
    name = os.environ.get(READY_VARIABLE)
    if name:
        Path(name).write_text(f"{os.getpid()}\n")


def say_gone() -> None:
    """Remove the files of this worker."""
    for variable in (READY_VARIABLE, ALIVE_VARIABLE):
        name = os.environ.get(variable)
        if name:
            Path(name).unlink(missing_ok=True)


def check_ready(file: Path) -> None:
    """Raise ServerUnreachableError unless the worker of `file` takes messages."""
    try:
        pid = int(file.read_text())
        os.kill(pid, 0)
    except PermissionError:  # it lives, under another account
        return
    except (OSError, ValueError) as error:
        raise ServerUnreachableError(f"{file}: no worker is ready") from error


def check_alive(file: Path, most: float) -> None:
    """Raise ServerUnreachableError unless `file` was touched in the last `most` s."""
    try:
        age = time.time() - file.stat().st_mtime
    except OSError as error:
        raise ServerUnreachableError(f"{file}: no worker has a pulse there") from error
    if age > most:
        raise ServerUnreachableError(f"{file}: the last pulse was {age:.0f} s ago")
