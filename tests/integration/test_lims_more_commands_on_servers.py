"""Zocalo's further commands to the LIMS on MariaDB: the cases of the unit tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, inspect, text

from tests import lims_rows
from tests.lims_rows import Site
from tests.lims_servers import (
    SCHEMA_VARIABLE,
    build_real_schema,
    private_mariadb,
    run_sql,
)

# Its cases are run again here, where `site` is a server's.
from tests.unit.test_lims_more_commands import *  # noqa: F403
from zocelery.lims.connection import Lims
from zocelery.lims.tables import create_tables

CHECKOUT = os.environ.get(SCHEMA_VARIABLE)
needs_checkout = pytest.mark.skipif(
    not CHECKOUT, reason=f"{SCHEMA_VARIABLE} names no checkout of ispyb-database"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """A MariaDB server with no database."""
    with private_mariadb(tmp_path_factory.mktemp("mariadb")) as root:
        yield root


@pytest.fixture(
    scope="module", params=["models", pytest.param("real", marks=needs_checkout)]
)
def database(
    request: pytest.FixtureRequest,
    server: URL,
    tmp_path_factory: pytest.TempPathFactory,
) -> URL:
    """All tables: as the models have them, or of the real schema with its data."""
    if request.param == "real":
        folder = tmp_path_factory.mktemp("schema")
        return build_real_schema(server, Path(str(CHECKOUT)), folder)
    run_sql(server, "CREATE DATABASE ispyb CHARACTER SET utf8mb4")
    url = server.set(database="ispyb")
    lims = Lims(url)
    create_tables(lims.engine)
    lims.close()
    # The models do not say that a number has no sign; the schema does.
    run_sql(url, "ALTER TABLE zc_ZocaloBuffer MODIFY UUID INT UNSIGNED NOT NULL")
    return url


@pytest.fixture
def site(database: URL) -> Iterator[Site]:
    """A LIMS with nothing but the visit."""
    lims = Lims(database)
    emptied = [f"DELETE FROM `{name}`" for name in _filled(lims)]
    run_sql(database, "SET FOREIGN_KEY_CHECKS = 0", *emptied)
    lims.write(lims_rows.add_visit)
    yield Site(lims)
    lims.close()


def _filled(lims: Lims) -> list[str]:
    """Return the tables that have rows: few of two hundred, asked for at once."""
    names = inspect(lims.engine).get_table_names()
    asked = [
        f"SELECT '{name}' FROM DUAL WHERE EXISTS (SELECT 1 FROM `{name}`)"
        for name in names
    ]
    query = text(" UNION ALL ".join(asked))
    return lims.read(lambda c: [str(row[0]) for row in c.execute(query)])
