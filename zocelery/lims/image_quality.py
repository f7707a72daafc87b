"""Per-image results in the LIMS: table ImageQualityIndicators, a row for each image."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import (
    Connection,
    Table,
    bindparam,
    func,
    insert,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects import mysql, sqlite

from zocelery.errors import PermanentError
from zocelery.lims.abilities import Abilities
from zocelery.lims.connection import Lims
from zocelery.lims.tables import table
from zocelery.lims.values import checked, is_same

TABLE = "ImageQualityIndicators"
KEYS = ("dataCollectionId", "imageNumber")
PROCEDURE = "upsert_quality_indicators"
MOST_ROWS = 1000
"""In one statement and transaction."""
FROM_STATISTICS = {
    "n_spots_total": "spotTotal",
    "n_spots_no_ice": "goodBraggCandidates",
    "total_intensity": "totalIntegratedSignal",
    "dozor_score": "dozor_score",
    "drift_factor": "driftFactor",
}
"""What each value of a per-image analysis is called; a resolution is both methods'."""
COLUMNS = (*KEYS, *FROM_STATISTICS.values(), "method1Res", "method2Res")


def image_row(dcid: int, image_number: int, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of one image.

    Args:
        dcid: id of the data collection.
        image_number: from 1.
        found: what `per_image_analysis` answered.

    Raises:
        PermanentError: a number is missing or cannot be stored.
    """
    if image_number < 1 or dcid < 1:
        raise PermanentError(
            f"LIMS: {TABLE}: image number {image_number} of data collection {dcid}: "
            "both count from 1"
        )
    resolution = found.get("estimated_d_min")
    values = {column: found.get(name) for name, column in FROM_STATISTICS.items()}
    row = {
        "dataCollectionId": dcid,
        "imageNumber": image_number,
        **values,
        "method1Res": resolution,
        "method2Res": resolution,
    }
    return checked(table(TABLE), row)


def store_image_rows(
    lims: Lims, abilities: Abilities, rows: Iterable[Mapping[str, Any]]
) -> int:
    """Store rows of `image_row`; return how many there were.

    Rows that are there already are replaced by the same numbers: storing twice is
    storing once. They are sorted, so that writers of the same images do not lock each
    other out.

    Raises:
        ConfigurationError: the account may neither write the table nor call the
            procedure; says which right lacks.
        PermanentError, TemporaryError, ServerUnreachableError: as `Lims.write`.
    """
    unique = {(row["dataCollectionId"], row["imageNumber"]): dict(row) for row in rows}
    ordered = [unique[key] for key in sorted(unique)]
    for start in range(0, len(ordered), MOST_ROWS):
        part = ordered[start : start + MOST_ROWS]
        lims.write(partial(store_in, abilities=abilities, rows=part))
    return len(ordered)


def store_in(
    connection: Connection, abilities: Abilities, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Store rows of `image_row`, sorted by their keys, within a transaction."""
    _require_collections(connection, abilities, rows)
    columns = [c for c in COLUMNS if c in abilities.columns(TABLE)]
    rows = [{name: row[name] for name in columns} for row in rows]
    if abilities.may("insert", TABLE, columns):
        if abilities.may("update", TABLE, columns):
            connection.execute(_upsert(connection, table(TABLE), columns), rows)
            return
        rows = _store_new(connection, columns, rows)
    if rows:
        _call(connection, abilities, rows)


def _require_collections(
    connection: Connection, abilities: Abilities, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Raise unless the data collections are there: no foreign key looks after that."""
    if not abilities.may("select", "DataCollection", ("dataCollectionId",)):
        return
    column = table("DataCollection").c.dataCollectionId
    wanted = {int(row["dataCollectionId"]) for row in rows}
    found = connection.execute(select(column).where(column.in_(sorted(wanted))))
    missing = wanted - {int(key) for (key,) in found}
    if missing:
        shown = ", ".join(str(key) for key in sorted(missing)[:5])
        raise PermanentError(f"LIMS: there is no DataCollection {shown}")


def _upsert(connection: Connection, target: Table, columns: Sequence[str]) -> Any:
    values: dict[str, Any] = {name: bindparam(name) for name in columns}
    changed = [name for name in columns if name not in KEYS]
    if connection.dialect.name == "sqlite":
        lite = sqlite.insert(target).values(values)
        return lite.on_conflict_do_update(
            index_elements=KEYS, set_=_newest(target, lite.excluded, changed)
        )
    maria = mysql.insert(target).values(values)
    return maria.on_duplicate_key_update(_newest(target, maria.inserted, changed))


def _newest(target: Table, new: Any, changed: Iterable[str]) -> dict[str, Any]:
    """Return what becomes of a row: counts and Dozor's score may come apart."""
    return {name: func.coalesce(new[name], target.c[name]) for name in changed}


def _store_new(
    connection: Connection, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Insert the rows that are not there; return those that are there and differ."""
    target = table(TABLE)
    key_columns = [target.c[name] for name in KEYS]
    keys = [(row["dataCollectionId"], row["imageNumber"]) for row in rows]
    query = select(*(target.c[name] for name in columns))
    found = connection.execute(query.where(tuple_(*key_columns).in_(keys))).mappings()
    there = {(row["dataCollectionId"], row["imageNumber"]): row for row in found}
    pairs = list(zip(rows, (there.get(key) for key in keys), strict=True))
    fresh = [row for row, stored in pairs if stored is None]
    if fresh:
        connection.execute(insert(target), fresh)
    return [
        row
        for row, stored in pairs
        if stored is not None
        and not all(
            row[name] is None or is_same(target.c[name], stored[name], row[name])
            for name in columns
        )
    ]


def _call(
    connection: Connection, abilities: Abilities, rows: Sequence[Mapping[str, Any]]
) -> None:
    if not abilities.may_call(PROCEDURE):
        abilities.require("insert", TABLE, COLUMNS)
        abilities.require("update", TABLE, COLUMNS)
    statement = text(
        f"CALL {PROCEDURE}(@zocelery_id, :dataCollectionId, NULL, :imageNumber, "
        ":spotTotal, NULL, :goodBraggCandidates, NULL, :method1Res, :method2Res, NULL, "
        "NULL, NULL, NULL, :totalIntegratedSignal, :dozor_score, :driftFactor)"
    )
    for row in rows:
        connection.execute(statement, {"driftFactor": None, **row})
