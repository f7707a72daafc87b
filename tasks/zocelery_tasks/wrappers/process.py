"""An external program and everything that it starts, ended together.

Between a worker and a program stands `supervisor.py`, which ends the program with all
its descendants when it is asked to, and when the worker dies, however it dies.
"""

import errno
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from zocelery.errors import PermanentError
from zocelery_tasks.wrappers import supervisor

UNIT_VARIABLE = "ZOCELERY_UNIT"
"""In the environment of every program, and so of all that it starts: whose it is."""
LOOK_SECONDS = 0.25
PATIENCE = 15.0
"""Seconds after the grace in which the supervisor has to answer."""


class Ending(StrEnum):
    """Why a program is no longer running."""

    ITSELF = "itself"
    TIMEOUT = "timeout"
    STOPPED = "stopped"
    LOST = "lost"
    """The machine has failed it, not the program: another try may help."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run: a list of arguments, never a line for a shell."""

    arguments: Sequence[str]
    """The program's name comes first."""
    folder: Path
    environment: Mapping[str, str]
    log: Path
    """Where stdout and stderr go; what stands there already is kept."""
    timeout: float | None = None
    """Seconds."""
    grace: float = 2.0
    """Seconds between SIGTERM and SIGKILL."""
    executable: str | None = None
    """Where the program is; by default it is looked for in `environment`."""
    nice: int = 0
    """How much nicer than the worker it is; a job of a cluster is as nice as any."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program has ended and what it took."""

    exit_code: int | None
    """None if a signal ended it."""
    signal: str | None
    """Name of the signal that ended it, `SIGSEGV`."""
    ending: Ending
    seconds: float
    cpu_seconds: float
    """User and system time of all processes that it started."""
    peak_memory_bytes: int
    """Resident memory of its largest process."""
    job: str = ""
    """Id of the Slurm job that it ran as, if it did."""
    job_state: str = ""
    """Slurm's word for the job's end, `OUT_OF_MEMORY`, if it is known."""
    job_said: str = ""
    """What Slurm has written to the job's own log, `Exceeded job memory limit`."""
    host: str = ""
    """The node that it ran on, if that is known."""

    @property
    def how(self) -> str:
        """How it ended, for people."""
        is_named = self.job_state not in ("", "FAILED", "COMPLETED")
        is_silent = self.exit_code is None and self.signal is None
        if self.job and (is_named or is_silent):
            words = [self.job_state or "lost", self.job_said]
            said = ": ".join(word for word in words if word)
            return f"was ended with its job {self.job} (Slurm: {said})"
        if self.signal is not None:
            return f"was ended by {self.signal}"
        return f"ended with exit code {self.exit_code}"


def run_command(command: Command, look: Callable[[], bool]) -> Outcome:
    """Run a program to its end.

    Args:
        command: what to run.
        look: called several times a second; if it answers True the program is ended.

    Raises:
        PermanentError: the program cannot be started.
    """
    order = json.dumps(
        {
            "arguments": list(command.arguments),
            "executable": command.executable,
            "folder": str(command.folder),
            "environment": dict(command.environment),
            "log": str(command.log),
            "nice": command.nice,
        }
    ).encode()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(supervisor.__file__), str(len(order))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"},
    )
    try:
        _write(process, order)
        ending, answer = _wait(process, command, look)
    finally:
        _let_go(process, command.grace)
    return _outcome(command, ending, answer)


def _wait(
    process: "subprocess.Popen[bytes]", command: Command, look: Callable[[], bool]
) -> tuple[Ending, bytes]:
    """Wait for the supervisor's answer; ask it to stop when it is time to."""
    assert process.stdout is not None
    started = time.monotonic()
    ending, patient_until = Ending.ITSELF, float("inf")
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < patient_until:
            if selector.select(LOOK_SECONDS):
                return ending, process.stdout.readline()
            if ending is not Ending.ITSELF:
                continue
            late = time.monotonic() - started > (command.timeout or float("inf"))
            if look() or late:
                ending = Ending.TIMEOUT if late else Ending.STOPPED
                _write(process, f"stop {command.grace}\n".encode())
                patient_until = time.monotonic() + command.grace + PATIENCE
    return ending, b""


def _write(process: "subprocess.Popen[bytes]", text: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(text)
        process.stdin.flush()
    except BrokenPipeError:  # it has just ended, and has answered
        return


def _let_go(process: "subprocess.Popen[bytes]", grace: float) -> None:
    """Close the pipes: a supervisor that still runs ends what it has, and itself."""
    try:
        process.communicate(timeout=grace + PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _outcome(command: Command, ending: Ending, answer: bytes) -> Outcome:
    program = command.arguments[0]
    if not answer:
        end_leftovers(command.environment.get(UNIT_VARIABLE, ""))
        raise PermanentError(f"{program}: its supervisor was killed")
    told: dict[str, Any] = json.loads(answer)
    if "error" in told:
        raise PermanentError(_not_started(command, told["error"]))
    return Outcome(
        exit_code=told["exit_code"],
        signal=signal_name(told["signal"]),
        ending=ending,
        seconds=told["seconds"],
        cpu_seconds=told["cpu_seconds"],
        peak_memory_bytes=told["peak_memory_bytes"],
    )


def _not_started(command: Command, error: str) -> str:
    """Say what could not be started; a bare "No such file" might mean anything."""
    program = command.arguments[0]
    if "/" not in program and command.executable is None:
        place = f"is not installed on {os.uname().nodename}"
        return f"command {program} {place}: it is nowhere on the PATH of the worker"
    at = command.executable or program
    is_missing = error == os.strerror(errno.ENOENT)
    if is_missing and not command.folder.is_dir():
        error = "the folder is not there"
    elif is_missing and Path(at).is_file():
        error = "what its first line names, or its loader, is not there"
    return f"{program}: {at} cannot be started in {command.folder}: {error}"


def signal_name(number: int | None) -> str | None:
    """Return `SIGKILL` for 9; None for None."""
    if number is None:
        return None
    if signal.SIGRTMIN < number < signal.SIGRTMAX:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    try:
        return signal.Signals(number).name
    except ValueError:  # one that only C's library knows
        return f"signal {number}"


def end_leftovers(unit: str) -> int:
    """Kill what an earlier try of `unit` has left running here; return how many.

    Needed only where worker and supervisor were killed at the same moment.
    """
    if not unit:
        return 0
    mark = f"{UNIT_VARIABLE}={unit}".encode()
    found = [pid for pid in _own_processes() if mark in _environment(pid)]
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    return len(found)


def _own_processes() -> list[int]:
    names = (folder.name for folder in Path("/proc").iterdir())
    return [
        int(name) for name in names if name.isdecimal() and int(name) != os.getpid()
    ]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
