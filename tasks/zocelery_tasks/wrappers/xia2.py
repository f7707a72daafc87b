"""The wrapper `xia2`: the pipelines dials and 3dii, from images to the LIMS."""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from zocelery.errors import ParameterError, PermanentError, ProgramError
from zocelery_tasks.wrappers.base import (
    Answer,
    Bench,
    KeptFile,
    WrapperParameters,
    wrapper_task,
)
from zocelery_tasks.wrappers.dials import import_source, plain_path
from zocelery_tasks.wrappers.folders import allowed_folder
from zocelery_tasks.wrappers.lims_commands import lims_commands
from zocelery_tasks.wrappers.merging import draw_answer
from zocelery_tasks.wrappers.phil import as_numbers, phil_arguments, phil_value
from zocelery_tasks.wrappers.process import Ending, Outcome
from zocelery_tasks.wrappers.xia2_results import (
    error_line,
    read_results,
    read_xtriage,
    says_it_failed,
)

LIMS_NAMES: Mapping[str, str] = {
    "d_min": "xia2.settings.resolution.d_min",
    "spacegroup": "xia2.settings.space_group",
    "unit_cell": "xia2.settings.unit_cell",
}
"""What the LIMS calls parameters, and what xia2 does; others have the same name."""
SPOTS_FILE = "spots.phil"
_TOP_LOGS: Mapping[str, int] = {
    "xia2.html": 1,
    "xia2.txt": 2,
    "xia2.error": 2,
    "xia2-error.txt": 2,
}
_RESOLUTION = re.compile(r"Mn\(I/sig\)[^\d\n]*([\d.]+)")
_HEADLINE = re.compile(r"-{3,} (.+?) -{3,}")
_IMAGE = re.compile(r"(?P<file>.+?)(?::(?P<first>\d+):(?P<last>\d+))?")


class FinalFiles(BaseModel):
    """Where selected results go in addition."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    patterns: tuple[str, ...] = ()


class Xia2Parameters(WrapperParameters):
    """Parameters of `xia2`; what Zocalo's recipes say in `job_parameters` is one."""

    images: str | None = None
    """`x_%05d.cbf:1:100`, `x_####.cbf:1:100`, `x.nxs` or `x.nxs:1:100`."""
    pipeline: Literal["dials", "dials-aimless", "3d", "3dii"] | None = None
    """dials, dials-aimless, 3d or 3dii; else as xia2 likes."""
    space_group: str | int | None = None
    """Known beforehand: a symbol or a number."""
    unit_cell: str | list[float] | None = None
    """`a,b,c,alpha,beta,gamma`, Å and degrees."""
    d_min: float | None = Field(default=None, gt=0)
    """Finest resolution, Å."""
    phil: Mapping[str, Any] = Field(default_factory=dict)
    """Parameters of xia2 by their full names."""
    xia2: Mapping[str, Any] = Field(default_factory=dict)
    """As in Zocalo: `pipeline`, `image` or `images` as `path:first:last`, others."""
    ispyb_parameters: Mapping[str, Any] = Field(default_factory=dict)
    """Parameters of a processing job of the LIMS."""
    store_xtriage_results: bool = True
    """Answer xtriage's messages, too."""
    pipeline_final: FinalFiles | None = Field(default=None, alias="pipeline-final")
    """As in Zocalo: `path` and `patterns` of files that are copied once more."""
    integrate_phil: str | None = Field(default=None, alias="dials.integrate.phil_file")
    """A file with parameters of dials.integrate."""
    commands: Any = None
    """Refused: Zocalo would give these lines to a shell."""

    @property
    def program(self) -> str:
        """The name of folders and in the LIMS: `xia2-dials`."""
        pipeline = self.pipeline or self.xia2.get("pipeline")
        return f"xia2-{pipeline}" if pipeline else "xia2"


def command_arguments(given: Xia2Parameters, processes: int) -> list[str]:
    """Return the command line of xia2.

    Raises:
        ParameterError: a parameter cannot be used; it is named.
    """
    if given.commands:
        raise ParameterError(
            "commands: lines for a shell are not run; name variables in `environment`"
        )
    own = {
        "pipeline": given.pipeline,
        LIMS_NAMES["d_min"]: given.d_min,
        LIMS_NAMES["spacegroup"]: given.space_group,
        LIMS_NAMES["unit_cell"]: as_numbers(given.unit_cell, "xia2: unit_cell"),
    }
    named = {k: v for k, v in given.xia2.items() if k not in ("image", "images")}
    lims = {
        LIMS_NAMES.get(key, key): value
        for key, value in given.ispyb_parameters.items()
        if not key.startswith("spotfinder")
    }
    wanted = {**named, **{k: v for k, v in own.items() if v is not None}}
    wanted.setdefault("nproc", processes)
    if given.integrate_phil:
        wanted["dials.integrate.phil_file"] = given.integrate_phil
    return [
        "xia2",
        *phil_arguments({**wanted, **given.phil, **lims}, "xia2"),
        *(f"image={image}" for image in _images(given)),
        *([f"find_spots.phil_file={SPOTS_FILE}"] if _spot_lines(given) else []),
    ]


def _spot_lines(given: Xia2Parameters) -> list[str]:
    found = given.ispyb_parameters.items()
    spots = {key: value for key, value in found if key.startswith("spotfinder")}
    return list(phil_arguments(spots, "ispyb_parameters"))


def _images(given: Xia2Parameters) -> Iterator[str]:
    named = given.xia2.get("images") or given.xia2.get("image") or []
    texts = named.split(",") if isinstance(named, str) else named
    found = False
    for text in texts:
        found = True
        yield image_argument(str(text))
    if given.images:
        source = import_source(given.images)
        scan = "" if source.first is None else f":{source.first}:{source.last}"
        path = plain_path(str(source.first_path), "images")
        yield phil_value(f"{path}{scan}", "xia2: images")
    elif not found:
        raise ParameterError("xia2: no images are named")


def image_argument(text: str) -> str:
    """Return `path:first:last` with an absolute path.

    Raises:
        ParameterError: it is something else.
    """
    found = _IMAGE.fullmatch(text.strip())
    if found is None or not found["file"].startswith("/"):
        raise ParameterError(f"xia2: image {text!r} is not like /path/x_1.cbf:1:100")
    scan = f":{found['first']}:{found['last']}" if found["first"] else ""
    return phil_value(f"{plain_path(found['file'], 'image')}{scan}", "xia2: image")


def _progress(line: str) -> tuple[str, int, int | None] | None:
    found = _HEADLINE.fullmatch(line.strip())
    return (found[1], 0, None) if found else None


def _check(parameters: Mapping[str, Any]) -> None:
    given = Xia2Parameters.model_validate(parameters)
    if given.images or given.xia2:
        command_arguments(given, 1)


@wrapper_task(
    "xia2",
    parameters=Xia2Parameters,
    once=("ispyb",),
    check=_check,
    picture=draw_answer,
    folder_name=lambda given: given.program,
)
def xia2(bench: Bench) -> Answer:
    """Process rotation images with xia2 and read what it has found."""
    given = bench.parameters
    assert isinstance(given, Xia2Parameters)
    arguments = command_arguments(given, bench.processes)
    spots = _spot_lines(given)
    if spots:
        (bench.folder / SPOTS_FILE).write_text("\n".join(spots) + "\n")
    try:
        bench.run(arguments, progress=_progress, accept=_ended_by_itself)
        _check_success(bench)
    except ProgramError:
        bench.keep(_logs(bench.folder))
        raise
    kept = bench.keep(xia2_files(bench.folder))
    _copy_final(bench, given.pipeline_final)
    place = bench.results_folder or bench.folder
    found = read_results(bench.folder, place)
    xtriage = _xtriage(bench) if given.store_xtriage_results else []
    resolution = resolution_at_two_sigma(bench)
    commands = lims_commands(found, xtriage, resolution)
    bench.step.send("ispyb", {"ispyb_command_list": commands})
    return {
        **summary(found),
        "program": given.program,
        "resolution_i_sigma_2": resolution,
        "xtriage": xtriage,
        "ispyb": found,
        "files": kept,
    }


def _xtriage(bench: Bench) -> list[Answer]:
    """Return xtriage's messages; a report that cannot be read takes nothing else."""
    try:
        return read_xtriage(bench.folder)
    except PermanentError as error:
        bench.update(f"no messages of xtriage: {error}")
        return []


def _ended_by_itself(outcome: Outcome) -> bool:
    """Take any exit code: what xia2 has written says more of its failure."""
    return outcome.ending is Ending.ITSELF and outcome.exit_code is not None


def _check_success(bench: Bench) -> None:
    code = bench.programs[-1]["exit_code"]
    if code != 0 or says_it_failed(bench.folder):
        said = error_line(bench.folder)
        how = f"failed: {said}" if said else f"ended with exit code {code}"
        raise bench.bad_result(f"xia2 {how}")
    for name in ("xia2.json", "DataFiles", "LogFiles"):
        if not (bench.folder / name).exists():
            raise bench.bad_result(f"xia2 left no {name}")


def xia2_files(folder: Path) -> Iterator[KeptFile]:
    """Yield what xia2 has left, with the kind and rank that the LIMS shows."""
    for file in sorted(folder.iterdir()):
        is_own = file.name.startswith(".") or file.suffix == ".sif"
        if file.is_file() and not is_own:
            rank = _TOP_LOGS.get(file.name)
            yield KeptFile(file, file.name, "log", rank or 2, rank is not None)
    for file in _files(folder / "DataFiles"):
        is_log = file.suffix in (".log", ".txt")
        rank = 1 if file.name.endswith("_free.mtz") else 2
        place = str(file.relative_to(folder))
        yield KeptFile(file, place, "log" if is_log else "result", rank)
    for file in _files(folder / "LogFiles"):
        kind = "graph" if file.suffix == ".json" else "log"
        yield KeptFile(file, str(file.relative_to(folder)), kind, 2)


def _files(folder: Path) -> Sequence[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _logs(folder: Path) -> Iterator[KeptFile]:
    for name, rank in _TOP_LOGS.items():
        if (folder / name).is_file():
            yield KeptFile(folder / name, name, "log", rank)


def _copy_final(bench: Bench, final: FinalFiles | None) -> None:
    if final is None:
        return
    roots = bench.desk.settings.roots
    target = allowed_folder(final.path, "pipeline-final.path", roots)
    target.mkdir(parents=True, exist_ok=True)
    for file in _files(bench.folder / "DataFiles"):
        if any(file.match(pattern) for pattern in final.patterns):
            shutil.copy2(file, target / file.name)


def resolution_at_two_sigma(bench: Bench) -> float | None:
    """Return d (Å) where the mean I/sigma is 2, as dials.estimate_resolution has it."""
    data = bench.folder / "DataFiles"
    pairs = [(e, e.with_suffix(".refl")) for e in sorted(data.glob("*_scaled.expt"))]
    files = [str(f) for pair in pairs if pair[1].exists() for f in pair]
    files = files or [str(file) for file in data.glob("*_scaled_unmerged.mtz")]
    path = bench.parameters.environment.get("PATH")
    if not files or shutil.which("dials.estimate_resolution", path=path) is None:
        return None
    before = bench.log.stat().st_size if bench.log.exists() else 0
    try:
        bench.run(["dials.estimate_resolution", *files, "misigma=2"])
    except PermanentError as error:
        bench.update(f"no resolution at I/sigma 2: {error}")
        return None
    with bench.log.open("rb") as log:
        log.seek(before)  # xia2 has named limits of its own above
        said = log.read()
    found = _RESOLUTION.findall(said.decode(errors="replace"))
    return float(found[-1]) if found else None


def summary(found: Mapping[str, Any]) -> Answer:
    """Return space group, cell and statistics of a result for people and nodes."""
    container = found["AutoProcScalingContainer"]
    autoproc = found["AutoProc"]
    return {
        "space_group": autoproc["spaceGroup"],
        "unit_cell": [v for k, v in autoproc.items() if k.startswith("refinedCell")],
        "merging_statistics": {
            row["scalingStatisticsType"]: {
                key: value
                for key, value in row.items()
                if key != "scalingStatisticsType"
            }
            for row in container["AutoProcScalingStatistics"]
        },
    }
