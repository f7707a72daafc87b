"""The history of runs, in SQL: every run, node, try and failed member.

Written by the processes that run recipe steps (never by the workers of `images` for
members of a fan-out), with statements that may be repeated.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Table,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from zocelery import migrations
from zocelery.errors import (
    ConfigurationError,
    ServerUnreachableError,
    TemporaryError,
    UnknownRunError,
)
from zocelery.history_tables import (
    LONGEST_ITEM,
    SCHEMA_VERSION,
    failures,
    nodes,
    programs,
    runs,
    tries,
)

AWAY_ERRORS = (OperationalError, PoolTimeoutError)
"""The database does not answer, or others hold all of this process's connections."""


class History:
    """The history of runs in one database."""

    def __init__(self, url: str) -> None:
        """Use the database at `url`; tables are made by `create_tables`."""
        self.engine = _engine(url)
        self.revision = migrations.HEAD

    def create_tables(self) -> None:
        """Create or upgrade the tables; whoever comes second finds them there.

        Raises:
            ServerUnreachableError: the database does not answer.
            ConfigurationError: a newer major version of zocelery has made them.
        """
        try:
            self.revision = migrations.upgrade(self.engine)
        except (OperationalError, ProgrammingError, IntegrityError) as error:
            shown = self.engine.url.render_as_string(hide_password=True)
            reason = str(error.orig).splitlines()[0]
            raise ServerUnreachableError(
                f"cannot reach the history database {shown}: {reason}"
            ) from error

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    # writing

    def add_run(self, **columns: Any) -> None:
        """Add a run; the columns are those of the table `runs`."""
        with self._writing() as connection:
            key = {"run": columns.pop("run")}
            _upsert(connection, runs, key, {"version": SCHEMA_VERSION, **columns})

    def end_run(
        self, run: str, state: str, error: str | None, counts: Mapping[str, Any]
    ) -> None:
        """Record how a run ended, and how many units of each node ended how."""
        values = {"state": state, "error": error, "counts": dict(counts)}
        with self._writing() as connection:
            update = runs.update().where(runs.c.run == run)
            connection.execute(update.values(ended=time.time(), **values))

    def reopen(self, run: str, unit: str) -> None:
        """Record that a run goes on because one of its ended units is tried again."""
        with self._writing() as connection:
            update = runs.update().where(runs.c.run == run)
            connection.execute(update.values(state="running", ended=None, error=None))
            here = (nodes.c.run == run) & (nodes.c.unit == unit)
            update = nodes.update().where(here)
            connection.execute(update.values(state="waiting", ended=None, error=None))

    def start_try(
        self, run: str, unit: str, node: str, task: str, number: int, host: str
    ) -> None:
        """Record that a unit has begun its try `number` (1-based) on `host`."""
        now = time.time()
        key = {"run": run, "unit": unit}
        with self._writing() as connection:
            values = {"node": node, "task": task, "state": "running", "started": now}
            _upsert(connection, nodes, key, values)
            values = {"node": node, "host": host, "state": "running", "started": now}
            _upsert(connection, tries, {**key, "number": number}, values)

    def end_try(
        self, run: str, unit: str, number: int, state: str, error: str | None = None
    ) -> None:
        """Record how a try ended; the unit may still be tried again."""
        with self._writing() as connection:
            here = (tries.c.run == run) & (tries.c.unit == unit)
            update = tries.update().where(here & (tries.c.number == number))
            connection.execute(
                update.values(state=state, ended=time.time(), error=error)
            )

    def end_unit(
        self,
        run: str,
        unit: str,
        node: str,
        state: str,
        result: Any,
        error: str | None,
        sent: Mapping[str, Any] | None = None,
    ) -> None:
        """Record how a unit ended and what it answered.

        `sent` is what it has sent on channels for one message, None if not known.
        """
        values = {"node": node, "state": state, "result": result, "error": error}
        values["sent"] = sent
        with self._writing() as connection:
            key = {"run": run, "unit": unit}
            _upsert(connection, nodes, key, {**values, "ended": time.time()})

    def add_failures(self, run: str, node: str, errors: Mapping[str, str]) -> None:
        """Record the members of a fan-out that failed at `node`, by item."""
        with self._writing() as connection:
            for item, error in errors.items():
                key = {"run": run, "node": node, "item": item[:LONGEST_ITEM]}
                _upsert(connection, failures, key, {"error": error})

    def record_program(self, columns: Mapping[str, Any]) -> None:
        """Record how an external program is; the columns are those of the table."""
        keys = ("run", "unit", "number", "position")
        key = {name: columns[name] for name in keys}
        values = {name: v for name, v in columns.items() if name not in key}
        with self._writing() as connection:
            _upsert(connection, programs, key, values)

    def copy_units(self, source: str, run: str, units: Mapping[str, str]) -> None:
        """Give a run answers of another: its unit to the unit whose answer it reuses.

        Raises:
            UnknownRunError: the other run is not in the history any more.
        """
        rows = {row["unit"]: row for row in self.run_nodes(source)}
        if not rows.keys() >= set(units.values()):
            raise UnknownRunError(f"run {source} has gone from the history")
        with self._writing() as connection:
            for new, old in units.items():
                names = ("node", "task", "started", "ended", "result", "sent")
                values = {name: rows[old][name] for name in names}
                key = {"run": run, "unit": new}
                _upsert(connection, nodes, key, {**values, "state": "reused"})

    def copy_failures(self, source: str, run: str, of: Collection[str]) -> None:
        """Give a run the failed members that gathers which it reuses had."""
        for row in self.run_failures(source):
            if row["node"] in of:
                self.add_failures(run, row["node"], {row["item"]: row["error"]})

    def delete_run(self, run: str) -> None:
        """Forget a run."""
        with self._writing() as connection:
            for table in (failures, programs, tries, nodes, runs):
                connection.execute(table.delete().where(table.c.run == run))

    # reading

    def run(self, run: str) -> dict[str, Any]:
        """Return the row of a run, found by its id or the unique start of it.

        Raises:
            UnknownRunError: no run, or more than one, fits.
        """
        if not run:
            raise UnknownRunError("no run is named")
        found = self._rows(select(runs).where(runs.c.run == run))
        if not found:
            begins = runs.c.run.startswith(run, autoescape=True)
            found = self._rows(select(runs).where(begins).limit(2))
        if len(found) == 1:
            return found[0]
        problem = "more than one run starts" if found else "no run is known that starts"
        raise UnknownRunError(f"{problem} with {run!r}")

    def find_run(self, run: str) -> dict[str, Any] | None:
        """Return the row of the run with exactly this id, or None."""
        found = self._rows(select(runs).where(runs.c.run == run))
        return found[0] if found else None

    def recent_runs(self, limit: int = 50) -> list[dict[str, Any]]:
        """Return the newest runs, newest first."""
        return self._rows(select(runs).order_by(runs.c.submitted.desc()).limit(limit))

    def unfinished_runs(self) -> list[str]:
        """Return the ids of the runs that, as far as is known, have not ended."""
        rows = self._rows(select(runs.c.run).where(runs.c.state == "running"))
        return [row["run"] for row in rows]

    def runs_before(self, before: float) -> list[dict[str, Any]]:
        """Return the runs that ended before a Unix time in s, oldest first.

        Of a run that has no end the time of its submission counts.
        """
        when = func.coalesce(runs.c.ended, runs.c.submitted)
        return self._rows(select(runs).where(when < before).order_by(when))

    def rerun_links(self) -> dict[str, str]:
        """Return for each re-run in the history the run that it was made from."""
        query = select(runs.c.run, runs.c.rerun_of)
        rows = self._rows(query.where(runs.c.rerun_of.is_not(None)))
        return {row["run"]: row["rerun_of"] for row in rows}

    def run_nodes(self, run: str) -> list[dict[str, Any]]:
        """Return the units of a run that stand in the history, oldest first."""
        query = select(nodes).where(nodes.c.run == run).order_by(nodes.c.started)
        return self._rows(query)

    def unit(self, run: str, unit: str) -> dict[str, Any] | None:
        """Return the row of one unit of a run, or None."""
        here = (nodes.c.run == run) & (nodes.c.unit == unit)
        found = self._rows(select(nodes).where(here))
        return found[0] if found else None

    def run_tries(self, run: str) -> list[dict[str, Any]]:
        """Return every try of every unit in the history, oldest first."""
        query = select(tries).where(tries.c.run == run).order_by(tries.c.started)
        return self._rows(query)

    def run_programs(self, run: str) -> list[dict[str, Any]]:
        """Return every external program that the run has started, oldest first."""
        query = select(programs).where(programs.c.run == run)
        return self._rows(query.order_by(programs.c.started))

    def run_failures(self, run: str) -> list[dict[str, Any]]:
        """Return the failed members of a run."""
        return self._rows(select(failures).where(failures.c.run == run))

    def _rows(self, query: Any) -> list[dict[str, Any]]:
        try:
            with self.engine.connect() as connection:
                return [dict(row) for row in connection.execute(query).mappings()]
        except AWAY_ERRORS as error:
            raise ServerUnreachableError(_reason(error)) from error

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self.engine.begin() as connection:
                yield connection
        except AWAY_ERRORS as error:
            raise TemporaryError(_reason(error)) from error


def _reason(error: OperationalError | PoolTimeoutError) -> str:
    cause = error.orig if isinstance(error, OperationalError) else error
    return f"the history database: {str(cause).splitlines()[0]}"


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # their messages may show the password
        raise ConfigurationError("history.url: is no SQLAlchemy URL") from None
    if parsed.database and parsed.database.startswith("~"):
        file = Path(parsed.database).expanduser()
        file.parent.mkdir(parents=True, exist_ok=True)
        parsed = parsed.set(database=str(file))
    try:
        engine = create_engine(parsed, pool_pre_ping=True)
    except (ArgumentError, ImportError) as error:
        raise ConfigurationError(f"history.url cannot be used: {error}") from error
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _set_pragmas(connection: Any, record: object) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA busy_timeout = 30000")
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = NORMAL")
            cursor.close()

    return engine


def _upsert(
    connection: Connection,
    table: Table,
    key: Mapping[str, Any],
    values: Mapping[str, Any],
) -> None:
    """Insert a row, or update the one that is there, on any database."""
    here = [table.c[name] == value for name, value in key.items()]
    changed = connection.execute(table.update().where(*here).values(**values))
    if changed.rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(table.insert().values(**key, **values))
    except IntegrityError:  # somebody else was quicker
        connection.execute(table.update().where(*here).values(**values))
