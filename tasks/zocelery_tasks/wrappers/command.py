"""The wrapper `command`: any program, described by the recipe alone."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from zocelery.errors import ParameterError, PermanentError, TemporaryError
from zocelery_tasks.wrappers.base import (
    Answer,
    Bench,
    KeptFile,
    WrapperParameters,
    wrapper_task,
)
from zocelery_tasks.wrappers.folders import allowed_input
from zocelery_tasks.wrappers.json_files import read_json_file
from zocelery_tasks.wrappers.process import Ending, Outcome
from zocelery_tasks.wrappers.progress import pattern_progress


def _require_inside(value: str) -> str:
    """Refuse paths and patterns that lead out of the working folder."""
    path = Path(value)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in value:
        raise ValueError("must be a path or pattern inside the working folder")
    try:
        next(Path(os.devnull).glob(value), None)  # now, not after hours of work
    except (ValueError, re.error) as error:
        raise ValueError(f"is no pattern for files: {error}") from error
    return value


MOST_DATA = 10_000_000
"""Bytes of JSON that an answer may take from a file."""

Inside = Annotated[str, AfterValidator(_require_inside)]
"""A path or pattern below the folder in which the program works."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PayloadArgument(_Model):
    """An argument that stands in what the node before has answered."""

    payload: str
    """Its key; the keys of nested objects and indices of lists are joined by dots."""
    prefix: str = ""
    """Text before it, such as `hklin=`."""
    optional: bool = False
    """Leave the argument out if it is not there."""


class PathArgument(_Model):
    """An argument that is a path: it is made absolute, so that it is no option."""

    path: str
    prefix: str = ""
    must_exist: bool = True


class Output(_Model):
    """Files that the program is expected to leave."""

    pattern: Inside
    """In the working folder, `*.mtz` or `**/*.log`."""
    kind: Literal["result", "log", "graph"] = "result"
    rank: int = Field(default=2, ge=1)
    required: bool = False
    """The program has failed if there is none."""


class Success(_Model):
    """What makes a program a success."""

    exit_codes: tuple[int, ...] = (0,)
    files: tuple[Inside, ...] = ()
    """Patterns; each has to be met by a file in the working folder."""
    no_files: tuple[Inside, ...] = ()
    """Patterns; none may be met, such as `*.error`."""


Argument = str | int | float | PathArgument | PayloadArgument


class CommandParameters(WrapperParameters):
    """Parameters of `command`."""

    command: tuple[Argument, ...] = ()
    """The program and its arguments. Each text reaches the program as one argument."""
    arguments: tuple[Argument, ...] = ()
    """More of them; for recipes that keep program and arguments apart."""
    inputs: tuple[str, ...] = ()
    """Files that have to be there before the program is started."""
    outputs: tuple[Output, ...] = ()
    """Files to keep: patterns, or `{"pattern", "kind", "rank", "required"}`."""
    success: Success = Success()
    """What makes it a success: `exit_codes`, `files`, `no_files`."""
    retry_exit_codes: tuple[int, ...] = ()
    """Exit codes after which the node's `retry` lets it begin again."""
    progress: str | None = None
    """Regular expression of a line that tells progress, with groups `seen` and, if need
    be, `expected`."""
    read_json: Inside | None = None
    """A file of the working folder; its content becomes `data` of the answer."""

    @field_validator("outputs", mode="before")
    @classmethod
    def _take_text_for_pattern(cls, value: Any) -> Any:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return value
        return [{"pattern": v} if isinstance(v, str) else v for v in value]


def _check(parameters: Mapping[str, Any]) -> None:
    given = CommandParameters.model_validate(parameters)
    if given.progress:
        pattern_progress(given.progress)
    if not given.command and not given.arguments:
        for name in parameters:
            meant = get_close_matches(name, ["command", "arguments"], cutoff=0.8)
            if meant:
                raise ParameterError(f"{name} is not known; did you mean {meant[0]!r}?")
        raise ParameterError("command: no program is named")


@wrapper_task("command", parameters=CommandParameters, check=_check)
def command(bench: Bench) -> Answer:
    """Run any program, collect its files and say whether it was a success."""
    given = bench.parameters
    assert isinstance(given, CommandParameters)
    arguments = list(_arguments(bench, [*given.command, *given.arguments]))
    if not arguments:
        raise ParameterError("command: no program is named")
    _check_program(arguments[0], bench.desk.settings.programs)
    for name in given.inputs:
        if not allowed_input(name, "inputs").exists():
            raise PermanentError(f"inputs: {name} does not exist")
    progress = pattern_progress(given.progress) if given.progress else None
    outcome = bench.run(arguments, progress=progress, accept=_accept(given))
    if outcome.exit_code in given.retry_exit_codes:
        raise TemporaryError(f"{arguments[0]} {outcome.how}: asks for another try")
    _check_success(bench, given.success, arguments[0])
    files = list(_collect(bench, given.outputs))
    answer: Answer = {"files": bench.keep(files)}
    if given.read_json:
        file = bench.folder / given.read_json
        try:
            answer["data"] = read_json_file(file, MOST_DATA)
        except PermanentError as error:
            raise bench.bad_result(f"read_json: {error}") from error
    return answer


def _arguments(bench: Bench, given: Sequence[Argument]) -> Iterator[str]:
    for argument in given:
        if isinstance(argument, PathArgument):
            home = str(Path(argument.path).expanduser())
            path = allowed_input(home, "command.path")
            if argument.must_exist and not path.exists():
                raise PermanentError(f"{path} does not exist")
            yield f"{argument.prefix}{path}"
        elif isinstance(argument, PayloadArgument):
            value = look_up(bench.step.payload, argument.payload)
            if value is None and argument.optional:
                continue
            if not isinstance(value, str | int | float):
                raise PermanentError(
                    f"the payload has no text or number {argument.payload!r}"
                )
            yield f"{argument.prefix}{value}"
        else:
            yield str(argument)


def look_up(value: Any, path: str) -> Any:
    """Return what stands in nested objects and lists at `a.b.0`, or None."""
    for key in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _check_program(program: str, allowed: Sequence[str]) -> None:
    if program.startswith("-") or not program:
        raise ParameterError(f"command: {program!r} is no program")
    if allowed and program not in allowed:
        raise ParameterError(
            f"command: {program!r} is not among the programs that may run "
            f"({', '.join(allowed)}); see wrappers.programs in the configuration"
        )


def _accept(given: CommandParameters) -> Any:
    codes = {*given.success.exit_codes, *given.retry_exit_codes}

    def _is_accepted(outcome: Outcome) -> bool:
        return outcome.ending is Ending.ITSELF and outcome.exit_code in codes

    return _is_accepted


def _check_success(bench: Bench, success: Success, program: str) -> None:
    for pattern in success.files:
        if not any(bench.folder.glob(pattern)):
            raise bench.bad_result(f"{program} left no file {pattern!r}")
    for pattern in success.no_files:
        found = next(iter(bench.folder.glob(pattern)), None)
        if found is not None:
            raise bench.bad_result(f"{program} left the file {found.name!r}")


def _collect(bench: Bench, outputs: Sequence[Output]) -> Iterator[KeptFile]:
    seen: set[Path] = set()
    for output in outputs:
        found = [p for p in sorted(bench.folder.glob(output.pattern)) if p.is_file()]
        if output.required and not found:
            raise bench.bad_result(f"no file {output.pattern!r} was left")
        for path in found:
            if path not in seen:
                seen.add(path)
                place = str(path.relative_to(bench.folder))
                yield KeptFile(path, place, output.kind, output.rank)
