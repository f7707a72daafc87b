"""Zocalo's commands to its ISPyB connector, by their names."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zocelery.allowed_files import allowed_path, program_roots
from zocelery.errors import ParameterError, PermanentError
from zocelery.lims import programs
from zocelery.lims.abilities import Abilities
from zocelery.lims.acquisition import ACQUISITION_COMMANDS
from zocelery.lims.buffer import inner_request, keep_reference
from zocelery.lims.centring import Centring, store_centring
from zocelery.lims.connection import Lims
from zocelery.lims.image_quality import image_row, store_in
from zocelery.lims.integration import (
    SHELLS,
    store_integration,
    store_merged,
    store_scaling,
)
from zocelery.lims.jobs import JobRequest, create_job, read_pairs, read_sweeps
from zocelery.lims.microscopy import MICROSCOPY_COMMANDS
from zocelery.lims.mxmr import MXMR_COMMANDS
from zocelery.lims.phasing import PHASING_COMMANDS
from zocelery.lims.refinement import Refinement, store_refinement
from zocelery.lims.request import MULTIPART, STORE_RESULT, Request
from zocelery.lims.retrieval import RETRIEVAL_COMMANDS
from zocelery.lims.rows import AUTO_PROC, COLLECTION_ATTACHMENT, RowKind
from zocelery.lims.screening import SCREENING_COMMANDS, store_screening
from zocelery.lims.writer import Writer, write_rows

logger = logging.getLogger(__name__)
Command = Callable[[Writer, Request], Any]
_CELL = ("a", "b", "c", "alpha", "beta", "gamma")
_INTEGRATION = {
    "start_image_no": "startImageNumber",
    "end_image_no": "endImageNumber",
    "refined_detector_dist": "refinedDetectorDistance",
    "refined_xbeam": "refinedXBeam",
    "refined_ybeam": "refinedYBeam",
    **{f"rot_axis_{axis}": f"rotationAxis{axis.upper()}" for axis in "xyz"},
    **{f"beam_vec_{axis}": f"beamVector{axis.upper()}" for axis in "xyz"},
    **{f"cell_{name}": f"cell_{name}" for name in _CELL},
    "anom": "anomalous",
}
_PROGRAM_FILES = ("log", "result", "graph")
_COLLECTION_FILES = ("snapshot", "log", "xy", "recip", "pia")


@dataclass
class Outcome:
    """What came of a request."""

    result: Any
    variables: dict[str, Any] = field(default_factory=dict)
    """What `store_result` has named."""
    sends: list[tuple[str, Any]] = field(default_factory=list)
    """Channel and payload of what is to be sent, now that all is stored."""
    programs: list[int] = field(default_factory=list)
    """The programs that have been registered."""


def run_command(
    lims: Lims,
    abilities: Abilities,
    layers: tuple[Mapping[str, Any], ...],
    variables: Mapping[str, Any],
    key: str,
) -> Outcome:
    """Do what is asked, a list of commands in one transaction.

    Args:
        lims: where to.
        abilities: of its account.
        layers: see `Request`: the payload, then the parameters.
        variables: what stands for `$name`.
        key: tells this request from all others, the same in every try.

    Raises:
        PermanentError: the command is not known, a value cannot be used.
        ConfigurationError: the account lacks a right.
        TemporaryError, ServerUnreachableError: trying again may help.
    """

    def _work(writer: Writer) -> Outcome:
        known = _Noted(variables)
        request = Request(layers, known, key)
        result = _run(writer, request)
        return Outcome(result, known.noted, request.sends, request.programs)

    return write_rows(lims, abilities, _work)


def find_command(name: str) -> Command:
    """Return the command of this name.

    Raises:
        PermanentError: there is none.
    """
    if name not in COMMANDS:
        raise PermanentError(
            f"LIMS: {name!r} is no command; there are {', '.join(sorted(COMMANDS))}"
        )
    return COMMANDS[name]


class _Noted(dict[str, Any]):
    """Variables that remembers which have been set anew."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        super().__init__(known)
        self.noted: dict[str, Any] = {}

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self.noted[name] = value


def _run(writer: Writer, request: Request) -> Any:
    result = find_command(request.command)(writer, request)
    name = request.plain(STORE_RESULT)
    if name:
        request.variables[str(name)] = result
    return result


def _run_all(writer: Writer, request: Request) -> Any:
    result = None
    for step in request.steps():
        result = _run(writer, step)
    return result


def _run_buffered(writer: Writer, request: Request) -> Any:
    result = _run(writer, inner_request(writer, request))
    keep_reference(writer, request, result)
    return result


def _create_job(writer: Writer, request: Request) -> int:
    job = JobRequest(
        recipe=str(request.required("recipe")),
        dcid=request.key_of("DCID"),
        sweeps=read_sweeps(request.value("sweeps") or ()),
        parameters=read_pairs(request.value("parameters") or ()),
        display_name=request.text("displayname"),
        comment=request.text("comment"),
        automatic=request.value("source") == "automatic",
    )
    made = create_job(writer, request.key, job)
    told = dict(read_pairs(request.value("triggervariables") or ()))
    channel = "trigger" if request.value("autostart") else "held"
    request.sends.append((channel, {"parameters": {**told, "ispyb_process": made}}))
    return made


def _register(writer: Writer, request: Request) -> int:
    environment = request.value("environment")
    named = environment if isinstance(environment, Mapping) else {}
    scaling = request.value("scaling_id") or named.get("scaling_id")
    if isinstance(scaling, list):
        scaling = scaling[0] if scaling else None
    key = request.as_key("scaling_id", scaling)
    parent = None if key is None else programs.program_of_scaling(writer, key)
    made = programs.register_program(
        writer,
        request.key,
        program=str(request.required("program")),
        command_line=request.text("cmdline"),
        environment=environment,
        job=request.key_of("rpid"),
        parent=parent,
        upstream=request.text("upstream_source"),
    )
    request.programs.append(made)
    return made


def _update_status(writer: Writer, request: Request) -> int:
    return programs.update_status(
        writer,
        request.required_key("program_id"),
        status=request.text("status"),
        message=request.text("message") or request.text("status_message"),
        start_time=request.value("start_time"),
        update_time=request.value("update_time"),
    )


def _rename(writer: Writer, request: Request) -> int:
    name = str(request.required("program"))
    return programs.rename_program(writer, request.required_key("program_id"), name)


def _add_message(writer: Writer, request: Request) -> int:
    return programs.add_message(
        writer,
        request.required_key("program_id"),
        request.text("severity"),
        str(request.required("message")),
        request.text("description"),
    )


def _add_program_file(writer: Writer, request: Request) -> int:
    file = _file(request)
    return programs.add_attachment(
        writer,
        request.required_key("program_id"),
        name=file.name,
        folder=str(file.parent),
        kind=_file_type(request, _PROGRAM_FILES),
        rank=request.plain("importance_rank"),
    )


def _add_collection_file(writer: Writer, request: Request) -> int:
    values = {
        "dataCollectionId": request.required_key("dcid"),
        "fileFullPath": str(_file(request)),
        "fileType": _file_type(request, _COLLECTION_FILES),
    }
    return writer.once(COLLECTION_ATTACHMENT, values)


def _store_image(writer: Writer, request: Request) -> int:
    row = read_image_row(request)
    store_in(writer.connection, writer.abilities, [row])
    return int(row["imageNumber"])


def read_image_row(request: Request) -> dict[str, Any]:
    """Return the row of one image that a request describes.

    Raises:
        PermanentError: data collection, image number or all counts are missing.
    """
    number = request.value("file-pattern-index") or request.value("file-number")
    if not number:
        raise PermanentError(f"LIMS: {request.command}: file-number is not given")
    found = request.everything()
    if found.get("n_spots_total") is None and found.get("dozor_score") is None:
        raise PermanentError(
            f"LIMS: {request.command}: neither n_spots_total nor dozor_score is given"
        )
    return image_row(request.required_key("dcid"), int(number), found)


def _write_merged(writer: Writer, request: Request) -> int:
    names = {f"refinedCell_{one}": f"refinedcell_{one}" for one in _CELL}
    values = {column: request.value(name) for column, name in names.items()}
    program = request.required_key("program_id")
    space_group = request.text("spacegroup")
    row = {"autoProcProgramId": program, "spaceGroup": space_group, **values}
    known = request.key_of("autoproc_id")
    if known is None:
        return store_merged(writer, row)
    writer.row(AUTO_PROC, known, ())
    writer.change(AUTO_PROC, known, row)
    return known


def _insert_scaling(writer: Writer, request: Request) -> int:
    shells = {name: request.value(name) for name in SHELLS}
    return store_scaling(writer, request.required_key("autoproc_id"), shells)


def _integrate(writer: Writer, request: Request) -> int:
    values = {column: request.value(name) for name, column in _INTEGRATION.items()}
    keys = {
        "autoProcProgramId": request.key_of("program_id"),
        "dataCollectionId": request.required_key("dcid"),
    }
    return store_integration(
        writer,
        {**keys, **values},
        scaling=request.key_of("scaling_id"),
        integration=request.key_of("integration_id"),
    )


def _store_centring(writer: Writer, request: Request) -> int:
    return store_centring(writer, Centring.parse(request.everything()))


def _store_refinement(writer: Writer, request: Request) -> int:
    refinement = Refinement.parse(request.everything())
    return store_refinement(writer, request.key, refinement)


def _file(request: Request) -> Path:
    """Return the file that is named; variables are not filled in, as in Zocalo."""
    name, folder = (str(request.plain(key) or "") for key in ("file_name", "file_path"))
    path = Path(folder, name)
    try:
        allowed_path(path, "file_path", program_roots())
        there = bool(name) and path.is_file()
    except (OSError, ValueError, ParameterError) as error:
        raise PermanentError(f"LIMS: {request.command}: {path}: {error}") from error
    if not there:
        raise PermanentError(f"LIMS: {request.command}: {path}: no such file")
    return path


def _file_type(request: Request, known: tuple[str, ...]) -> str:
    kind = str(request.value("file_type")).lower()
    if kind in known:
        return kind
    logger.warning("LIMS: %s: file type %r is unknown, log is", request.command, kind)
    return "log"


def _screening(kind: RowKind) -> Command:
    return lambda writer, request: store_screening(writer, kind, request)


COMMANDS: Mapping[str, Command] = {
    MULTIPART: _run_all,
    "create_ispyb_job": _create_job,
    "register_processing": _register,
    "update_processing_status": _update_status,
    "update_program_name": _rename,
    "add_program_message": _add_message,
    "add_program_attachment": _add_program_file,
    "add_datacollection_attachment": _add_collection_file,
    "store_per_image_analysis_results": _store_image,
    "write_autoproc": _write_merged,
    "insert_scaling": _insert_scaling,
    "upsert_integration": _integrate,
    "register_integration": _integrate,
    "insert_xray_centring": _store_centring,
    "insert_dimple_result": _store_refinement,
    "insert_metal_id_result": _store_refinement,
    **{name: _screening(kind) for name, kind in SCREENING_COMMANDS.items()},
    "buffer": _run_buffered,
    **MXMR_COMMANDS,
    **PHASING_COMMANDS,
    **ACQUISITION_COMMANDS,
    **MICROSCOPY_COMMANDS,
    **RETRIEVAL_COMMANDS,
}
