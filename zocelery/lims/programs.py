"""Programs in the LIMS: registered, told of while they run, and always ended."""

import hashlib
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from zocelery.errors import PermanentError
from zocelery.lims.rows import PROGRAM, PROGRAM_ATTACHMENT, PROGRAM_MESSAGE
from zocelery.lims.tables import table
from zocelery.lims.values import shortened
from zocelery.lims.writer import Writer

logger = logging.getLogger(__name__)
RUNNING, FAILURE, SUCCESS = None, 0, 1
STATUSES = {"failure": FAILURE, "success": SUCCESS}
"""Every other word means that the program runs."""
PROCEDURE_MESSAGE = 80
"""Characters that the procedure for programs takes; the column takes more."""
MARKED = "processingEnvironment"
"""Its end tells requests apart: jobUuid would, but no published schema has it yet."""
SEARCHED = 50_000
"""The newest programs, among which one without a job is looked for by its mark."""
PIPELINES = {
    "fast_dp": 3,
    "xia2.multiplex": 5,
    "xia2 dials": 6,
    "xia2 3dii": 7,
    "autoPROC": 8,
    "fast_ep": 9,
    "dimple": 10,
    "MrBUMP": 11,
    "big_ep/xds": 12,
    "big_ep/dials": 13,
    "autoPROC+STARANISO": 14,
    "xia2 dials (multi)": 15,
    "xia2 3dii (multi)": 16,
}
"""The rows of ProcessingPipeline that Diamond's programs belong to."""
_STATE = (
    "processingStatus",
    "processingStartTime",
    "processingEndTime",
    "processingMessage",
)


def register_program(
    writer: Writer,
    request: str,
    *,
    program: str,
    command_line: str | None = None,
    environment: Mapping[str, Any] | str | None = None,
    job: int | None = None,
    parent: int | None = None,
    upstream: str | None = None,
) -> int:
    """Return the id of the program that `request` asks for, registered if it is new.

    Args:
        writer: of the transaction.
        request: tells this request from all others, the same in every try.
        program: its name.
        command_line: how it is called; what the column cannot hold is cut off.
        environment: what is worth knowing of it; cut as well.
        job: the processing job that asked for it.
        parent: the program whose results it takes.
        upstream: what that program was, where the pipeline depends on it.
    """
    mark = mark_of(request)
    writer.lock(mark)
    found = _find_marked(writer, mark, job)
    if found is not None:
        return found
    columns = table(PROGRAM.table)
    named = f"{program}/{upstream}" if upstream else program
    values = {
        "processingJobId": job,
        "processingPrograms": program,
        "processingCommandLine": command_line
        and shortened(columns, "processingCommandLine", str(command_line)),
        "processingEnvironment": _environment(environment, mark),
        "processingPipelineId": PIPELINES.get(named),
        "parentAutoProcProgramId": parent,
        "recordTimeStamp": datetime.now(),
    }
    return writer.add(PROGRAM, writer.fitting(PROGRAM, values))


def update_status(
    writer: Writer,
    program_id: int,
    *,
    status: str | None = None,
    message: str | None = None,
    start_time: Any = None,
    update_time: Any = None,
) -> int:
    """Note how a program is; return its id.

    What has ended stays ended, though messages come twice or late: "failure" and
    "success" are not undone by news of the run, nor a success by a failure. A failure
    gives way to a success: the program was started again.

    Raises:
        PermanentError: there is no such program.
    """
    writer.lock(f"autoProcProgramId={program_id}")
    row = writer.row(PROGRAM, program_id, _STATE)
    now, told = row["processingStatus"], STATUSES.get(str(status).lower())
    if not _moves_on(now, told):
        return program_id
    moment = update_time or datetime.now()
    if told is RUNNING and _is_older(writer, moment, row["processingEndTime"]):
        return program_id
    started = row["processingStartTime"] or start_time or datetime.now()
    values = {
        "processingStatus": told,
        "processingMessage": _fit_message(writer, message),
        "processingStartTime": started,
        "processingEndTime": moment,
    }
    writer.change(PROGRAM, program_id, values)
    if not writer.abilities.may("update", PROGRAM.table, _STATE) and now is not None:
        logger.warning(
            "LIMS: program %d stays a failure: the account may not change a program "
            "that has ended",
            program_id,
        )
    return program_id


def rename_program(writer: Writer, program_id: int, name: str) -> int:
    """Give a program another name; return its id."""
    writer.row(PROGRAM, program_id, ())
    writer.change(PROGRAM, program_id, {"processingPrograms": name})
    return program_id


def close_program(writer: Writer, program_id: int, message: str) -> bool:
    """Record as failed what still counts as running; False if it had ended.

    For a program that was killed or cancelled and cannot say so itself.
    """
    writer.lock(f"autoProcProgramId={program_id}")
    if writer.row(PROGRAM, program_id, _STATE)["processingStatus"] is not RUNNING:
        return False
    update_status(writer, program_id, status="failure", message=message)
    return True


def add_message(
    writer: Writer,
    program_id: int,
    severity: str | None,
    message: str,
    description: str | None = None,
) -> int:
    """Return the id of a program's message; the same message is there once."""
    columns = table(PROGRAM_MESSAGE.table)
    values = {
        "autoProcProgramId": program_id,
        "severity": severity,
        "message": shortened(columns, "message", message),
        "description": description,
    }
    return writer.once(PROGRAM_MESSAGE, values)


def add_attachment(
    writer: Writer,
    program_id: int,
    *,
    name: str,
    folder: str,
    kind: str,
    rank: int | None = None,
) -> int:
    """Return the id of a file that a program has left; each file is there once."""
    values = {
        "autoProcProgramId": program_id,
        "fileName": name,
        "filePath": folder,
        "fileType": kind,
        "importanceRank": rank,
    }
    return writer.once(PROGRAM_ATTACHMENT, values)


def program_of_scaling(writer: Writer, scaling: int) -> int | None:
    """Return the program whose results a scaling is of.

    Raises:
        PermanentError: there is no such scaling.
    """
    scalings, merged = table("AutoProcScaling").c, table("AutoProc").c
    query = (
        select(merged.autoProcProgramId)
        .join(scalings.autoProcId.table, scalings.autoProcId == merged.autoProcId)
        .where(scalings.autoProcScalingId == scaling)
    )
    found = writer.connection.execute(query).first()
    if found is None:
        raise PermanentError(f"LIMS: there is no AutoProcScaling {scaling}")
    return None if found[0] is None else int(found[0])


def mark_of(request: str) -> str:
    """Return the text that tells a request from all others in a column of text."""
    digest = hashlib.sha1(request.encode(), usedforsecurity=False).hexdigest()
    return f"zocelery={digest[:20]}"


def _environment(environment: Mapping[str, Any] | str | None, mark: str) -> str:
    """Return the text for the column, with the mark of the request at its end."""
    if isinstance(environment, Mapping):
        environment = ", ".join(f"{key}={value}" for key, value in environment.items())
    if not environment:
        return mark
    length = getattr(table(PROGRAM.table).c.processingEnvironment.type, "length", 255)
    return f"{environment[: length - len(mark) - 2]}, {mark}"


def _find_marked(writer: Writer, mark: str, job: int | None) -> int | None:
    """Return the program with this mark: of its job, or else among the newest."""
    writer.abilities.require(
        "select", PROGRAM.table, (PROGRAM.key, "processingJobId", MARKED)
    )
    columns = table(PROGRAM.table).c
    key = columns[PROGRAM.key]
    query = select(key).where(columns[MARKED].endswith(mark, autoescape=True))
    if job is not None:
        query = query.where(columns.processingJobId == job)
    else:
        newest = writer.connection.execute(select(func.max(key))).scalar() or 0
        query = query.where(key > newest - SEARCHED, columns.processingJobId.is_(None))
    found = writer.connection.execute(query.order_by(key)).first()
    return None if found is None else int(found[0])


def _moves_on(now: int | None, told: int | None) -> bool:
    """Whether a program that is `now` so may become what is `told` of it."""
    if now is None:
        return True
    return told is not None and told > int(now)


def _is_older(writer: Writer, moment: Any, known: datetime | None) -> bool:
    """Whether news of a run are older than what is known."""
    fitting = writer.fitting(PROGRAM, {"processingEndTime": moment})
    return known is not None and fitting["processingEndTime"] < known


def _fit_message(writer: Writer, message: str | None) -> str | None:
    if message is None:
        return None
    text = shortened(table(PROGRAM.table), "processingMessage", str(message))
    if not writer.abilities.may("update", PROGRAM.table, _STATE):
        return text[:PROCEDURE_MESSAGE]
    return text
