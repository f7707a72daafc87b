"""What of zocelery's work a LIMS and its account allow: by table, by procedure, not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from zocelery.lims import phasing, rows
from zocelery.lims.abilities import Abilities
from zocelery.lims.image_quality import COLUMNS, KEYS, PROCEDURE, TABLE
from zocelery.lims.rows import RowKind

WRITERS: Mapping[str, Sequence[RowKind]] = {
    "processing jobs": (rows.JOB, rows.JOB_PARAMETER, rows.JOB_SWEEP),
    "programs": (rows.PROGRAM,),
    "messages of programs": (rows.PROGRAM_MESSAGE,),
    "files of programs": (rows.PROGRAM_ATTACHMENT,),
    "files of data collections": (rows.COLLECTION_ATTACHMENT,),
    "merged data": (
        rows.AUTO_PROC,
        rows.SCALING,
        rows.SCALING_STATISTICS,
        rows.INTEGRATION,
        rows.SCALING_LINK,
    ),
    "screening": (
        rows.SCREENING,
        rows.SCREENING_INPUT,
        rows.SCREENING_OUTPUT,
        rows.SCREENING_LATTICE,
        rows.SCREENING_STRATEGY,
        rows.SCREENING_WEDGE,
        rows.SCREENING_SUB_WEDGE,
    ),
    "X-ray centring": (rows.CENTRING, rows.CENTRING_RESULT),
    "refinement": (rows.REFINEMENT, rows.BLOB),
    "phasing": phasing.KINDS,
}
"""By what is stored; per-image results are looked at apart."""
READ = {
    "DataCollection": ("dataCollectionId", "dataCollectionGroupId", "imageDirectory"),
    "DataCollectionGroup": ("dataCollectionGroupId", "sessionId", "experimentType"),
    "BLSession": ("sessionId", "beamLineName"),
    "GridInfo": ("gridInfoId", "dataCollectionId"),
    "BLSample": ("blSampleId", "crystalId"),
    "ProcessingJob": ("processingJobId", "dataCollectionId", "recipe"),
}
"""What every look-up needs."""
CHANGED = {rows.PROGRAM.table: rows.PROGRAM}
_WITH_ANOTHER = {
    rows.SCALING_STATISTICS.table: rows.SCALING,
    rows.SCALING_LINK.table: rows.INTEGRATION,
    **{kind.table: phasing.ANALYSIS for kind in phasing.KINDS},
}
"""Rows that the procedure for others adds along with these."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How one kind of work can be done."""

    what: str
    path: str
    """"tables", "procedures", "tables and procedures", or "" if it cannot."""
    lacks: tuple[str, ...] = ()
    """What is missing, a line for each."""


def check_lims(abilities: Abilities) -> list[Finding]:
    """Return for each kind of work how the account can do it, and what it lacks."""
    findings = [_check_reading(abilities), _check_images(abilities)]
    for what, kinds in WRITERS.items():
        paths, lacks = set(), []
        for kind in kinds:
            path, lack = _path(abilities, kind)
            paths.add(path)
            lacks.extend(lack)
        path = " and ".join(sorted(paths - {""}, reverse=True))
        findings.append(Finding(what, "" if lacks else path, tuple(lacks)))
    return findings


def _check_reading(abilities: Abilities) -> Finding:
    lacks = [
        lack
        for name, columns in READ.items()
        if (lack := abilities.lacks("select", name, columns))
    ]
    return Finding("look-up", "" if lacks else "tables", tuple(lacks))


def _check_images(abilities: Abilities) -> Finding:
    what = "per-image results"
    columns = [c for c in COLUMNS if c in abilities.columns(TABLE)] or COLUMNS
    denied = abilities.lacks("insert", TABLE, columns)
    fixed = abilities.lacks("update", TABLE, columns)
    if denied is None and fixed is None:
        return Finding(what, "tables")
    if abilities.may_call(PROCEDURE):
        return Finding(what, "procedures" if denied else "tables and procedures")
    lack = denied or f"{fixed}: rows that are there cannot be corrected"
    missing = abilities.lacks("select", TABLE, KEYS)
    return Finding(what, "", tuple(line for line in (lack, missing) if line))


def _path(abilities: Abilities, kind: RowKind) -> tuple[str, list[str]]:
    """Return how rows of a kind can be written, and what is missing for that."""
    needed = [c for c in kind.written if c not in kind.optional]
    lacks = list(_reading_lacks(abilities, kind))
    denied = abilities.lacks("insert", kind.table, needed)
    if denied is None and kind.table in CHANGED:
        denied = abilities.lacks("update", kind.table, needed)
    if denied is None:
        return "tables", lacks
    calls = (_WITH_ANOTHER.get(kind.table) or kind).procedure
    if calls is not None and abilities.may_call(calls):
        return "procedures", lacks
    if calls is not None:
        denied += f", and may not call {calls}"
    return "", [*lacks, denied]


def _reading_lacks(abilities: Abilities, kind: RowKind) -> Iterator[str]:
    """Yield what is missing to see whether a row is there already."""
    columns = (kind.key, *(c for c in kind.compared if c not in kind.optional))
    lack = abilities.lacks("select", kind.table, columns)
    if lack and abilities.columns(kind.table):
        yield lack
