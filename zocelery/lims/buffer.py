"""The buffer: references by which programs name rows whose ids they do not know yet.

A program numbers what it stores itself; table zc_ZocaloBuffer keeps which row of the
LIMS that was. Whoever asks for a number before its row is stored tries again later.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, insert, select, update

from zocelery.errors import PermanentError, TemporaryError
from zocelery.lims.request import COMMAND, Request
from zocelery.lims.tables import table
from zocelery.lims.writer import Writer

TABLE = "zc_ZocaloBuffer"
LOOKUP, STORE, INNER = "buffer_lookup", "buffer_store", "buffer_command"
LARGEST = 2**32 - 1


def inner_request(writer: Writer, request: Request) -> Request:
    """Return the command that a buffered one carries, its references looked up.

    Raises:
        PermanentError: it carries none, or a reference is no number.
        TemporaryError: what a reference stands for is not stored yet.
    """
    inner = request.plain(INNER)
    if not isinstance(inner, Mapping) or not inner.get(COMMAND):
        raise PermanentError(f"LIMS: buffer: {INNER} names no {COMMAND}")
    wanted = request.plain(LOOKUP) or {}
    if not isinstance(wanted, Mapping):
        raise PermanentError(f"LIMS: buffer: {LOOKUP} is no object")
    found = {name: _load(writer, request, wanted[name]) for name in wanted}
    outer = [
        {k: v for k, v in layer.items() if k not in (LOOKUP, STORE, INNER, COMMAND)}
        for layer in request.layers
    ]
    layers = ({**inner, **found}, *outer)
    key = f"{request.key}/buffer"
    return Request(layers, request.variables, key, request.sends, request.programs)


def keep_reference(writer: Writer, request: Request, result: Any) -> None:
    """Keep what the reference of a request stands for, if it has one.

    Raises:
        PermanentError: the result is no row, or the reference no number.
    """
    reference = request.plain(STORE)
    if reference is None:
        return
    program, number = _key(request, reference)
    row = request.as_key(STORE, result)
    if row is None:
        raise PermanentError(f"LIMS: buffer: {STORE}: the command has stored no row")
    names = [column.name for column in table(TABLE).columns]
    writer.abilities.require("insert", TABLE, names)
    writer.require_row("AutoProcProgram", "autoProcProgramId", program)
    writer.lock(f"{TABLE}={program}")
    stored = _stored(writer, program, number)
    values = {"AutoProcProgramID": program, "UUID": number, "Reference": row}
    if stored is None:
        writer.connection.execute(insert(table(TABLE)).values(values))
    elif stored != row:
        change = update(table(TABLE)).where(_at(program, number))
        writer.connection.execute(change.values(Reference=row))


def _load(writer: Writer, request: Request, reference: Any) -> int:
    program, number = _key(request, reference)
    found = _stored(writer, program, number)
    if found is None:
        raise TemporaryError(
            f"LIMS: buffer: program {program} has not stored its row {number} yet"
        )
    return found


def _stored(writer: Writer, program: int, number: int) -> int | None:
    columns = table(TABLE).columns
    writer.abilities.require("select", TABLE, [column.name for column in columns])
    query = select(columns.Reference).where(_at(program, number))
    row = writer.connection.execute(query).first()
    return None if row is None or row[0] is None else int(row[0])


def _at(program: int, number: int) -> ColumnElement[bool]:
    """Return the condition that finds a reference's row."""
    columns = table(TABLE).columns
    return and_(
        columns["AutoProcProgramID"] == program,
        columns["UUID"] == number,
    )


def _key(request: Request, reference: Any) -> tuple[int, int]:
    try:
        number = int(str(reference))
    except ValueError:
        number = -1
    if not 0 <= number <= LARGEST:
        raise PermanentError(
            f"LIMS: buffer: reference {reference!r:.60} is no whole number from 0 to "
            f"{LARGEST}"
        )
    return request.required_key("program_id"), number
