"""Experimental phasing (fast_ep and the like) in the LIMS.

A message holds the program's own report, `ispyb.xml`, as a dictionary: elements that
come once are objects, those that come more often are lists, all values are text.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zocelery.allowed_files import allowed_path, program_roots
from zocelery.errors import ParameterError, PermanentError
from zocelery.lims.request import Request
from zocelery.lims.rows import RowKind
from zocelery.lims.tables import table
from zocelery.lims.values import is_same, shortened
from zocelery.lims.writer import Writer

logger = logging.getLogger(__name__)
_ANALYSIS = "phasingAnalysisId"
_RUN = "phasingProgramRunId"
_SCALED = "Phasing_has_ScalingContainer"
_LIMITS = ("spaceGroupId", "lowRes", "highRes")

ANALYSIS = RowKind(
    "PhasingAnalysis",
    _ANALYSIS,
    (),
    ("recordTimeStamp",),
    procedure="insert_phasing_analysis_results",
)
"""Its procedure writes all rows of a phasing."""
PROGRAM_RUN = RowKind(
    "PhasingProgramRun",
    _RUN,
    (),
    (
        *("phasingCommandLine", "phasingPrograms", "phasingStatus"),
        *("phasingMessage", "phasingStartTime", "phasingEndTime"),
    ),
)
SCALING_LINK = RowKind(
    "Phasing_has_Scaling", "phasingHasScalingId", (_ANALYSIS,), ("autoProcScalingId",)
)
STATISTICS = RowKind(
    "PhasingStatistics",
    "phasingStatisticsId",
    ("phasingHasScalingId1",),
    (
        *("numberOfBins", "binNumber", "lowRes", "highRes", "metric"),
        *("statisticsValue", "nReflections"),
    ),
)
ATTACHMENT = RowKind(
    "PhasingProgramAttachment",
    "phasingProgramAttachmentId",
    (_RUN,),
    ("fileType", "fileName", "filePath", "recordTimeStamp"),
)


def _step(name: str, key: str, *columns: str) -> RowKind:
    return RowKind(name, key, (_ANALYSIS, _RUN), (*_LIMITS, *columns))


STEPS = (
    _step("PreparePhasingData", "preparePhasingDataId"),
    _step("Phasing", "phasingId", "method", "solventContent", "enantiomorph"),
    _step("ModelBuilding", "modelBuildingId"),
    _step("SubstructureDetermination", "substructureDeterminationId", "method"),
)
KINDS = (ANALYSIS, PROGRAM_RUN, SCALING_LINK, STATISTICS, ATTACHMENT, *STEPS)
"""All rows of a phasing."""
Row = dict[str, Any]
Report = Mapping[str, list[Row]]
"""Rows by table, as the columns take them."""


def store_phasing(writer: Writer, request: Request) -> int:
    """Return the id of the phasing that a report describes, stored with all it has.

    No column can hold a mark of the request where only the procedure may write. So the
    same phasing is one of the same scaling that ended in the same second and found the
    same.

    Raises:
        PermanentError: a value cannot be, a file is outside of the allowed folders, or
            there is no such scaling.
    """
    scaling = request.required_key("scaling_id")
    report = _read(writer, request.value("phasing_results"))
    writer.require_row("AutoProcScaling", "autoProcScalingId", scaling)
    writer.lock(f"autoProcScalingId={scaling}")
    found = _find(writer, scaling, report)
    if found is not None:
        return found
    if all(_may_add(writer, kind) for kind in KINDS):
        return _add(writer, scaling, report)
    told = {"p_phasing_result": _as_json(report), "p_autoProcScalingId": scaling}
    if not writer.abilities.may_call(str(ANALYSIS.procedure)):
        for kind in KINDS:
            writer.abilities.require("insert", kind.table, kind.written)
    return writer.call(ANALYSIS, told)


def _read(writer: Writer, described: Any) -> Report:
    """Return the rows of a report."""
    told = described.get("PhasingContainer") if isinstance(described, Mapping) else None
    if not isinstance(told, Mapping):
        raise PermanentError("LIMS: phasing_results has no PhasingContainer")
    scaled = told.get(_SCALED)
    inside = scaled if isinstance(scaled, Mapping) else {}
    report = {
        kind.table: [
            _row(writer, kind, one)
            for one in _elements((inside if kind is STATISTICS else told), kind.table)
        ]
        for kind in KINDS
        if kind is not SCALING_LINK
    }
    for name in (ANALYSIS.table, PROGRAM_RUN.table):
        if not report[name]:
            raise PermanentError(f"LIMS: phasing_results: {name} is not given")
    if not report[ANALYSIS.table][0].get("recordTimeStamp"):
        raise PermanentError("LIMS: phasing_results: recordTimeStamp is not given")
    _check_files(report)
    return report


def _elements(told: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    found = told.get(name)
    for one in found if isinstance(found, list) else [found]:
        if isinstance(one, Mapping):
            yield one
        elif one not in (None, "", "None"):
            raise PermanentError(
                f"LIMS: phasing_results: {name} = {one!r:.60} is no object"
            )


def _row(writer: Writer, kind: RowKind, told: Mapping[str, Any]) -> Row:
    """Return the values of one element that have a column."""
    values = {name: told.get(name) for name in kind.columns}
    for name in ("phasingCommandLine", "phasingMessage"):
        if values.get(name) is not None:
            values[name] = shortened(table(kind.table), name, str(values[name]))
    group = values.get("spaceGroupId")
    if group is not None and not _is_known_group(writer, group):
        logger.warning("LIMS: phasing: there is no SpaceGroup %r: left out", group)
        values["spaceGroupId"] = None
    return writer.fitting(kind, values)


def _is_known_group(writer: Writer, group: Any) -> bool:
    try:
        writer.require_row("SpaceGroup", "spaceGroupId", int(group))
    except (TypeError, ValueError, PermanentError):
        return False
    return True


def _check_files(report: Report) -> None:
    for row in report[ATTACHMENT.table]:
        file = Path(row.get("filePath", ""), row.get("fileName", ""))
        try:
            allowed_path(file, ATTACHMENT.table, program_roots())
        except (ParameterError, ValueError) as error:
            raise PermanentError(f"LIMS: phasing_results: {error}") from error


def _find(writer: Writer, scaling: int, report: Report) -> int | None:
    """Return the phasing of a scaling that says what a report says."""
    links = writer.rows(SCALING_LINK, {"autoProcScalingId": scaling}, (_ANALYSIS,))
    for link in links:
        analysis = {_ANALYSIS: int(link[_ANALYSIS])}
        link_id = {"phasingHasScalingId1": int(link[SCALING_LINK.key])}
        kinds = (ANALYSIS, *STEPS)
        if all(_has(writer, kind, analysis, report) for kind in kinds) and _has(
            writer, STATISTICS, link_id, report
        ):
            return analysis[_ANALYSIS]
    return None


def _has(writer: Writer, kind: RowKind, where: Row, report: Report) -> bool:
    """Whether the rows found with `where` are those of a report, in their order."""
    target = table(kind.table).columns
    stored = writer.rows(kind, where, kind.columns)
    told = _told(kind, report)
    return len(stored) == len(told) and all(
        is_same(target[name], there[name], row.get(name))
        for there, row in zip(stored, told, strict=True)
        for name in kind.columns
    )


def _told(kind: RowKind, report: Report) -> list[Row]:
    """Return the rows of a kind that are stored: of some the procedure takes one."""
    rows = report[kind.table]
    return rows if kind in (STATISTICS, ATTACHMENT) else rows[:1]


def _may_add(writer: Writer, kind: RowKind) -> bool:
    return writer.abilities.may("insert", kind.table, kind.written)


def _add(writer: Writer, scaling: int, report: Report) -> int:
    analysis = writer.add(ANALYSIS, _told(ANALYSIS, report)[0])
    run = writer.add(PROGRAM_RUN, _told(PROGRAM_RUN, report)[0])
    ids = {_ANALYSIS: analysis, _RUN: run}
    link = writer.add(SCALING_LINK, {_ANALYSIS: analysis, "autoProcScalingId": scaling})
    ids["phasingHasScalingId1"] = link
    for kind in (STATISTICS, ATTACHMENT, *STEPS):
        for row in _told(kind, report):
            writer.add(kind, {**{name: ids[name] for name in kind.parents}, **row})
    return analysis


def _as_json(report: Report) -> str:
    """Return a report as the procedure reads it: each element a list, values text."""
    told: dict[str, Any] = {
        name: [{column: str(value) for column, value in row.items()} for row in rows]
        for name, rows in report.items()
        if rows
    }
    statistics = told.pop(STATISTICS.table, [])
    told[_SCALED] = {STATISTICS.table: statistics}
    return json.dumps({"PhasingContainer": told})


PHASING_COMMANDS: Mapping[str, Any] = {"insert_phasing_analysis_results": store_phasing}
"""Zocalo's command."""
