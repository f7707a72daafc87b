"""What a LIMS has and allows: found in one query, said clearly when something lacks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from zocelery.errors import ConfigurationError
from zocelery.lims.connection import Lims

_COLUMNS = text(
    "SELECT table_name, column_name, privileges FROM information_schema.columns "
    "WHERE table_schema = DATABASE()"
)
_PROCEDURES = text(
    "SELECT specific_name, parameter_name FROM information_schema.parameters "
    "WHERE specific_schema = DATABASE() AND routine_type = 'PROCEDURE' "
    "ORDER BY specific_name, ordinal_position"
)
_ALL_RIGHTS = frozenset({"select", "insert", "update"})


@dataclass(frozen=True, slots=True)
class Abilities:
    """The tables, columns and rights of one account on one LIMS."""

    address: str
    rights: Mapping[str, Mapping[str, frozenset[str]]]
    """By table and column: "select", "insert", "update"."""
    procedures: Mapping[str, tuple[str, ...]]
    """The stored procedures that may be called: names of their parameters, in order."""

    def columns(self, table: str) -> frozenset[str]:
        """Return the columns of `table` that are there; empty if it is not."""
        return frozenset(self.rights.get(table, {}))

    def may(self, right: str, table: str, columns: Iterable[str]) -> bool:
        """Whether `right` ("select", "insert", "update") is given on all columns."""
        known = self.rights.get(table, {})
        return all(right in known.get(column, ()) for column in columns)

    def may_call(self, procedure: str) -> bool:
        """Whether a stored procedure is there and may be called."""
        return procedure in self.procedures

    def lacks(self, right: str, table: str, columns: Iterable[str]) -> str | None:
        """Return what is missing for `right` on all the columns, None if nothing."""
        try:
            self.require(right, table, columns)
        except ConfigurationError as error:
            return str(error)
        return None

    def require(self, right: str, table: str, columns: Iterable[str]) -> None:
        """Raise unless `right` is given on all the columns.

        Raises:
            ConfigurationError: names the table or the columns that are not there, or
                the right that lacks.
        """
        wanted = list(columns)
        known = self.rights.get(table)
        if not self.rights and self.address.startswith("sqlite"):
            raise ConfigurationError(
                f"LIMS {self.address}: has no tables yet; 'zocelery lims init' makes "
                "them"
            )
        if known is None:
            raise ConfigurationError(
                f"LIMS {self.address}: table {table} is not there, or the account may "
                "not see it"
            )
        missing = [column for column in wanted if column not in known]
        if missing:
            raise ConfigurationError(
                f"LIMS {self.address}: table {table} has no column "
                f"{', '.join(missing)}: its schema is older than this version needs"
            )
        denied = [column for column in wanted if right not in known[column]]
        if denied:
            raise ConfigurationError(
                f"LIMS {self.address}: the account lacks the right {right.upper()} on "
                f"{table}.{', '.join(denied)}"
            )


def find_abilities(lims: Lims) -> Abilities:
    """Return what the LIMS has and the account may do, in one look.

    Raises:
        ServerUnreachableError: the LIMS does not answer.
        ConfigurationError: it refuses the account.
    """
    return lims.read(lambda connection: _look(connection, lims))


def _look(connection: Connection, lims: Lims) -> Abilities:
    if lims.is_sqlite:
        return Abilities(str(lims), _sqlite_rights(connection), {})
    rights: dict[str, dict[str, frozenset[str]]] = {}
    for table, column, privileges in connection.execute(_COLUMNS):
        given = frozenset(str(privileges).lower().split(","))
        rights.setdefault(str(table), {})[str(column)] = given
    procedures: dict[str, tuple[str, ...]] = {}
    for name, parameter in connection.execute(_PROCEDURES):
        procedures[str(name)] = (*procedures.get(str(name), ()), str(parameter))
    return Abilities(str(lims), rights, procedures)


def _sqlite_rights(
    connection: Connection,
) -> Mapping[str, Mapping[str, frozenset[str]]]:
    query = (
        "SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c "
        "WHERE m.type = 'table'"
    )
    rights: dict[str, dict[str, Any]] = {}
    for table, column in connection.exec_driver_sql(query):
        rights.setdefault(table, {})[column] = _ALL_RIGHTS
    return rights
