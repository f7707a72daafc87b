"""What recipes ask of the LIMS: earlier programs, their files, a proposal's title."""

import re
from collections.abc import Mapping
from typing import Any

from zocelery.errors import PermanentError
from zocelery.lims.reader import Reader, Row
from zocelery.lims.request import Request
from zocelery.lims.writer import Writer

_PROGRAM: Mapping[str, str] = {
    "id": "autoProcProgramId",
    "commandLine": "processingCommandLine",
    "programs": "processingPrograms",
    "status": "processingStatus",
    "message": "processingMessage",
    "startTime": "processingStartTime",
    "endTime": "processingEndTime",
    "environment": "processingEnvironment",
    "recordTimeStamp": "recordTimeStamp",
    "jobId": "processingJobId",
}
_FILE: Mapping[str, str] = {
    "attachmentId": "autoProcProgramAttachmentId",
    "fileType": "fileType",
    "filePath": "filePath",
    "fileName": "fileName",
    "importanceRank": "importanceRank",
}
_VISIT = re.compile(r"([A-Za-z]+)(\d+)(?:-\d+)?")
MOST_PROGRAMS = 1000


def retrieve_programs(writer: Writer, request: Request) -> list[Row]:
    """Return the programs of a processing job, as ISPyB's procedure names them."""
    where = {"processingJobId": request.required_key("rpid")}
    return _found(writer, "AutoProcProgram", where, _PROGRAM)


def retrieve_attachments(writer: Writer, request: Request) -> list[Row]:
    """Return the files of a program, as ISPyB's procedure names them."""
    where = {"autoProcProgramId": request.required_key("program_id")}
    return _found(writer, "AutoProcProgramAttachment", where, _FILE)


def retrieve_title(writer: Writer, request: Request) -> str | None:
    """Return the title of the proposal that `visit`, or code and number, names.

    Raises:
        PermanentError: there is no such proposal.
    """
    code, number = request.text("proposalcode"), request.text("proposalnumber")
    visit = request.text("visit")
    if visit:
        match = _VISIT.fullmatch(visit)
        if match is None:
            raise PermanentError(f"LIMS: {request.command}: {visit!r:.60} is no visit")
        code, number = match.groups()
    where = {"proposalCode": code, "proposalNumber": number}
    found = _reader(writer).one("Proposal", where, needed=True)
    if not found:
        shown = f"{code or ''}{number or ''}"
        raise PermanentError(f"LIMS: there is no proposal {shown[:60]!r}")
    title = found.get("title")
    return None if title is None else str(title)


def _found(
    writer: Writer, table: str, where: Mapping[str, Any], names: Mapping[str, str]
) -> list[Row]:
    rows = _reader(writer).all(table, where, needed=True, limit=MOST_PROGRAMS)
    return [{name: row.get(column) for name, column in names.items()} for row in rows]


def _reader(writer: Writer) -> Reader:
    return Reader(writer.connection, writer.abilities)


RETRIEVAL_COMMANDS = {
    "retrieve_programs_for_job_id": retrieve_programs,
    "retrieve_program_attachments_for_program_id": retrieve_attachments,
    "retrieve_proposal_title": retrieve_title,
}
"""Zocalo's commands that only read."""
