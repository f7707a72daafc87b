"""Molecular replacement in the LIMS, in the older form of Zocalo's messages."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from zocelery.lims.described import RowCommand, named
from zocelery.lims.programs import add_attachment, register_program, update_status
from zocelery.lims.request import Request
from zocelery.lims.rows import BLOB, REFINEMENT
from zocelery.lims.writer import Writer

_RESIDUALS = {
    "rValueStart": "r_start",
    "rValueEnd": "r_end",
    "rFreeValueStart": "rfree_start",
    "rFreeValueEnd": "rfree_end",
}
_FILES = {
    "input_coord_file": "Input",
    "input_MTZ_file": "Input",
    "output_coord_file": "Result",
    "output_MTZ_file": "Result",
    "log_file": "Log",
}
"""Files that a message may name, and what they are to the program."""


def store_run(writer: Writer, request: Request) -> int:
    """Return the id of a MXMRRun row; its program and files go with it."""
    known = request.key_of("id")
    scaling = request.key_of("scaling_id")
    residuals = {column: request.value(name) for column, name in _RESIDUALS.items()}
    if known is not None:
        program = writer.row(REFINEMENT, known, ("autoProcProgramId",))
        writer.change(REFINEMENT, known, {"autoProcScalingId": scaling, **residuals})
        _tell(writer, request, program["autoProcProgramId"])
        return known
    program_id = _register(writer, request, request.text("pipeline") or "dimple")
    _tell(writer, request, program_id)
    values = {"autoProcScalingId": request.required_key("scaling_id"), **residuals}
    return writer.once(REFINEMENT, {**values, "autoProcProgramId": program_id})


def store_failure(writer: Writer, request: Request) -> int:
    """Return the id of the MXMRRun row of a DIMPLE that has failed."""
    scaling = request.required_key("scaling_id")
    program = _register(writer, request, "dimple")
    update_status(writer, program, status="failure", message="Unknown error")
    values = {"autoProcScalingId": scaling, "autoProcProgramId": program}
    return writer.once(REFINEMENT, values)


def _register(writer: Writer, request: Request, program: str) -> int:
    return register_program(
        writer, request.key, program=program, command_line=request.text("cmd_line")
    )


def _tell(writer: Writer, request: Request, program: Any) -> None:
    """Record how the program has ended, and what files it has left."""
    if program is None:
        return
    success = request.value("success")
    if success is not None:
        update_status(
            writer,
            int(program),
            status="success" if success in (1, True, "1", "true") else "failure",
            message=request.text("message"),
            start_time=request.value("starttime"),
            update_time=request.value("endtime"),
        )
    for key, kind in _FILES.items():
        file = request.text(key)
        if file:
            path = PurePosixPath(request.text("run_dir") or "", file)
            add_attachment(
                writer, int(program), name=path.name, folder=str(path.parent), kind=kind
            )


MXMR_COMMANDS: Mapping[str, Any] = {
    "insert_mxmr_run": store_run,
    "insert_mxmr_run_blob": RowCommand(
        BLOB,
        {"mxMRRunId": "mxmr_run_id", **named("view1", "view2", "view3")},
        key="id",
    ),
    "store_dimple_failure": store_failure,
}
"""Zocalo's commands."""
