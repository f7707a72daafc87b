"""How a program has ended, for the history, for channels and for people."""

import shlex
import shutil
import time
from pathlib import Path
from typing import Any

from zocelery.errors import ProgramError
from zocelery_tasks.wrappers.process import Command, Ending, Outcome
from zocelery_tasks.wrappers.program_log import last_lines

LONGEST_COMMAND = 500
"""Characters of a command line in a message for people."""
FULL = 1_000_000
"""Bytes: with less a disk is called full."""


def program_columns(command: Command) -> dict[str, Any]:
    """Return what the history says of every program."""
    return {
        "program": Path(command.arguments[0]).name,
        "command": list(command.arguments),
        "folder": str(command.folder),
        "log": str(command.log),
    }


def outcome_columns(outcome: Outcome) -> dict[str, Any]:
    """Return what the history says of a program that has ended."""
    success = outcome.exit_code == 0 and outcome.ending is Ending.ITSELF
    is_ours = outcome.ending is Ending.STOPPED or outcome.job_state in ("", "FAILED")
    word = outcome.ending.value if is_ours else outcome.job_state.lower()
    where = {"host": f"{outcome.host} (job {outcome.job})"} if outcome.job else {}
    return {
        **where,
        "state": "done" if success else word,
        "ended": time.time(),
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "cpu_seconds": outcome.cpu_seconds,
        "peak_memory_bytes": outcome.peak_memory_bytes,
    }


def told_outcome(command: Command, outcome: Outcome) -> dict[str, Any]:
    """Return what a wrapper's answer says of one of its programs."""
    told = {
        "program": Path(command.arguments[0]).name,
        "command": list(command.arguments),
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "seconds": round(outcome.seconds, 3),
        "cpu_seconds": round(outcome.cpu_seconds, 3),
        "peak_memory_bytes": outcome.peak_memory_bytes,
        "log": str(command.log),
        "working_directory": str(command.folder),
    }
    if outcome.job:
        told |= {"job": outcome.job, "job_state": outcome.job_state}
        told |= {"host": outcome.host}
    return told


def program_failure(command: Command, outcome: Outcome) -> ProgramError:
    """Return the error that says how a program failed."""
    shown = shlex.join(command.arguments)[:LONGEST_COMMAND]
    program = Path(command.arguments[0]).name
    lines = last_lines(command.log)
    said = f"; it said: {' | '.join(lines)}" if lines else ""
    details = {**told_outcome(command, outcome), "last_lines": lines}
    return ProgramError(
        f"{program} {_how(command, outcome)} (command: {shown}; folder: "
        f"{command.folder}){_full_disk(command)}{said}",
        details,
    )


def _full_disk(command: Command) -> str:
    """Return that there is no space left: a log on the same disk cannot say it."""
    try:
        free = shutil.disk_usage(command.folder).free
    except OSError:
        return ""
    return "; the disk of its folder is full" if free < FULL else ""


def _how(command: Command, outcome: Outcome) -> str:
    if outcome.ending is not Ending.TIMEOUT:
        return outcome.how
    if outcome.job_state in ("TIMEOUT", "DEADLINE"):
        return f"took longer than job {outcome.job} may (Slurm: {outcome.job_state})"
    seconds = f"{command.timeout or 0:.1f}".removesuffix(".0")
    return f"took longer than {seconds} s"
