"""Reading rows of the LIMS by named columns: those that are there and may be read."""

import keyword
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Column, Connection, Select, select

from zocelery.lims.abilities import Abilities
from zocelery.lims.tables import table

Row = dict[str, Any]


class Reader:
    """Reads rows within one transaction."""

    def __init__(self, connection: Connection, abilities: Abilities) -> None:
        """Read on `connection`, whose account has these abilities."""
        self.connection = connection
        self.abilities = abilities

    def one(self, name: str, where: Mapping[str, Any], *, needed: bool = False) -> Row:
        """Return the first row of a table with these values, {} if there is none."""
        found = self.all(name, where, needed=needed, limit=1)
        return found[0] if found else {}

    def all(
        self,
        name: str,
        where: Mapping[str, Any],
        *,
        needed: bool = False,
        limit: int | None = None,
    ) -> list[Row]:
        """Return the rows of a table with these values, in the order of their ids.

        Args:
            name: of the table.
            where: values by column; None as a value finds nothing.
            needed: raise if the table is not there or may not be read.
            limit: most rows.
        """
        if any(value is None for value in where.values()):
            return []
        columns = self._columns(name)
        if needed:
            self.abilities.require("select", name, where)
        if not self.abilities.may("select", name, where) or not columns:
            return []
        target = table(name)
        query = select(*columns).order_by(*target.primary_key.columns).limit(limit)
        for column, value in where.items():
            query = query.where(target.c[column] == value)
        keys = [_attribute(column.name) for column in columns]
        rows = self.connection.execute(query)
        return [
            {key: plain(value) for key, value in zip(keys, row, strict=True)}
            for row in rows
        ]

    def select(self, query: Select[Any]) -> list[Row]:
        """Return the rows of a query, by the names of its columns."""
        found = self.connection.execute(query).mappings()
        return [{key: plain(value) for key, value in row.items()} for row in found]

    def sees(self, name: str, *columns: str) -> bool:
        """Whether these columns of a table may be read."""
        return self.abilities.may("select", name, columns)

    def _columns(self, name: str) -> "list[Column[Any]]":
        return [
            column
            for column in table(name).columns
            if self.abilities.may("select", name, (column.name,))
        ]


def plain(value: Any) -> Any:
    """Return a value as JSON knows it: moments as ISO text, decimals as numbers."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str) and value.startswith("0000-00-00"):
        return None  # MariaDB's date that is none
    return value


def _attribute(column: str) -> str:
    """Return what the models call a column: `global_` for `global`."""
    return f"{column}_" if keyword.iskeyword(column) else column
