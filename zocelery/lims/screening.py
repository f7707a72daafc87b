"""Screening in the LIMS: from one test shot or a few to the strategy for the rest."""

from typing import Any

from sqlalchemy import select

from zocelery.lims.request import Request
from zocelery.lims.rows import (
    SCREENING,
    SCREENING_INPUT,
    SCREENING_LATTICE,
    SCREENING_OUTPUT,
    SCREENING_STRATEGY,
    SCREENING_SUB_WEDGE,
    SCREENING_WEDGE,
    RowKind,
)
from zocelery.lims.tables import table
from zocelery.lims.writer import Writer

SCREENING_COMMANDS = {
    "insert_screening": SCREENING,
    "insert_screening_input": SCREENING_INPUT,
    "insert_screening_output": SCREENING_OUTPUT,
    "insert_screening_output_lattice": SCREENING_LATTICE,
    "insert_screening_strategy": SCREENING_STRATEGY,
    "insert_screening_strategy_wedge": SCREENING_WEDGE,
    "insert_screening_strategy_sub_wedge": SCREENING_SUB_WEDGE,
}
"""Zocalo's commands, and the rows that they add."""
_NAMES = {
    "dataCollectionId": ("dcid",),
    "dataCollectionGroupId": ("dcgid",),
    "autoProcProgramId": ("autoProcProgramId", "program_id"),
    "rmsErrorLimits": ("rms_err_lim",),
    "minimumFractionIndexed": ("min_fraction_indexed",),
    "maximumFractionRejected": ("max_fraction_rejected",),
    "minimumSignalToNoise": ("min_signal2noise",),
    "totalNumberOfImages": ("total_no_images",),
    "numberOfImages": ("no_images",),
}
"""What Zocalo's messages call a column, where that is not its own name."""
_WHERE_NOTHING_IS_SAID: dict[str, dict[str, Any]] = {
    SCREENING_OUTPUT.table: {"indexingSuccess": 1, "strategySuccess": 1},
    SCREENING_STRATEGY.table: {"anomalous": 0},
    SCREENING_WEDGE.table: {"wedgeNumber": 1},
    SCREENING_SUB_WEDGE.table: {"subWedgeNumber": 1},
}


def store_screening(writer: Writer, kind: RowKind, request: Request) -> int:
    """Return the id of a row of a screening, as a request describes it."""
    values = {column: _value(request, column) for column in kind.written}
    if kind is SCREENING_OUTPUT:
        values["alignmentSuccess"] = int(bool(values["alignmentSuccess"]))
        values["mosaicityEstimated"] = int(bool(values["mosaicity"]))
    if kind is SCREENING:
        _complete(writer, values)
    for column, value in _WHERE_NOTHING_IS_SAID.get(kind.table, {}).items():
        if values[column] is None:
            values[column] = value
    return writer.once(kind, values)


def _value(request: Request, column: str) -> Any:
    names = _NAMES.get(column, (column,))
    found = next((v for n in names if (v := request.loosely(n)) is not None), None)
    if column.endswith("Id"):
        return request.as_key(names[0], found)
    return found


def _complete(writer: Writer, values: dict[str, Any]) -> None:
    """Put the group of the data collection, as ISPyB's procedure does."""
    if values["dataCollectionId"] is None or values["dataCollectionGroupId"]:
        return
    columns = table("DataCollection").c
    query = select(columns.dataCollectionGroupId).where(
        columns.dataCollectionId == values["dataCollectionId"]
    )
    found = writer.connection.execute(query).first()
    values["dataCollectionGroupId"] = found[0] if found else None
