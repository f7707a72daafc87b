"""Databases for the LIMS's tests: a private MariaDB, empty or with a real schema."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
from sqlalchemy import URL

from zocelery import servers

SCHEMA_VARIABLE = "ZOCELERY_ISPYB_DATABASE"
"""Names a checkout of ispyb-database, for tests against the real schema."""


@contextmanager
def private_mariadb(folder: Path, port: int | None = None) -> Iterator[URL]:
    """Run a MariaDB server in `folder`; yield root's URL, without a database.

    A folder that held one before is taken up again, its data with it.
    """
    port = port or servers.free_port()
    options = _write_options(folder, port)
    if not (folder / "data").is_dir():
        subprocess.run(
            [
                _program("mariadb-install-db"),
                f"--defaults-file={options}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            check=True,
            capture_output=True,
        )
    log = folder / "mariadb.log"
    command = [_program("mariadbd"), f"--defaults-file={options}"]
    with servers.running(command, log) as process:
        servers.wait_for_port(port, process, log)
        yield URL.create(
            "mysql+pymysql", username="root", host=servers.LOOPBACK, port=port
        )


def run_sql(url: URL, *statements: str) -> None:
    """Run statements, each committed, as the user of `url`."""
    connection = pymysql.connect(
        host=url.host,
        port=url.port or 3306,
        user=url.username,
        password=url.password or "",
        database=url.database,
        autocommit=True,
    )
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


def build_real_schema(url: URL, checkout: Path, folder: Path) -> URL:
    """Build ispyb-database's schema and test data; return the URL of the database."""
    copy = folder / "ispyb-database"
    shutil.copytree(checkout, copy)
    (copy / ".my.cnf").write_text(
        f"[client]\nuser=root\nhost={url.host}\nport={url.port}\nprotocol=tcp\n"
    )
    subprocess.run(
        ["bash", "build.sh", "nodocs"], cwd=copy, check=True, capture_output=True
    )
    return url.set(database="ispyb_build")


def _write_options(folder: Path, port: int) -> Path:
    options = folder / "my.cnf"
    # As root the server runs only if it is told so.
    user = pwd.getpwuid(os.getuid()).pw_name
    lines = [
        "[mysqld]",
        f"user={user}",
        f"datadir={folder / 'data'}",
        f"socket={folder / 'mysqld.sock'}",
        f"pid-file={folder / 'mysqld.pid'}",
        f"bind-address={servers.LOOPBACK}",
        f"port={port}",
        "skip-name-resolve",
        "innodb-flush-log-at-trx-commit=1",
        "innodb-buffer-pool-size=64M",
    ]
    options.write_text("\n".join(lines) + "\n")
    return options


def _program(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    assert found, f"{name} is not installed"
    return found
