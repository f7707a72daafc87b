"""Connections to the LIMS: strict, bounded in time, tried again where that can help."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from zocelery.errors import (
    ConfigurationError,
    PermanentError,
    ServerUnreachableError,
    TemporaryError,
)

Answer = TypeVar("Answer")

TRIES = 6
LONGEST_PAUSE_S = 2.0
RECYCLE_S = 1800
"""Below the `wait_timeout` of every server seen."""
CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 30
LOCK_TIMEOUT_S = 20
"""Below `STATEMENT_TIMEOUT_S`: the server answers before the connection is given up."""
STRICT = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO"
"""Facilities run ISPyB with an empty sql_mode, which stores wrong values silently."""

_LOST = frozenset({2002, 2003, 2006, 2013, 2055, 1927, 4031, -1, 1053, 1077, 1079})
"""The server is away, or was for a moment."""
_COLLIDED = frozenset({1205, 1213, 1062, 1020})
"""Another transaction was in the way: the same again succeeds."""
_DENIED = frozenset({1044, 1045, 1049, 1698})
_SQLITE_BUSY = ("database is locked", "database table is locked")
_HELD = "zocelery_locks"


class Lims:
    """One LIMS database."""

    def __init__(self, url: URL) -> None:
        """Remember where it is; nothing is opened yet."""
        self.url = url
        self._engine: Engine | None = None
        self._pid = 0
        self._lock = threading.Lock()

    def __str__(self) -> str:
        """Return the address without a password."""
        return self.url.render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of this machine."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def engine(self) -> Engine:
        """The pool of connections; a forked child gets one of its own."""
        with self._lock:
            if self._engine is None or self._pid != os.getpid():
                if self._engine is not None:  # the parent's: it goes on using it
                    self._engine.dispose(close=False)
                self._engine, self._pid = _make_engine(self.url), os.getpid()
            return self._engine

    def write(self, work: Callable[[Connection], Answer]) -> Answer:
        """Return what `work` returns when run in a transaction of its own.

        It is run again when another transaction was in the way, and must therefore
        read what it depends on from the database each time. `take_lock` keeps other
        writers of the same out; the locks are held until the transaction has ended.

        Raises:
            ServerUnreachableError: the server does not answer.
            TemporaryError: others stayed in the way.
            PermanentError: the database refuses a value or a right.
        """
        return self._run(work, writes=True)

    def read(self, work: Callable[[Connection], Answer]) -> Answer:
        """Return what `work` returns; raises as `write` does."""
        return self._run(work, writes=False)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            if self._engine is not None and self._pid == os.getpid():
                self._engine.dispose()
            self._engine = None

    def _run(self, work: Callable[[Connection], Answer], *, writes: bool) -> Answer:
        for attempt in range(TRIES):
            try:
                with self.engine.connect() as connection:
                    return self._transact(connection, work, writes=writes)
            except PoolTimeoutError as error:  # other threads hold all connections
                raise TemporaryError(f"LIMS {self}: {error}") from error
            except DBAPIError as error:
                if attempt + 1 == TRIES or not _may_pass(error):
                    raise self.explained(error) from error
                time.sleep(min(0.02 * 4**attempt, LONGEST_PAUSE_S))
        raise AssertionError("unreachable")

    def _transact(
        self,
        connection: Connection,
        work: Callable[[Connection], Answer],
        *,
        writes: bool,
    ) -> Answer:
        try:
            with connection.begin():
                if writes and self.is_sqlite:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                return work(connection)
        finally:
            _release_locks(connection)

    def explained(self, error: DBAPIError) -> Exception:
        """Return `error` as one of zocelery's own, in one line without any secret."""
        code, message = _code(error), _message(error)
        if code in _DENIED:
            return ConfigurationError(f"LIMS {self}: {message}")
        if code in _LOST or error.connection_invalidated:
            return ServerUnreachableError(f"cannot reach the LIMS at {self}: {message}")
        if _may_pass(error):
            return TemporaryError(f"LIMS {self}: {message}")
        return PermanentError(f"LIMS {self}: {message}")


def take_lock(connection: Connection, name: str) -> None:
    """Keep other writers of what is called `name` out until the transaction ends.

    The lock is the server's own (GET_LOCK): it needs no right on any table, outlives
    the commits that some of ISPyB's procedures make, and goes when the connection
    goes. SQLite has one writer at a time anyway.

    Raises:
        TemporaryError: others have held it for too long.
    """
    if connection.dialect.name == "sqlite":
        return
    database = str(connection.engine.url.database)
    digest = hashlib.sha1(f"{database}\0{name}".encode(), usedforsecurity=False)
    lock = f"zocelery:{digest.hexdigest()}"  # 64 characters fit
    held = connection.info.setdefault(_HELD, [])
    if lock in held:
        return
    question = text("SELECT GET_LOCK(:lock, :seconds)")
    given = {"lock": lock, "seconds": LOCK_TIMEOUT_S}
    if connection.execute(question, given).scalar() != 1:
        raise TemporaryError(f"LIMS: others write to {name} for {LOCK_TIMEOUT_S} s")
    held.append(lock)


def _release_locks(connection: Connection) -> None:
    """Give back what `take_lock` has taken; a lost connection has none any more."""
    if connection.invalidated or connection.closed:
        return
    for lock in connection.info.pop(_HELD, ()):
        with suppress(SQLAlchemyError):
            connection.execute(text("SELECT RELEASE_LOCK(:lock)"), {"lock": lock})


def _make_engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    return create_engine(
        url,
        pool_size=2,
        max_overflow=2,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_S,
        hide_parameters=True,
        # Who has waited for a lock sees what was stored meanwhile.
        isolation_level="READ COMMITTED",
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": STATEMENT_TIMEOUT_S,
            "write_timeout": STATEMENT_TIMEOUT_S,
            "sql_mode": STRICT,
            "charset": "utf8mb4",
        },
    )


def _sqlite_engine(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        folder = Path(url.database).expanduser().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"lims.url: {folder}: cannot be made: {error.strerror}"
            ) from error
        url = url.set(database=str(Path(url.database).expanduser()))
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": 10})
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # Lims.write begins transactions itself: the driver would begin them too late.
    connection.isolation_level = None
    for pragma in ("foreign_keys=ON", "journal_mode=WAL", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}")


def _code(error: DBAPIError) -> int | None:
    arguments = getattr(error.orig, "args", ())
    first = arguments[0] if arguments else None
    return first if isinstance(first, int) else None


def _message(error: DBAPIError) -> str:
    arguments = getattr(error.orig, "args", ())
    text = str(arguments[-1]) if arguments else str(error.orig)
    return " ".join(text.split())


def _may_pass(error: DBAPIError) -> bool:
    code = _code(error)
    if code is None:
        return any(words in _message(error) for words in _SQLITE_BUSY)
    return code in _COLLIDED or code in _LOST or error.connection_invalidated
