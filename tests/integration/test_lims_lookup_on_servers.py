"""Look-up on a server: the same as in SQLite, and on the real schema."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from tests import lims_rows
from tests.lims_rows import (
    DCID,
    GRID_DCID,
    JOB,
    SECOND_DCID,
    SERIAL_DCID,
    STILL_DCID,
    add_second_grid,
)
from tests.lims_servers import (
    SCHEMA_VARIABLE,
    build_real_schema,
    private_mariadb,
    run_sql,
)
from zocelery.lims.abilities import find_abilities
from zocelery.lims.connection import Lims
from zocelery.lims.grid_pairs import find_pair
from zocelery.lims.layout import DIAMOND
from zocelery.lims.lookup import look_up
from zocelery.lims.tables import create_tables

CHECKOUT = os.environ.get(SCHEMA_VARIABLE)
REAL = {993677: 39, 1002287: 39, 1052494: 37, 1052503: 37, 1066786: 37, 6017405: 37}
"""Data collections of ispyb-database, and how many parameters each gives."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    with private_mariadb(tmp_path_factory.mktemp("mariadb")) as url:
        yield url


def found(lims: Lims, given: dict[str, Any]) -> dict[str, Any]:
    abilities = find_abilities(lims)
    asked = {"guid": "g1", **given}
    return look_up(lims, abilities, asked, DIAMOND, writes=False).parameters


def test_mariadb_says_what_sqlite_says(server: URL, tmp_path: Path):
    run_sql(server, "CREATE DATABASE plain CHARACTER SET utf8mb4")
    maria, lite = (
        Lims(server.set(database="plain")),
        lims_rows.sqlite_lims(tmp_path),
    )
    create_tables(maria.engine)
    maria.write(lims_rows.add_visit)
    for given in (
        *({"ispyb_dcid": dcid} for dcid in (DCID, GRID_DCID, STILL_DCID, SERIAL_DCID)),
        {"ispyb_process": JOB},
    ):
        ours, theirs = (timeless(found(lims, given)) for lims in (lite, maria))
        assert ours == theirs
    for lims in (lite, maria):
        abilities = find_abilities(lims)
        assert find_pair(lims, abilities, GRID_DCID) is None
        lims.write(add_second_grid)
        for dcid in (GRID_DCID, SECOND_DCID):
            assert find_pair(lims, abilities, dcid) == (GRID_DCID, SECOND_DCID)
        assert find_pair(lims, abilities, DCID) is None
    maria.close()
    lite.close()


def timeless(value: Any) -> Any:
    """Return a value without the moments at which rows were made."""
    if isinstance(value, dict):
        kept = {
            k: v for k, v in value.items() if not str(k).lower().endswith("timestamp")
        }
        return {k: timeless(v) for k, v in kept.items()}
    return value


@pytest.mark.skipif(
    not CHECKOUT, reason=f"{SCHEMA_VARIABLE} names no checkout of ispyb-database"
)
def test_all_of_the_real_schema_is_looked_up(server: URL, tmp_path: Path):
    lims = Lims(build_real_schema(server, Path(str(CHECKOUT)), tmp_path))
    for dcid, number in REAL.items():
        parameters = found(lims, {"ispyb_dcid": dcid})
        assert len(parameters) == number, dcid
        assert len(parameters["ispyb_dc_info"]) >= 100
    assert found(lims, {"ispyb_process": 5})["ispyb_dcid"] in REAL
    grid = found(lims, {"ispyb_dcid": 6017405})
    assert grid["ispyb_dc_info"]["gridinfo"]["steps_x"] == 30.0
    assert grid["ispyb_dc_class"]["grid"] is True
    lims.close()
