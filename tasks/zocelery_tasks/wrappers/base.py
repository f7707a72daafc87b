"""The base of all wrappers: a bench on which a program is run and its files are kept.

A wrapper is a function of a `Bench`; `wrapper_task` makes it a task that recipes name.
Its channels are those of Zocalo's wrappers:

    starting   updates   success   failure   completed   results
    result-individual-file   result-all-files   and what the wrapper adds
"""

import functools
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zocelery.catalogue import TaskKind
from zocelery.desk import Desk
from zocelery.errors import ParameterError, ProgramError, StoppedError
from zocelery.messages import Step
from zocelery.task import recipe_task
from zocelery_tasks.lenient_values import first_error, without_empty
from zocelery_tasks.wrappers.environment import program_environment
from zocelery_tasks.wrappers.folders import (
    allowed_folder,
    make_working_folder,
    publish_results,
)
from zocelery_tasks.wrappers.process import (
    UNIT_VARIABLE,
    Command,
    Ending,
    Outcome,
    end_leftovers,
    run_command,
)
from zocelery_tasks.wrappers.program_log import (
    LogFollower,
    ProgressParser,
    last_lines,
)

ONCE_CHANNELS = (
    "starting",
    "success",
    "failure",
    "completed",
    "results",
    "result-all-files",
)
STREAM_CHANNELS = ("updates", "result-individual-file")
PROGRESS_SECONDS = 1.0
LONGEST_COMMAND = 500
"""Characters of a command line in a message for people."""
Answer = dict[str, Any]
Parameters = TypeVar("Parameters", bound="WrapperParameters")


class WrapperParameters(BaseModel):
    """Parameters that every wrapper has; Zocalo's may stand in `job_parameters`."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    working_directory: str | None = None
    """Where the program works, in a folder of its own for each try."""
    results_directory: str | None = None
    """Where a copy of the results goes, in a folder of the program's name."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds that one try may take."""
    environment: Mapping[str, str] = Field(default_factory=dict)
    """Variables that the program gets beside the worker's own."""

    @model_validator(mode="before")
    @classmethod
    def _take_null_as_absent(cls, value: Any) -> Any:
        return without_empty(value)


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that a wrapper's result consists of."""

    path: Path
    place: str
    """Its path in the results folder."""
    kind: str = "result"
    """"log", "result" or "graph", as the LIMS names attachments."""
    rank: int = 2
    """Importance, 1 is the highest."""
    is_told: bool = True
    """Whether it is an attachment, or only copied with the rest."""


class Bench:
    """Where a wrapper works: folders, programs, and whom it tells of them."""

    def __init__(
        self, step: Step, desk: Desk, parameters: WrapperParameters, name: str
    ) -> None:
        """Prepare a bench for one try; `name` is that of the folders."""
        self.step = step
        self.desk = desk
        self.parameters = parameters
        self.name = name
        self.programs: list[Answer] = []
        self._began = time.monotonic()
        self._updates = 0
        self._told = 0.0
        self.folder = self._make_folder()
        self.results_folder: Path | None = None
        """Where `keep` has copied the results, if anywhere."""

    @property
    def log(self) -> Path:
        """Where the programs of this try print to."""
        return self.folder / f"{self.folder.name}.log"

    @property
    def processes(self) -> int:
        """How many processes or threads a program may use."""
        return self.desk.settings.processes or len(os.sched_getaffinity(0))

    # programs

    def run(
        self,
        arguments: Sequence[str],
        *,
        progress: ProgressParser | None = None,
        environment: Mapping[str, str] | None = None,
        accept: Callable[[Outcome], bool] | None = None,
    ) -> Outcome:
        """Run a program in the bench's folder.

        Args:
            arguments: the program and its arguments, none of which any shell sees.
            progress: reads progress from what it prints.
            environment: variables beside those of the recipe.
            accept: whether an outcome is a success; by default exit code 0.

        Raises:
            ProgramError: it failed or took too long; names program, command and the
                last lines of its log.
            StoppedError: the run was cancelled.
        """
        for argument in arguments:
            if "\0" in argument:
                raise ParameterError(f"{arguments[0]}: an argument has a NUL in it")
        command = Command(
            arguments=arguments,
            folder=self.folder,
            environment=self._environment(environment or {}),
            log=self.log,
            timeout=self._time_left(),
            grace=self.desk.settings.grace,
        )
        position = len(self.programs)
        self._record(position, command, {"state": "running", "started": time.time()})
        outcome = self._run_and_follow(command, progress)
        self._record(position, command, _columns(outcome))
        self.programs.append(_told_outcome(command, outcome))
        if outcome.ending is Ending.STOPPED:
            raise StoppedError(f"{arguments[0]} was stopped")
        accepted = accept(outcome) if accept else outcome.exit_code == 0
        if outcome.ending is Ending.TIMEOUT or not accepted:
            raise self.failure(command, outcome)
        return outcome

    def failure(self, command: Command, outcome: Outcome) -> ProgramError:
        """Return the error that says how a program failed."""
        shown = " ".join(command.arguments)[:LONGEST_COMMAND]
        program = Path(command.arguments[0]).name
        lines = last_lines(self.log)
        how = outcome.how
        if outcome.ending is Ending.TIMEOUT:
            how = f"took longer than {command.timeout or 0:g} s"
        said = f"; it said: {' | '.join(lines)}" if lines else ""
        details = {**_told_outcome(command, outcome), "last_lines": lines}
        return ProgramError(
            f"{program} {how} (command: {shown}; folder: {self.folder}){said}", details
        )

    def bad_result(self, message: str) -> ProgramError:
        """Return the error of a program that ended well but left the wrong files."""
        lines = last_lines(self.log)
        said = f"; it said: {' | '.join(lines)}" if lines else ""
        last = self.programs[-1] if self.programs else {}
        return ProgramError(
            f"{message} (folder: {self.folder}){said}", {**last, "last_lines": lines}
        )

    def _run_and_follow(
        self, command: Command, progress: ProgressParser | None
    ) -> Outcome:
        end_leftovers(self.desk.unit)
        follower = LogFollower(self.log)

        def _look() -> bool:
            self._pass_on(follower.lines(), progress)
            return self.desk.must_stop()

        try:
            return run_command(command, _look)
        finally:
            self._pass_on(follower.lines(is_over=True), progress)

    def _pass_on(self, lines: list[str], progress: ProgressParser | None) -> None:
        if not lines:
            return
        self.desk.write_log("\n".join(lines) + "\n")
        found = [told for line in lines if progress and (told := progress(line))]
        now = time.monotonic()
        if found and now - self._told >= PROGRESS_SECONDS:
            self._told = now
            self.desk.tell_progress(*found[-1])

    def _time_left(self) -> float | None:
        limits = [self.desk.timeout, self.parameters.timeout]
        known = [limit for limit in limits if limit]
        used = time.monotonic() - self._began
        return max(0.1, min(known) - used) if known else None

    def _environment(self, own: Mapping[str, str]) -> dict[str, str]:
        unit = {UNIT_VARIABLE: self.desk.unit} if self.desk.unit else {}
        given = {**self.parameters.environment, **own, **unit}
        return program_environment(given)

    def _record(
        self, position: int, command: Command, columns: Mapping[str, Any]
    ) -> None:
        known = {
            "program": Path(command.arguments[0]).name,
            "command": list(command.arguments),
            "folder": str(command.folder),
            "log": str(command.log),
        }
        self.desk.record_program(position, {**known, **columns})

    # folders and files

    def _make_folder(self) -> Path:
        settings, given = self.desk.settings, self.parameters.working_directory
        if given:
            base = allowed_folder(given, "working_directory", settings.roots)
        else:
            base = (settings.working_directory / (self.step.run_id or "run")).absolute()
        name = f"{self.name}.{self.step.item}" if self.step.item else self.name
        return make_working_folder(base, name)

    def keep(self, files: Iterable[KeptFile]) -> list[Answer]:
        """Copy the results, tell of each and of all, and return what was told."""
        kept = list(files)
        folder = self.results_folder = self._publish(kept)
        told = []
        for file in (file for file in kept if file.is_told):
            path = folder / file.place if folder else file.path
            told.append(
                {
                    "file_path": str(path.parent),
                    "file_name": path.name,
                    "file_type": file.kind,
                    "importance_rank": file.rank,
                }
            )
            self.step.send("result-individual-file", told[-1], item=file.place)
        names = [f"{file['file_path']}/{file['file_name']}" for file in told]
        self.step.send("result-all-files", {"filelist": names})
        return told

    def _publish(self, kept: Sequence[KeptFile]) -> Path | None:
        given = self.parameters.results_directory
        if not given:
            return None
        base = allowed_folder(given, "results_directory", self.desk.settings.roots)
        name = f"{self.name}.{self.step.item}" if self.step.item else self.name
        owner = {"run": self.step.run_id, "node": self.step.node}
        owner |= {"unit": self.desk.unit}
        pairs = [(file.path, file.place) for file in kept]
        return publish_results(pairs, base, name, owner)

    # telling

    def update(self, message: str) -> None:
        """Tell the channel `updates`, and those who watch the run."""
        self._updates += 1
        item = f"{self.desk.number}-{self._updates}"
        self.step.send("updates", {"message": message, "time": time.time()}, item=item)
        self.desk.tell_progress(message)


def wrapper_task(
    name: str,
    *,
    parameters: type[WrapperParameters] = WrapperParameters,
    once: tuple[str, ...] = (),
    aliases: tuple[str, ...] = (),
    check: Callable[[Mapping[str, Any]], None] | None = None,
    picture: Callable[[Any], str] | None = None,
    folder_name: Callable[[Any], str] | None = None,
) -> Callable[[Callable[[Bench], Answer]], Callable[[Bench], Answer]]:
    """Make a function of a `Bench` a task of the queue `wrappers`.

    Args:
        name: as recipes name it.
        parameters: model that `parameters` and `job_parameters` must fit.
        once: its channels beyond those that all wrappers have.
        aliases: Zocalo's names for it.
        check: looks at the parameters before a run starts; raises a UserError.
        picture: draws an answer as text for a terminal.
        folder_name: gives folders another name than the node's, from the parameters.
    """

    def _register(function: Callable[[Bench], Answer]) -> Callable[[Bench], Answer]:
        @functools.wraps(function)
        def _doorway(step: Step, desk: Desk) -> Answer:
            given = parse_parameters(parameters, step, name)
            folders = folder_name(given) if folder_name else step.node or name
            return work(Bench(step, desk, given, folders), function)

        recipe_task(
            name,
            queue="wrappers",
            kind=TaskKind.WRAPPER,
            once=(*ONCE_CHANNELS, *once),
            stream=STREAM_CHANNELS,
            default_channel="success",
            parameters=parameters,
            aliases=aliases,
            check=check,
            picture=picture,
        )(_doorway)
        return function

    return _register


def parse_parameters(model: type[Parameters], step: Step, name: str) -> Parameters:
    """Return a wrapper's parameters: `parameters`, overlaid with `job_parameters`.

    Raises:
        ParameterError: one cannot be used; the message names key and value.
    """
    given = {**step.parameters, **step.job_parameters}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ParameterError(f"{name}: {first_error(error)}") from error


def work(bench: Bench, function: Callable[[Bench], Answer]) -> Answer:
    """Run a wrapper on its bench, and tell the channels of its beginning and end.

    Of a failure the engine tells, which knows whether it is the last one.
    """
    started = {"message": f"starting {bench.name}", "time": time.time()}
    bench.step.send("starting", {**started, "working_directory": str(bench.folder)})
    result = function(bench)
    answer = {
        **result,
        "working_directory": str(bench.folder),
        "log": str(bench.log),
        "programs": bench.programs,
    }
    bench.step.send("results", result)
    ended = {"message": f"{bench.name} has succeeded", "ok": True, "time": time.time()}
    bench.step.send("completed", {**ended, "result": result})
    return answer


def _columns(outcome: Outcome) -> Answer:
    success = outcome.exit_code == 0 and outcome.ending is Ending.ITSELF
    return {
        "state": "done" if success else outcome.ending.value,
        "ended": time.time(),
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "cpu_seconds": outcome.cpu_seconds,
        "peak_memory_bytes": outcome.peak_memory_bytes,
    }


def _told_outcome(command: Command, outcome: Outcome) -> Answer:
    return {
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
