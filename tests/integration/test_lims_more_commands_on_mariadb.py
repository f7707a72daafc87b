"""Zocalo's further commands to the LIMS on MariaDB: the cases of the unit tests."""

from collections.abc import Iterator

import pytest
from sqlalchemy import URL, inspect

from tests import lims_rows
from tests.lims_rows import Site
from tests.lims_servers import private_mariadb, run_sql
from tests.unit.test_lims_more_commands import *  # noqa: F403 (its cases)
from zocelery.lims.connection import Lims
from zocelery.lims.tables import create_tables


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """A MariaDB server with all tables."""
    with private_mariadb(tmp_path_factory.mktemp("mariadb")) as root:
        run_sql(root, "CREATE DATABASE ispyb CHARACTER SET utf8mb4")
        url = root.set(database="ispyb")
        lims = Lims(url)
        create_tables(lims.engine)
        lims.close()
        yield url


@pytest.fixture
def site(server: URL) -> Iterator[Site]:
    """A LIMS with nothing but the visit."""
    lims = Lims(server)
    names = inspect(lims.engine).get_table_names()
    emptied = [f"DELETE FROM `{name}`" for name in names]
    run_sql(server, "SET FOREIGN_KEY_CHECKS = 0", *emptied)
    lims.write(lims_rows.add_visit)
    yield Site(lims)
    lims.close()
