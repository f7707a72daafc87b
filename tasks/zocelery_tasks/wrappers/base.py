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
from pathlib import Path
from typing import Any

from zocelery.catalogue import TaskKind
from zocelery.cluster_settings import WORKER
from zocelery.desk import Desk
from zocelery.errors import (
    ParameterError,
    ProgramError,
    StoppedError,
    TemporaryError,
)
from zocelery.messages import Step
from zocelery.task import recipe_task
from zocelery_tasks.wrappers.cluster import ClusterPlace, log_mark
from zocelery_tasks.wrappers.environment import (
    check_variables,
    find_program,
    is_plain,
    program_environment,
)
from zocelery_tasks.wrappers.folders import (
    allowed_folder,
    make_working_folder,
    publish_results,
)
from zocelery_tasks.wrappers.kept_files import KeptFile, attachments
from zocelery_tasks.wrappers.outcomes import (
    outcome_columns,
    program_columns,
    program_failure,
    told_outcome,
)
from zocelery_tasks.wrappers.parameters import WrapperParameters, parse_parameters
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
Answer = dict[str, Any]
__all__ = [
    "ONCE_CHANNELS",
    "STREAM_CHANNELS",
    "Answer",
    "Bench",
    "KeptFile",
    "WrapperParameters",
    "work",
    "wrapper_task",
]


class Bench:
    """Where a wrapper works: folders, programs, and whom it tells of them."""

    def __init__(
        self,
        step: Step,
        desk: Desk,
        parameters: WrapperParameters,
        name: str,
        wrapper: str = "",
    ) -> None:
        """Prepare a bench for one try, or for what is left to do of one.

        Args:
            step: what the node is given.
            desk: what the engine offers it.
            parameters: of the wrapper.
            name: that of the folders.
            wrapper: the task's name, by which the configuration knows it.

        Raises:
            ParameterError: a folder or a variable cannot be used; it is named.
        """
        check_variables(parameters.environment, desk.settings.variables)
        self.step = step
        self.desk = desk
        self.parameters = parameters
        self.name = name
        self.programs: list[Answer] = []
        self._began = time.monotonic()
        self._updates = 0
        self._told = 0.0
        self._cluster = self._choose_place(wrapper)
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
        if self._cluster is not None:
            return self._cluster.cpus
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
            TemporaryError: the machine failed it, not the program.
        """
        for argument in arguments:
            if not is_plain(argument):
                raise ParameterError(
                    f"{arguments[0]}: the argument {argument!r:.80} is no text that a "
                    "program can be given"
                )
        command = Command(
            arguments=arguments,
            folder=self.folder,
            environment=self._environment(environment or {}),
            log=self.log,
            timeout=self._time_left(),
            grace=self.desk.settings.grace,
            nice=self.desk.settings.nice,
            executable=self._find(arguments[0]),
        )
        position = len(self.programs)
        outcome = self._run_and_follow(command, position, progress)
        self._record(position, command, outcome_columns(outcome))
        self.programs.append(told_outcome(command, outcome))
        if outcome.ending is Ending.STOPPED:
            raise StoppedError(f"{arguments[0]} was stopped")
        if outcome.ending is Ending.LOST:
            raise TemporaryError(f"{arguments[0]} {outcome.how}")
        accepted = accept(outcome) if accept else outcome.exit_code == 0
        if outcome.ending is Ending.TIMEOUT or not accepted:
            raise program_failure(command, outcome)
        return outcome

    def bad_result(self, message: str) -> ProgramError:
        """Return the error of a program that ended well but left the wrong files."""
        lines = last_lines(self.log)
        said = f"; it said: {' | '.join(lines)}" if lines else ""
        last = self.programs[-1] if self.programs else {}
        return ProgramError(
            f"{message} (folder: {self.folder}){said}", {**last, "last_lines": lines}
        )

    def _run_and_follow(
        self, command: Command, position: int, progress: ProgressParser | None
    ) -> Outcome:
        mark = log_mark(self.folder) if self._cluster else None
        follower = LogFollower(self.log, mark)

        def _look() -> bool:
            self._pass_on(follower.lines(), progress)
            return self.desk.must_stop()

        try:
            if self._cluster is not None:
                return self._run_as_job(self._cluster, command, position, _look)
            end_leftovers(self.desk.unit)
            started = {"state": "running", "started": time.time()}
            self._record(position, command, started)
            return run_command(command, _look)
        finally:
            self._pass_on(follower.lines(is_over=True), progress)

    def _run_as_job(
        self,
        cluster: ClusterPlace,
        command: Command,
        position: int,
        look: Callable[[], bool],
    ) -> Outcome:
        def _say(text: str, host: str) -> None:
            self.desk.tell_progress(text)
            self._record(position, command, {"state": "running", "host": host})

        if not cluster.has_begun(position):
            started = {"state": "running", "started": time.time(), "host": ""}
            self._record(position, command, started)
        return cluster.run(command, position, look, _say)

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
        if self._cluster is not None:  # what waits in a queue uses nothing
            used = sum(program["seconds"] for program in self.programs)
        return max(0.1, min(known) - used) if known else None

    def _find(self, program: str) -> str | None:
        """Return where a program is, None if not here.

        The recipe has a say only if it may set `PATH`.
        """
        path = self.parameters.environment.get("PATH")
        return find_program(program, self.folder, path)

    def _environment(self, own: Mapping[str, str]) -> dict[str, str]:
        unit = {UNIT_VARIABLE: self.desk.unit} if self.desk.unit else {}
        given = {**self.parameters.environment, **own, **unit}
        return program_environment(given)

    def _record(
        self, position: int, command: Command, columns: Mapping[str, Any]
    ) -> None:
        self.desk.record_program(position, {**program_columns(command), **columns})

    def end_jobs_of_the_cancelled(self) -> None:
        """End what a cluster still has of a run that nobody wants any more."""
        if self._cluster is not None and self.desk.is_cancelled():
            self._cluster.end_jobs()

    # folders and files

    def _choose_place(self, wrapper: str) -> ClusterPlace | None:
        """Return the cluster that runs the programs; None: they run here."""
        given, desk = self.parameters, self.desk
        place = desk.kept.get("place") or given.runs_on
        place = place or desk.settings.place_of(wrapper)
        if place == WORKER:
            return None
        return ClusterPlace(desk, self.step, place, given.cluster)

    def _make_folder(self) -> Path:
        kept = self.desk.kept.get("folder")
        if kept and Path(kept).is_dir():
            return Path(kept)
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
        for place, description in attachments(kept, folder):
            told.append(description)
            self.step.send("result-individual-file", description, item=place)
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
            return work(Bench(step, desk, given, folders, name), function)

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


def work(bench: Bench, function: Callable[[Bench], Answer]) -> Answer:
    """Run a wrapper on its bench, and tell the channels of its beginning and end.

    Of a failure the engine tells, which knows whether it is the last one.
    """
    started = {"message": f"starting {bench.name}", "time": time.time()}
    bench.step.send("starting", {**started, "working_directory": str(bench.folder)})
    if bench.desk.number > 1 and not bench.desk.kept:
        bench.desk.write_log(f"[try {bench.desk.number}: {bench.folder}]\n")
    try:
        result = function(bench)
    except Exception:
        bench.end_jobs_of_the_cancelled()
        raise
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
