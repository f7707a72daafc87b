"""DIALS, step by step: each program is a task, and a node can be run again by itself.

A step takes the experiments and reflections that the one before has left, and answers
where its own are, with what can be read from them:

    dials.import -> find_spots -> index -> refine -> integrate -> symmetry -> scale
                                                                     -> merge, export
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from zocelery.errors import ParameterError, PermanentError
from zocelery_tasks.file_watcher_parameters import ImageSource
from zocelery_tasks.wrappers.base import (
    Answer,
    Bench,
    KeptFile,
    WrapperParameters,
    wrapper_task,
)
from zocelery_tasks.wrappers.dials_logs import (
    dials_progress,
    found_space_group,
    integrated_count,
    refined_rmsds,
    saved_reflections,
)
from zocelery_tasks.wrappers.experiments import (
    image_count,
    read_experiments,
    unit_cells,
)
from zocelery_tasks.wrappers.folders import allowed_input
from zocelery_tasks.wrappers.merging import draw_answer, read_merging_statistics
from zocelery_tasks.wrappers.phil import as_numbers, phil_arguments
from zocelery_tasks.wrappers.strong_spots import Gathered, join_command

Files = Mapping[str, Path]


class DialsParameters(WrapperParameters):
    """Parameters of the tasks `dials.*`."""

    images: str | None = None
    """Import only: `x_%05d.cbf:1:100`, `x_####.cbf:1:100` or `x.nxs`, `x.nxs:1:100`."""
    experiments: str | None = None
    """A file, in place of the one that the node before has left."""
    reflections: str | None = None
    """A file, in place of the one that the node before has left."""
    phil: Mapping[str, Any] = Field(default_factory=dict)
    """Parameters of the program by their full names."""
    space_group: str | int | None = None
    """Known beforehand; index looks for nothing else."""
    unit_cell: str | list[float] | None = None
    """Known beforehand, `a,b,c,alpha,beta,gamma`, Å and degrees."""
    d_min: float | None = Field(default=None, gt=0)
    """Scaling and merging: finest resolution, Å."""
    processes: int | None = Field(default=None, ge=1)
    """That the program may use; else as the configuration says."""


@dataclass(frozen=True, slots=True)
class DialsStep:
    """One program of DIALS: what it takes, what it leaves, what can be read from it."""

    name: str
    summary: str
    takes: tuple[str, ...] = ("experiments", "reflections")
    leaves: Mapping[str, str] | None = None
    """File names by what they are."""
    options: tuple[str, ...] = ()
    uses_processes: bool = False
    own_phil: (
        Callable[[DialsParameters, Mapping[str, Any]], Mapping[str, Any]] | None
    ) = None
    """Parameters that follow from the node's own and from what it is told."""
    read: Callable[[Bench, Files], Answer] | None = None
    passes_on: tuple[str, ...] = ()
    """What of its input it answers again."""

    @property
    def program(self) -> str:
        """The name of program and task."""
        return f"dials.{self.name}"


def _leaves(stem: str) -> Mapping[str, str]:
    return {"experiments": f"{stem}.expt", "reflections": f"{stem}.refl"}


def _read_import(bench: Bench, files: Files) -> Answer:
    del bench
    return {"images": image_count(read_experiments(files["experiments"]))}


def _read_spots(bench: Bench, files: Files) -> Answer:
    del files
    return {"spots": saved_reflections(bench.log)}


def _read_crystal(bench: Bench, files: Files) -> Answer:
    cells = unit_cells(read_experiments(files["experiments"]))
    if not cells:
        raise bench.bad_result("no crystal was found")
    group = found_space_group(bench.log)
    found: Answer = {"unit_cell": cells[0], "crystals": len(cells)}
    return {**found, **({"space_group": group} if group else {})}


def _read_refinement(bench: Bench, files: Files) -> Answer:
    return {**_read_crystal(bench, files), **refined_rmsds(bench.log)}


def _read_integration(bench: Bench, files: Files) -> Answer:
    return {**_read_crystal(bench, files), **integrated_count(bench.log)}


def _read_scaling(bench: Bench, files: Files) -> Answer:
    found = read_merging_statistics(bench.log)
    limit = found["overall"]["resolutionLimitHigh"] if "allData" in found else None
    crystal = _read_crystal(bench, files)
    return {**crystal, "merging_statistics": found, "resolution_limit": limit}


def _known_symmetry(
    given: DialsParameters, told: Mapping[str, Any]
) -> Mapping[str, Any]:
    del told
    known = "indexing.known_symmetry"
    cell = as_numbers(given.unit_cell, "dials.index: unit_cell")
    return {f"{known}.space_group": given.space_group, f"{known}.unit_cell": cell}


def _resolution(given: DialsParameters, told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the limit that is asked for, else the one that scaling has suggested."""
    return {"d_min": given.d_min or told.get("resolution_limit")}


STEPS = (
    DialsStep(
        name="find_spots",
        summary="Find the spots of all images, as a whole.",
        takes=("experiments",),
        leaves={"reflections": "strong.refl"},
        uses_processes=True,
        read=_read_spots,
        passes_on=("experiments",),
    ),
    DialsStep(
        name="index",
        summary="Find the crystal's lattice and index the spots.",
        leaves=_leaves("indexed"),
        uses_processes=True,
        own_phil=_known_symmetry,
        read=_read_crystal,
    ),
    DialsStep(
        name="refine",
        summary="Refine crystal, beam and detector, varying with the scan.",
        leaves=_leaves("refined"),
        read=_read_refinement,
    ),
    DialsStep(
        name="integrate",
        summary="Integrate all reflections that the crystal should give.",
        leaves=_leaves("integrated"),
        uses_processes=True,
        read=_read_integration,
    ),
    DialsStep(
        name="symmetry",
        summary="Find the Laue group and the space group.",
        leaves=_leaves("symmetrized"),
        read=_read_crystal,
    ),
    DialsStep(
        name="scale",
        summary="Scale the intensities and tell how well they agree.",
        leaves=_leaves("scaled"),
        uses_processes=True,
        own_phil=_resolution,
        read=_read_scaling,
    ),
    DialsStep(
        name="merge",
        summary="Merge equivalent reflections to an MTZ file.",
        leaves={"mtz": "merged.mtz"},
        own_phil=_resolution,
        passes_on=("space_group", "unit_cell", "merging_statistics"),
    ),
    DialsStep(
        name="export",
        summary="Write the scaled, unmerged reflections to an MTZ file.",
        leaves={"mtz": "scaled.mtz"},
        options=("format=mtz", "intensity=scale", "mtz.hklout=scaled.mtz"),
        passes_on=("space_group", "unit_cell"),
    ),
)


def run_step(step: DialsStep, bench: Bench) -> Answer:
    """Run one program of DIALS; return where its files are and what they say."""
    given = bench.parameters
    assert isinstance(given, DialsParameters)
    inputs = [input_file(bench, kind) for kind in step.takes]
    payload = bench.step.payload if isinstance(bench.step.payload, Mapping) else {}
    own = dict(step.own_phil(given, payload)) if step.own_phil else {}
    if step.uses_processes:
        own["nproc"] = given.processes or bench.processes
    arguments = [
        *(step.program, *map(str, inputs)),
        *step.options,
        *phil_arguments({**own, **given.phil}, step.program),
    ]
    bench.run(arguments, progress=dials_progress())
    files = {k: bench.folder / name for k, name in (step.leaves or {}).items()}
    for file in files.values():
        if not file.exists():
            raise bench.bad_result(f"{step.program} left no {file.name}")
    answer = {k: payload[k] for k in step.passes_on if k in payload}
    answer.update({kind: str(file) for kind, file in files.items()})
    if step.read is not None:
        answer.update(step.read(bench, files))
    answer["files"] = bench.keep(kept_files(bench.folder))
    return answer


def input_file(bench: Bench, kind: str) -> Path:
    """Return the file that a step takes: its own parameter, else what it was told.

    Raises:
        PermanentError: it is not there.
        ParameterError: it is not named, or its name would be taken for a parameter.
    """
    payload = bench.step.payload if isinstance(bench.step.payload, Mapping) else {}
    named = getattr(bench.parameters, kind, None) or payload.get(kind)
    if not isinstance(named, str):
        raise ParameterError(f"no {kind} are named, and the node before left none")
    file = plain_path(named, kind)
    if not file.exists():
        raise PermanentError(f"{kind}: {file} does not exist")
    return file


def plain_path(text: str, key: str) -> Path:
    """Return an absolute path that no program takes for an option or a parameter.

    Raises:
        ParameterError: it has an equals sign or a NUL in it, or is outside of the
            allowed folders.
    """
    if "=" in text or "\0" in text:
        raise ParameterError(f"{key}: {text!r} would be taken for a parameter")
    return allowed_input(text, key)


_LOGS = (".log", ".html", ".phil", ".json")


def kept_files(folder: Path) -> Iterator[KeptFile]:
    """Yield what a program of DIALS has left, the data first."""
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith("."):
            is_log = file.suffix in _LOGS
            kind = "log" if is_log else "result"
            yield KeptFile(
                file, file.name, kind, rank=1 if file.suffix == ".mtz" else 2
            )


def _check_images(parameters: Mapping[str, Any]) -> None:
    given = DialsParameters.model_validate(parameters)
    if given.images:
        import_source(given.images)


def import_source(images: str) -> ImageSource:
    """Read the parameter `images`.

    Raises:
        ParameterError: it names no images.
    """
    try:
        return ImageSource.parse(images)
    except ValueError as error:
        raise ParameterError(f"images: {error}") from error


@wrapper_task("dials.import", parameters=DialsParameters, check=_check_images)
def import_images(bench: Bench) -> Answer:
    """Tell DIALS which images make a data set."""
    given = bench.parameters
    assert isinstance(given, DialsParameters)
    if not given.images:
        raise ParameterError("dials.import: no images are named")
    source = import_source(given.images)
    files = [str(plain_path(name, "images")) for name in image_files(source)]
    for file in files:
        if not Path(file).exists():
            raise PermanentError(f"images: {file} does not exist")
    own = phil_arguments(given.phil, "dials.import")
    bench.run(["dials.import", *files, "output.experiments=imported.expt", *own])
    imported = bench.folder / "imported.expt"
    if source.is_hdf5 and source.first is not None:
        chosen = f"image_range={source.first},{source.last}"
        output = "output.experiments_filename=chosen.expt"
        bench.run(["dials.slice_sequence", str(imported), chosen, output])
        imported = bench.folder / "chosen.expt"
    data = _read_import(bench, {"experiments": imported})
    kept = bench.keep(kept_files(bench.folder))
    return {"experiments": str(imported), **data, "files": kept}


def image_files(source: ImageSource) -> list[str]:
    """Return the files in which the images are."""
    if source.is_hdf5:
        return [source.file]
    if source.first is None or source.last is None:
        return [source.file % ()]
    return [source.file % number for number in range(source.first, source.last + 1)]


@wrapper_task("dials.join_spots", parameters=DialsParameters)
def join_spots(bench: Bench) -> Answer:
    """Make spots of the strong pixels that per-image analysis has found.

    Gathers the images, which have been analysed with `keep_strong_pixels`, and what
    dials.import answers. The spots are those that dials.find_spots would find.
    """
    given = bench.parameters
    assert isinstance(given, DialsParameters)
    gathered = Gathered.of(bench.step)
    experiments = plain_path(str(gathered.imported["experiments"]), "experiments")
    named = phil_arguments(given.phil, "dials.join_spots")
    command = join_command(bench.folder, gathered, experiments, named)
    bench.run(command, progress=dials_progress())
    reflections = bench.folder / "strong.refl"
    if not reflections.exists():
        raise bench.bad_result("dials.join_spots left no strong.refl")
    return {
        "experiments": str(experiments),
        "reflections": str(reflections),
        "spots": saved_reflections(bench.log),
        "missing": gathered.missing(),
        "files": bench.keep(kept_files(bench.folder)),
    }


def _register(step: DialsStep) -> None:
    def _run(bench: Bench) -> Answer:
        return run_step(step, bench)

    _run.__doc__ = step.summary
    picture = draw_answer if "merging_statistics" in step.passes_on else None
    wrapper_task(step.program, parameters=DialsParameters, picture=picture)(_run)


for _step in STEPS:
    _register(_step)
