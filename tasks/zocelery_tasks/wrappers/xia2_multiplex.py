"""The wrapper `xia2.multiplex`: several collections of one crystal or of many, merged.

It is told of its collections by the nodes that it gathers, by its payload, or by its
parameter `data`. A collection whose files are still to come is waited for, with pauses
that grow; while it waits it takes no slot of a worker.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from zocelery.errors import NotYetError, PermanentError
from zocelery_tasks.wrappers.base import (
    Answer,
    Bench,
    KeptFile,
    WrapperParameters,
    wrapper_task,
)
from zocelery_tasks.wrappers.dials import plain_path
from zocelery_tasks.wrappers.dials_logs import found_space_group
from zocelery_tasks.wrappers.experiments import read_experiments, unit_cells
from zocelery_tasks.wrappers.lims_commands import lims_commands
from zocelery_tasks.wrappers.merging import (
    SHELLS,
    draw_answer,
    read_merging_statistics,
)
from zocelery_tasks.wrappers.phil import phil_arguments
from zocelery_tasks.wrappers.xia2_results import CELL

LONGEST_PAUSE = 600.0
_STEP = re.compile(r"-{3,} (.+?) -{3,}|^Starting (.+)$")


class Collection(BaseModel):
    """One integrated data set."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    experiments: str
    reflections: str


class MultiplexParameters(WrapperParameters):
    """Parameters of `xia2.multiplex`."""

    data: tuple[Collection, ...] = ()
    """The data sets, beside those that the node is told of."""
    least: int = Field(default=1, ge=1)
    """Data sets without which it is not worth while."""
    wait: float = Field(default=0.0, ge=0)
    """Seconds that missing files are waited for, from the first try."""
    first_pause: float = Field(default=30.0, gt=0)
    """Seconds until they are looked for again; each pause is twice the last."""
    d_min: float | None = Field(default=None, gt=0)
    """Finest resolution, Å."""
    space_group: str | int | None = None
    """Known beforehand: a symbol or a number."""
    phil: Mapping[str, Any] = Field(default_factory=dict)
    """Parameters of the program by their full names."""


@wrapper_task(
    "xia2.multiplex",
    parameters=MultiplexParameters,
    once=("ispyb",),
    picture=draw_answer,
)
def xia2_multiplex(bench: Bench) -> Answer:
    """Scale and merge several data sets together, those that belong together."""
    given = bench.parameters
    assert isinstance(given, MultiplexParameters)
    found = collections(bench)
    files = present_files(found, given, bench.desk.number)
    own = {
        "symmetry.space_group": given.space_group,
        "resolution.d_min": given.d_min,
        "nproc": bench.processes,
    }
    named = phil_arguments({**own, **given.phil}, "xia2.multiplex")
    bench.run(["xia2.multiplex", *map(str, files), *named], progress=_progress)
    merged = bench.folder / "scaled.mtz"
    if not merged.exists():
        raise bench.bad_result("xia2.multiplex left no scaled.mtz")
    kept = bench.keep(_kept(bench.folder))
    statistics = _statistics(bench.folder / "xia2.multiplex.log", bench.log)
    answer = {
        "mtz": str(merged),
        "collections": len(found),
        "merging_statistics": statistics,
        **_read_crystal(bench.folder),
        "files": kept,
    }
    if statistics and {"space_group", "unit_cell"} <= answer.keys():
        commands = lims_commands(_lims_result(answer))
        bench.step.send("ispyb", {"ispyb_command_list": commands})
    return answer


def _lims_result(answer: Answer) -> Answer:
    """Return the result in the form of xia2's own, without integrations."""
    names = (f"refinedCell_{name}" for name in CELL)
    shells = answer["merging_statistics"].items()
    return {
        "AutoProc": {
            "spaceGroup": answer["space_group"],
            **dict(zip(names, answer["unit_cell"], strict=True)),
        },
        "AutoProcScalingContainer": {
            "AutoProcScalingStatistics": [
                {"scalingStatisticsType": shell, **values} for shell, values in shells
            ],
            "AutoProcIntegrationContainer": [],
        },
    }


def _read_crystal(folder: Path) -> Answer:
    """Return space group and mean cell, as far as dials.scale has told them."""
    log = folder / "dials.scale.log"
    group = found_space_group(log) if log.exists() else None
    known: Answer = {"space_group": group} if group else {}
    scaled = folder / "scaled.expt"
    if not scaled.exists():
        return known
    cells = unit_cells(read_experiments(scaled))
    mean = [sum(numbers) / len(cells) for numbers in zip(*cells, strict=True)]
    return {**known, "unit_cell": mean} if cells else known


def collections(bench: Bench) -> list[Collection]:
    """Return the data sets that the node knows of, each once.

    Raises:
        PermanentError: there are fewer than `least`.
    """
    given = bench.parameters
    assert isinstance(given, MultiplexParameters)
    told = [m.value for m in bench.step.members if m.ok] or [bench.step.payload]
    found = [*given.data, *(c for value in told for c in _collections_in(value))]
    unique = list(dict.fromkeys((c.experiments, c.reflections) for c in found))
    if len(unique) < given.least:
        raise PermanentError(
            f"{len(unique)} data sets are known, {given.least} are needed"
        )
    return [Collection(experiments=e, reflections=r) for e, r in unique]


def _collections_in(value: Any) -> Iterator[Collection]:
    members = value if isinstance(value, list) else [value]
    for member in members:
        if isinstance(member, Mapping):
            pair = (member.get("experiments"), member.get("reflections"))
            if all(isinstance(name, str) for name in pair):
                yield Collection(experiments=str(pair[0]), reflections=str(pair[1]))
            elif isinstance(member.get("members"), list):  # what `collect` answers
                yield from _collections_in(member["members"])


def present_files(
    found: Sequence[Collection], given: MultiplexParameters, number: int
) -> list[Path]:
    """Return the files of the data sets that are there.

    Raises:
        NotYetError: some are missing, and there is time to wait for them.
        PermanentError: fewer than `least` are there.
        ParameterError: a path would be taken for a parameter.
    """
    pairs = [
        (plain_path(c.experiments, "data"), plain_path(c.reflections, "data"))
        for c in found
    ]
    ready = [pair for pair in pairs if all(file.exists() for file in pair)]
    missing = len(pairs) - len(ready)
    waited = sum(_pause(given, before) for before in range(1, number))
    if missing and waited < given.wait:
        raise NotYetError(
            f"{missing} of {len(pairs)} data sets are not there yet",
            min(_pause(given, number), given.wait - waited),
        )
    if len(ready) < given.least:
        raise PermanentError(
            f"{len(ready)} of {len(pairs)} data sets are there, {given.least} needed"
        )
    return [file for pair in ready for file in pair]


def _pause(given: MultiplexParameters, number: int) -> float:
    """Return the seconds after try `number`."""
    doublings = min(number - 1, 60)  # beyond any longest pause
    return min(LONGEST_PAUSE, given.first_pause * 2.0**doublings)


def _statistics(*logs: Path) -> Answer | None:
    for log in logs:
        try:
            found = read_merging_statistics(log)
        except (OSError, PermanentError):
            continue
        return {shell: found[shell] for shell in SHELLS if shell in found}
    return None


def _progress(line: str) -> tuple[str, int, int | None] | None:
    found = _STEP.search(line.strip())
    return (found[1] or found[2], 0, None) if found else None


def _kept(folder: Path) -> Iterator[KeptFile]:
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in (".mtz", ".expt", ".refl"):
            yield KeptFile(file, file.name, "result", 1 if file.suffix == ".mtz" else 2)
        elif file.is_file() and file.suffix in (".log", ".html", ".json"):
            kind = "graph" if file.suffix == ".json" else "log"
            yield KeptFile(file, file.name, kind, 1 if file.suffix == ".html" else 2)
