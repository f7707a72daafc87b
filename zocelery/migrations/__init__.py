"""Migrations: the schema of the history goes from one version to the next.

A revision is called MAJOR_NUMBER. Within one major version tables and columns are only
added and may stay empty, so that a worker of the version before goes on beside one of
this: it finds a schema that is newer than its own and uses what it knows of it. A step
that cannot be taken so gets a new major version, which older workers refuse.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from zocelery.errors import ConfigurationError, ServerUnreachableError

HEAD = "1_0002"
"""The revision that this version of zocelery writes."""
FIRST = "1_0001"
"""The revision of a history that was made before there were revisions."""
VERSION_TABLE = "zocelery_schema"
LOCK_NAME = "zocelery.history"
LOCK_NUMBER = 0x7A6F63656C
"""The same for PostgreSQL, whose advisory locks have numbers."""
LOCK_SECONDS = 120


def upgrade(engine: Engine) -> str:
    """Bring the schema of a database up to `HEAD`; return the revision it has then.

    Several processes may do so at once: one does it, the others wait.

    Raises:
        ConfigurationError: a newer major version has been here.
        ServerUnreachableError: another process holds the lock and does not give it up.
    """
    found = current_revision(engine)
    if found is None or _order(found) < _order(HEAD):
        with _locked(engine) as connection:
            _upgrade(connection)
        found = current_revision(engine) or HEAD
    if _order(found)[0] > _order(HEAD)[0]:
        shown = engine.url.render_as_string(hide_password=True)
        raise ConfigurationError(
            f"the history {shown} was made by a newer zocelery: its schema is {found}, "
            f"this one knows up to {HEAD}"
        )
    return found


def current_revision(engine: Engine) -> str | None:
    """Return the revision of a database; None if nobody has ever upgraded it."""
    query = text(f"SELECT version_num FROM {VERSION_TABLE}")
    try:
        with engine.connect() as connection:
            found = connection.execute(query).scalar()
    except (OperationalError, ProgrammingError):
        with engine.connect() as connection:  # raises if it is the server's fault
            if inspect(connection).has_table(VERSION_TABLE):
                raise
        return None
    return None if found is None else str(found)


def _order(revision: str) -> tuple[int, int]:
    """Return a key that sorts revisions by age."""
    major, _, number = revision.partition("_")
    return int(major), int(number or 0)


def _upgrade(connection: Connection) -> None:
    """Run what is missing, in the transaction or under the lock of `connection`."""
    # Imported here: it is needed once in the life of a database.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in tables and "zocelery_runs" in tables:
        command.stamp(config, FIRST)
    found = None
    if VERSION_TABLE in tables:
        query = text(f"SELECT version_num FROM {VERSION_TABLE}")
        found = connection.execute(query).scalar()
    if found is None or _order(str(found)) < _order(HEAD):  # nobody was quicker
        command.upgrade(config, "head")


@contextmanager
def _locked(engine: Engine) -> Iterator[Connection]:
    """Yield a connection that alone may change the schema; commit at the end."""
    dialect = engine.dialect.name
    if dialect == "sqlite":
        # pysqlite begins no transaction before DDL: we do, and lock the file with it
        with engine.connect().execution_options(
            isolation_level="AUTOCOMMIT"
        ) as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
    elif dialect in ("mysql", "mariadb"):  # their DDL knows no transactions
        with engine.connect() as connection:
            _take_named_lock(connection)
            yield connection
            connection.commit()
            connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": LOCK_NAME})
    else:
        with engine.begin() as connection:
            if dialect == "postgresql":
                query = text("SELECT pg_advisory_xact_lock(:number)")
                connection.execute(query, {"number": LOCK_NUMBER})
            yield connection


def _take_named_lock(connection: Connection) -> None:
    query = text("SELECT GET_LOCK(:name, :seconds)")
    options = {"name": LOCK_NAME, "seconds": LOCK_SECONDS}
    if connection.execute(query, options).scalar() != 1:
        raise ServerUnreachableError(
            f"another process has held the history's schema for {LOCK_SECONDS} s"
        )
