"""Writing rows exactly once, however often and by how many it is asked for.

No table of results in ISPyB has a unique key. So whoever writes a row takes the lock of
its parent, looks whether the parent has such a row already, and only then adds one. An
account without rights on a table calls ISPyB's procedure for it instead.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, insert, select, text, update

from zocelery.errors import PermanentError
from zocelery.lims.abilities import Abilities
from zocelery.lims.connection import Lims, take_lock
from zocelery.lims.rows import RowKind
from zocelery.lims.tables import table
from zocelery.lims.values import checked, default_of, is_same

Answer = TypeVar("Answer")
Values = Mapping[str, Any]


def write_rows(
    lims: Lims, abilities: Abilities, work: Callable[["Writer"], Answer]
) -> Answer:
    """Return what `work` returns; all it writes is one transaction.

    It may be run more than once, see `Lims.write`. Some of ISPyB's procedures commit
    what was written before them; an account that needs them gets each row once all the
    same, but not all or none.

    Raises:
        ConfigurationError: the account lacks a right; says which.
        PermanentError: a value or a parent cannot be; names table, column and value.
        TemporaryError, ServerUnreachableError: as `Lims.write`.
    """
    return lims.write(lambda connection: work(Writer(connection, abilities)))


class Writer:
    """Writes the rows of one transaction."""

    def __init__(self, connection: Connection, abilities: Abilities) -> None:
        """Write on `connection`, whose account has these abilities."""
        self.connection = connection
        self.abilities = abilities
        self._known: set[tuple[str, int]] = set()

    def lock(self, name: str) -> None:
        """Keep others out who lock the same name, until the transaction ends."""
        take_lock(self.connection, name)

    def once(self, kind: RowKind, values: Values, **beside: Any) -> int:
        """Return the id of the row with `values`, which is added if it is not there.

        Args:
            kind: of the row.
            values: by column; those that are None are the column's default.
            beside: what only the procedure takes.
        """
        fitting = self.fitting(kind, values)
        parent = self.parent(kind, fitting)
        self.lock(f"{parent}={fitting[parent]}")
        found = self.find(kind, fitting, parent)
        return found if found is not None else self.add(kind, fitting, **beside)

    def fitting(self, kind: RowKind, values: Values) -> dict[str, Any]:
        """Return the values as the columns take them, without those that are None."""
        given = {name: value for name, value in values.items() if value is not None}
        return checked(table(kind.table), given)

    def parent(self, kind: RowKind, values: Values) -> str:
        """Return the column that says to what a row belongs."""
        for name in kind.parents:
            if values.get(name) is not None:
                return name
        raise PermanentError(f"LIMS: {kind.table}: needs {' or '.join(kind.parents)}")

    def find(self, kind: RowKind, values: Values, parent: str) -> int | None:
        """Return the id of the oldest row of the parent that is the same."""
        columns = [c for c in kind.compared if c in self.abilities.columns(kind.table)]
        for row in self.rows(kind, {parent: values[parent]}, columns):
            target = table(kind.table).columns
            if all(is_same(target[c], row[c], values.get(c)) for c in columns):
                return int(row[kind.key])
        return None

    def rows(
        self, kind: RowKind, where: Values, columns: Sequence[str]
    ) -> list[Mapping[str, Any]]:
        """Return the rows with these values, oldest first, and their keys."""
        wanted = list(dict.fromkeys((kind.key, *columns)))
        self.abilities.require("select", kind.table, (*wanted, *where))
        target = table(kind.table).columns
        query = select(*(target[name] for name in wanted))
        for name, value in where.items():
            query = query.where(target[name] == value)
        found = self.connection.execute(query.order_by(target[kind.key]))
        return [dict(zip(wanted, row, strict=True)) for row in found]

    def row(self, kind: RowKind, key: int, columns: Sequence[str]) -> Values:
        """Return some columns of a row.

        Raises:
            PermanentError: there is no such row.
        """
        found = self.rows(kind, {kind.key: key}, columns)
        if not found:
            raise PermanentError(f"LIMS: there is no {kind.table} {key}")
        return found[0]

    def add(self, kind: RowKind, values: Values, **beside: Any) -> int:
        """Add a row, by table or by procedure; return its id."""
        self._require_parents(kind, values)
        kept = self._kept(kind, values)
        if self.abilities.may("insert", kind.table, kept):
            made = self.connection.execute(insert(table(kind.table)).values(kept))
            key = made.inserted_primary_key
            return int(key[0]) if key else 0
        if kind.procedure is None or not self.abilities.may_call(kind.procedure):
            self.abilities.require("insert", kind.table, kept)
        return self.call(kind, {**kept, **beside})

    def change(self, kind: RowKind, key: int, values: Values) -> None:
        """Change a row, by table or by procedure; values that are None stay."""
        fitting = self._kept(kind, self.fitting(kind, values))
        if not fitting:
            return
        if self.abilities.may("update", kind.table, fitting):
            target = table(kind.table)
            statement = update(target).where(target.c[kind.key] == key)
            self.connection.execute(statement.values(fitting))
            return
        if kind.procedure is None or not self.abilities.may_call(kind.procedure):
            self.abilities.require("update", kind.table, fitting)
        self.call(kind, fitting, key=key)

    def call(self, kind: RowKind, values: Values, key: int | None = None) -> int:
        """Call the procedure of a kind of rows; return the id that it answers.

        Args:
            kind: of the row.
            values: by column; a name that begins with `p_` is the parameter's.
            key: of the row that shall be changed; None adds one.
        """
        procedure = str(kind.procedure)
        by_name = {argument_name(kind, name): name for name in values}
        parameters = self.abilities.procedures[procedure]
        unknown = by_name.keys() - {name.lower() for name in parameters}
        lost = {by_name[name] for name in unknown} - kind.optional
        if lost:
            self.abilities.require("insert", kind.table, sorted(lost))
        given = {
            f"a{place}": values.get(by_name.get(name.lower(), ""))
            if name.lower() in by_name or key is not None
            else _default(kind, name)
            for place, name in enumerate(parameters[1:])
        }
        marks = "".join(f", :{name}" for name in given)
        self.connection.execute(text("SET @zocelery_id = :key"), {"key": key})
        self.connection.execute(text(f"CALL {procedure}(@zocelery_id{marks})"), given)
        answer = self.connection.execute(text("SELECT @zocelery_id")).scalar()
        return int(answer or 0)

    def _kept(self, kind: RowKind, values: Values) -> dict[str, Any]:
        """Return the values without those for which the schema has no place."""
        columns = self.abilities.columns(kind.table)
        return {
            name: value
            for name, value in values.items()
            if name in columns or name not in kind.optional
        }

    def _require_parents(self, kind: RowKind, values: Values) -> None:
        """Raise unless every row that the new one names is there."""
        for column in table(kind.table).columns:
            if values.get(column.name) is None:
                continue
            for foreign in column.foreign_keys:
                target, key = foreign.column.table.name, foreign.column.name
                self.require_row(target, key, int(values[column.name]))

    def require_row(self, name: str, key: str, value: int) -> None:
        """Raise unless a table has a row with this key, as far as one may look.

        Raises:
            PermanentError: it has none.
        """
        if (name, value) in self._known:
            return
        if self.abilities.may("select", name, (key,)):
            column = table(name).columns[key]
            query = select(column).where(column == value).limit(1)
            if self.connection.execute(query).first() is None:
                raise PermanentError(f"LIMS: there is no {name} {value}")
        self._known.add((name, value))


def argument_name(kind: RowKind, column: str) -> str:
    """Return the name of a column's parameter in the kind's procedure, lower case."""
    if column.startswith("p_"):
        return column.lower()
    return kind.arguments.get(column, f"p_{column}").lower()


def _default(kind: RowKind, parameter: str) -> str | None:
    """Return what a procedure is given where nothing is: NULL, if the column can be."""
    for column in table(kind.table).columns:
        if argument_name(kind, column.name) == parameter.lower():
            return None if column.nullable else default_of(column)
    return None
