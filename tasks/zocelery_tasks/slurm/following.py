"""A program that runs as a Slurm job: submitted once, followed to its end, ended.

Files in a folder beside the program's own, seen by workers and nodes, hold what counts:
the claim of the job that runs the program, and the report of what became of it. Slurm
is asked why there is none, and who is to be ended. So a worker may die, and Slurm's
controller may be away, while the program goes on.
"""

import json
import logging
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zocelery.cluster_settings import ClusterSettings
from zocelery.errors import PermanentError, StoppedError
from zocelery_tasks.slurm import launcher
from zocelery_tasks.slurm.jobs import LOST, TOO_LONG, Job, JobOrder, SlurmClient
from zocelery_tasks.slurm.jobs import SlurmUnreachableError as Unreachable
from zocelery_tasks.wrappers import supervisor
from zocelery_tasks.wrappers.process import Command, Ending, Outcome, signal_name
from zocelery_tasks.wrappers.program_log import last_lines

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
REPORT_SECONDS = 30.0
"""A report may be seen so long after the job's end: file servers are slow to tell."""
SILENT_SECONDS = 5.0
"""So long it is waited for if Slurm has ended the job itself; launchers give a sign of
life each second."""
STATE_SECONDS = 15.0
"""So long Slurm is asked what it calls the end of a program that failed."""
END_SECONDS = 20.0
"""A job that is ended is waited for so long, beside its grace."""
SUBMIT_PAUSE = 5.0
_EXPLAINED = LOST | TOO_LONG | {"OUT_OF_MEMORY"}
_SLURMS = ": error: "
"""Between the name of a part of Slurm and what it has to say."""


@dataclass(frozen=True, slots=True)
class Told:
    """Whom a job tells of its life."""

    look: Callable[[], bool]
    """Called twice a second; answers whether to leave the job alone or to end it."""
    is_cancelled: Callable[[], bool]
    keep: Callable[[Mapping[str, Any]], None]
    """Stores what `known` has to be if another worker follows the job."""
    say: Callable[[str, Job | None], None]
    """Is given each change of the job's state."""


class FollowedJob:
    """One program of one try as a job."""

    def __init__(
        self,
        command: Command,
        order: JobOrder,
        client: SlurmClient,
        settings: ClusterSettings,
        told: Told,
        known: Mapping[str, Any],
    ) -> None:
        """Run `command`; `known` is what was kept of it, or empty."""
        self._command = command
        self._order = order
        self._client = client
        self._settings = settings
        self._told = told
        self._known = known
        self._folder = control_folder(command.folder)
        self._position = order.name.rpartition("-")[2]
        self._began = time.monotonic()
        self._job = str(known.get("id") or "")
        self._found: Job | None = None
        self._asked = 0.0
        self._has_ended = False
        self._last_beat = (-1, 0.0)
        self._said = ""

    def run(self) -> Outcome:
        """Submit the job, or follow one that is there; return how the program ended.

        Raises:
            PermanentError: Slurm refuses the job, or it could not begin.
            StoppedError: the worker stops following; the job goes on.
        """
        self._job = self._job or self._claimed() or self._submit()
        while True:
            must_stop = self._told.look()
            report = self._report()
            if report is not None:
                return self._end(report)
            if must_stop and self._told.is_cancelled():
                return self._cancel()
            if must_stop:
                raise StoppedError(f"job {self._job} is left to another worker")
            if self._is_over() and self._is_silent():
                return self._end_without_report()
            time.sleep(LOOK_SECONDS)

    # before

    def _submit(self) -> str:
        """Submit the job unless Slurm has it already; wait for Slurm if need be."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        asked = bool(self._known)
        self._told.keep({"name": self._order.name})
        while not self._told.look():
            try:
                job = self._find_earlier() if asked else None
                if job is None and not self._claimed():
                    self._write_order()
                    asked = True
                    job = self._client.submit(self._order)
                job = job or self._claimed()
            except Unreachable as error:
                self._say(f"waits for Slurm: {error}")
                self._wait(SUBMIT_PAUSE)
                continue
            self._told.keep({"name": self._order.name, "id": job})
            self._say(f"job {job} is submitted")
            return job
        if self._told.is_cancelled() and asked:
            self._cancel_what_was_asked_for()
        raise StoppedError("no job was submitted")

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._told.look():
            time.sleep(LOOK_SECONDS)

    def _find_earlier(self) -> str | None:
        """Return the id of a job that was submitted without our hearing of it."""
        found = self._client.find(self._order.name)
        return found.id if found else None

    def _write_order(self) -> None:
        """Write what the launcher on the node is to run, and the launcher."""
        home = self._folder / "launcher"
        home.mkdir(exist_ok=True)
        shutil.copyfile(launcher.__file__, home / "__main__.py")
        shutil.copyfile(supervisor.__file__, home / "supervisor.py")
        command = self._command
        order = {
            "arguments": list(command.arguments),
            "folder": str(command.folder),
            "environment": dict(command.environment),
            "log": str(command.log),
            "timeout": command.timeout,
            "grace": command.grace,
        }
        file = self._folder / f"{self._position}.order"
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            json.dump(order, stream)

    # meanwhile

    def _claimed(self) -> str:
        """Return the id of the job that has begun the program, if one has."""
        try:
            return (self._folder / f"{self._position}.claim").read_text()
        except OSError:
            return ""

    def _report(self) -> dict[str, Any] | None:
        try:
            text = (self._folder / f"{self._position}.report").read_text()
        except OSError:
            return None
        report: dict[str, Any] = json.loads(text)
        return report

    def _is_over(self) -> bool:
        """Ask Slurm, now and then, for the job's state; whether it has ended."""
        if time.monotonic() - self._asked >= self._settings.poll:
            self._has_ended = self._ask()
        return self._has_ended

    def _is_silent(self) -> bool:
        """Whether a job that Slurm has done with gives no sign of life any more.

        A controller that was killed may have forgotten a job that runs.
        """
        list(self._folder.iterdir())  # file servers then look again
        beat, now = self._beat(), time.monotonic()
        if beat != self._last_beat[0]:
            self._last_beat = beat, now
        state = self._found.state if self._found else ""
        is_explained = state in _EXPLAINED or bool(self._said_by_slurm())
        patience = SILENT_SECONDS if is_explained else REPORT_SECONDS
        return now - self._last_beat[1] > patience

    def _beat(self) -> int:
        """Return when the launcher has last given a sign of life, by its own clock."""
        try:
            return (self._folder / f"{self._position}.claim").stat().st_mtime_ns
        except OSError:
            return 0

    def _ask(self) -> bool:
        self._asked = time.monotonic()
        try:
            self._found = self._client.find(self._order.name, self._job)
        except Unreachable as error:
            logger.warning("Slurm cannot be asked for job %s: %s", self._job, error)
            return False
        if self._found is None:
            return True
        state, reason = self._found.state, self._found.reason
        why = f" ({reason})" if reason not in ("", "None") else ""
        self._say(f"job {self._job} is {state}{why}", self._found)
        return self._found.is_over

    def _say(self, text: str, found: Job | None = None) -> None:
        if text != self._said:
            self._said = text
            self._told.say(text, found)

    # after

    def _end(self, report: Mapping[str, Any]) -> Outcome:
        if "error" in report:
            raise PermanentError(
                f"{self._command.arguments[0]}: cannot be started in "
                f"{self._command.folder} on {report['host']}: {report['error']}"
            )
        if report["is_late"]:
            return self._outcome(Ending.TIMEOUT, report)
        if report["exit_code"] == 0 and not report["stopped"]:
            return self._outcome(Ending.ITSELF, report)
        if self._told.is_cancelled():
            return self._outcome(Ending.STOPPED, report)
        state = self._name_end()
        if state in LOST:
            return self._outcome(Ending.LOST, report)
        if state in TOO_LONG:
            return self._outcome(Ending.TIMEOUT, report)
        return self._outcome(Ending.ITSELF, report)

    def _name_end(self) -> str:
        """Return Slurm's word for the end of the job, or "" if it does not tell."""
        until = time.monotonic() + STATE_SECONDS
        while not self._ask() and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        return self._found.state if self._found and self._found.is_over else ""

    def _end_without_report(self) -> Outcome:
        """Say how a job has ended that left no word: killed, lost, never begun."""
        state = self._found.state if self._found else ""
        claimed = self._claimed()
        if claimed and claimed != self._job:
            self._job, self._asked, self._has_ended = claimed, 0.0, False
            self._told.keep({"name": self._order.name, "id": claimed})
            return self.run()
        if not claimed and state in ("COMPLETED", "FAILED"):
            raise self._not_begun()
        ending = Ending.TIMEOUT if state in TOO_LONG else Ending.ITSELF
        is_lost = state in LOST
        if state in ("", "COMPLETED", "FAILED"):
            is_lost = not self._said_by_slurm()
        return self._outcome(Ending.LOST if is_lost else ending, {})

    def _not_begun(self) -> PermanentError:
        said = " | ".join(last_lines(self._folder / f"{self._position}.out"))
        return PermanentError(
            f"job {self._job} could not begin {self._command.arguments[0]} on "
            f"{self._found.nodes if self._found else ''}: {said or 'no word of it'}"
        )

    def _outcome(self, ending: Ending, report: Mapping[str, Any]) -> Outcome:
        known = self._found
        is_over = known is not None and known.is_over
        nodes = known.nodes if known else ""
        return Outcome(
            exit_code=report.get("exit_code"),
            signal=signal_name(report.get("signal")),
            ending=ending,
            seconds=report.get("seconds", time.monotonic() - self._began),
            cpu_seconds=report.get("cpu_seconds", 0.0),
            peak_memory_bytes=report.get("peak_memory_bytes", 0),
            job=self._job,
            job_state=known.state if known and is_over else "",
            job_said=self._said_by_slurm() if ending is not Ending.STOPPED else "",
            host=report.get("host") or nodes,
        )

    def _said_by_slurm(self) -> str:
        """Return why Slurm has ended the job, as its own log tells."""
        lines = last_lines(self._folder / f"{self._position}.out", 20)
        found = [line.partition(_SLURMS)[2] for line in lines if _SLURMS in line]
        words = [text for text in found if text and not text.startswith("***")]
        return words[-1] if words else ""

    # the end that was asked for

    def _stop_file(self) -> Path:
        return self._folder / f"{self._position}.stop"

    def _cancel(self) -> Outcome:
        """End the job: through Slurm, and by a file where Slurm is away."""
        self._stop_file().touch()
        until = time.monotonic() + self._command.grace + END_SECONDS
        has_asked = False
        while time.monotonic() < until:
            has_asked = has_asked or self._ask_to_cancel()
            report = self._report()
            if report is not None:
                return self._outcome(Ending.STOPPED, report)
            if self._is_gone(has_asked):
                return self._outcome(Ending.STOPPED, {})
            time.sleep(LOOK_SECONDS)
        logger.error("Job %s was told to end and has not said that it did", self._job)
        return self._outcome(Ending.STOPPED, {})

    def _cancel_what_was_asked_for(self) -> None:
        """End a job of which we do not know whether Slurm has it."""
        self._stop_file().touch()
        with suppress(Unreachable):
            found = self._client.find(self._order.name)
            if found is not None:
                self._client.cancel(found.id)

    def _ask_to_cancel(self) -> bool:
        try:
            self._client.cancel(self._job)
        except Unreachable as error:
            logger.warning("Slurm cannot end job %s now: %s", self._job, error)
            return False
        return True

    def _is_gone(self, has_asked: bool) -> bool:
        """Whether nothing runs: a job that was never begun finds the file and ends."""
        if not has_asked:
            return False
        return not self._claimed() or self._ask()


def control_folder(folder: Path) -> Path:
    """Return the folder for what zocelery and its jobs tell each other."""
    return folder.with_name(f".{folder.name}.slurm")


def job_script(settings: ClusterSettings, folder: Path, position: int) -> str:
    """Return the script of a job: it starts the launcher and nothing else."""
    python = settings.python or sys.executable
    home = control_folder(folder)
    words = [python, "-I", "-S", "-B", str(home / "launcher"), str(home), str(position)]
    return f"#!/bin/sh\nexec {shlex.join(words)}\n"
