"""`lims`: how long it takes to store per-image results in MariaDB."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks.lims_writers import measure_writers
from benchmarks.report import Report, progress
from benchmarks.rounds import interleave
from zocelery.lims.abilities import Abilities, find_abilities
from zocelery.lims.connection import Lims
from zocelery.lims.image_quality import image_row, store_image_rows
from zocelery.lims.tables import create_tables, table

ROWS = 1000
DCID = 1
ABOUT = """\
1000 rows of ImageQualityIndicators stored in a private MariaDB server, each batch in a
transaction that is on the disk before the next begins. `rows` in one transaction;
`milliseconds` for all 1000, wall-clock; `ratio` to 1000 at once. The bound is 50 ms.
Then eight processes with 1000 rows each at the same time, of different images or all of
the same; `milliseconds` are those of all divided by eight."""


@click.command("lims")
@click.option("--rounds", default=5, show_default=True, help="Turns of each.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def command(rounds: int, as_json: bool) -> None:
    """Store per-image results in MariaDB, in batches of several sizes.

    Starts a MariaDB server of its own.
    """
    from tests.lims_servers import private_mariadb, run_sql

    report = Report("lims", ABOUT, as_json=as_json)
    with TemporaryDirectory(prefix="zocelery-lims-") as folder:
        progress("starting MariaDB, making the tables")
        with private_mariadb(Path(folder)) as url:
            run_sql(url, "CREATE DATABASE lims CHARACTER SET utf8mb4")
            lims = Lims(url.set(database="lims"))
            create_tables(lims.engine)
            lims.write(_add_collection)
            report.table("1000 rows", _measure(lims, rounds))
            progress("eight writers at once")
            address = lims.url.render_as_string(hide_password=False)
            report.table("8 writers at once", measure_writers(address, DCID))
            lims.close()


def _measure(lims: Lims, rounds: int) -> list[dict[str, Any]]:
    abilities = find_abilities(lims)
    contenders = {
        str(size): _storing(lims, abilities, size) for size in (ROWS, 100, 10)
    }
    found = interleave(contenders, rounds)
    return [
        {
            "rows": name,
            "milliseconds": found.milliseconds(name),
            "ratio": found.ratio(str(ROWS), name),
        }
        for name in contenders
    ]


def _storing(lims: Lims, abilities: Abilities, size: int) -> Callable[[], float]:
    """Return what stores images that nobody has stored before, and says how long."""
    first = size * 1_000

    def _store() -> float:
        nonlocal first
        batches = _batches(first, size)
        first += ROWS
        start = time.perf_counter()
        for batch in batches:
            store_image_rows(lims, abilities, batch)
        return time.perf_counter() - start

    return _store


def _batches(first: int, size: int) -> list[Sequence[dict[str, Any]]]:
    found = {"n_spots_total": 50, "n_spots_no_ice": 40, "estimated_d_min": 1.8}
    rows = [image_row(DCID, first + n, found) for n in range(1, ROWS + 1)]
    return [rows[n : n + size] for n in range(0, ROWS, size)]


def _add_collection(connection: Any) -> None:
    for name, values in (
        ("Person", {"personId": 1}),
        ("Proposal", {"proposalId": 1, "personId": 1}),
        ("BLSession", {"sessionId": 1, "proposalId": 1}),
        ("DataCollectionGroup", {"dataCollectionGroupId": 1, "sessionId": 1}),
        ("DataCollection", {"dataCollectionId": DCID, "dataCollectionGroupId": 1}),
    ):
        connection.execute(table(name).insert().values(values))
