"""The tables of ISPyB: as the package `ispyb` defines them, and their SQLite twin."""

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import (
    CheckConstraint,
    Column,
    DefaultClause,
    Engine,
    Enum,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeEngine

if TYPE_CHECKING:
    from typing import Any

_INTEGERS = ("INTEGER", "TINYINT", "SMALLINT", "MEDIUMINT", "BIGINT")
_TEXTS = ("LONGTEXT", "MEDIUMTEXT", "TINYTEXT")
_BLOBS = ("LONGBLOB", "MEDIUMBLOB", "TINYBLOB", "BINARY", "VARBINARY")
_FUNCTION = re.compile(r"\(\)|0000-00-00", re.IGNORECASE)


@cache
def all_tables() -> MetaData:
    """Return the definitions of all tables; the first call takes a third of a second.

    They name more columns than a database may have: statements name the columns that
    they use, none of them all.
    """
    from ispyb.sqlalchemy import Base

    metadata: MetaData = Base.metadata
    return metadata


def table(name: str) -> Table:
    """Return the definition of the table `name`; KeyError if there is none."""
    return all_tables().tables[name]


def create_tables(engine: Engine) -> None:
    """Create the tables that are not there yet.

    MariaDB gets them as they are defined; SQLite gets a copy in types that it knows,
    with checks where MariaDB in strict mode would refuse a value.
    """
    if engine.dialect.name == "sqlite":
        sqlite_tables().create_all(engine)
    else:
        all_tables().create_all(engine)


@cache
def sqlite_tables() -> MetaData:
    """Return a copy of all tables that SQLite can create."""
    metadata = MetaData()
    for original in all_tables().tables.values():
        copy = original.to_metadata(metadata)
        _rename_indexes(copy)
        for column in copy.columns:
            _translate(column)
        for check in _checks(copy):
            copy.append_constraint(check)
    return metadata


def _rename_indexes(copy: Table) -> None:
    """Put the table's name before those of its indexes: SQLite has one name space."""
    originals = list(copy.indexes)
    copy.indexes.clear()
    for index in originals:
        Index(f"{copy.name}_{index.name}", *index.columns, unique=index.unique)


def _translate(column: "Column[Any]") -> None:
    column.type = _sqlite_type(column)
    default = column.server_default
    if isinstance(default, DefaultClause):
        words = str(default.arg)
        if words.lower().startswith("current_timestamp"):
            column.server_default = DefaultClause(text("CURRENT_TIMESTAMP"))
        elif _FUNCTION.search(words):
            column.server_default = None
    column.comment = None


def _sqlite_type(column: "Column[Any]") -> "TypeEngine[Any]":
    kind = column.type.__visit_name__
    if kind in _INTEGERS:
        return Integer()
    if kind in _TEXTS:
        return Text()
    if kind in _BLOBS:
        return LargeBinary()
    if kind == "VARCHAR":
        return String(getattr(column.type, "length", None))
    return column.type


def _checks(copy: Table) -> Iterable[CheckConstraint]:
    for column in copy.columns:
        quoted = '"' + column.name + '"'
        if isinstance(column.type, Enum):
            values = ", ".join(
                "'" + str(v).replace("'", "''") + "'" for v in column.type.enums
            )
            yield CheckConstraint(f"{quoted} IN ({values})")
        elif isinstance(column.type, String) and column.type.length:
            yield CheckConstraint(f"length({quoted}) <= {column.type.length}")
