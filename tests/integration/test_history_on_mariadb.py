"""The history on a database server: the same tables, the same migrations."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, text

from tests.lims_servers import private_mariadb, run_sql
from tests.unit.test_migrations import differences, open_history
from zocelery import migrations


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An empty database on a MariaDB server."""
    with private_mariadb(tmp_path_factory.mktemp("mariadb")) as url:
        run_sql(url, "CREATE DATABASE history CHARACTER SET utf8mb4")
        made = create_engine(url.set(database="history"))
        yield made
        made.dispose()


def make_old_history(engine: Engine) -> None:
    """Make the tables as they were before there were revisions, with a run in them."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, migrations.FIRST)
        connection.execute(text(f"DROP TABLE {migrations.VERSION_TABLE}"))
        connection.execute(
            text(
                "INSERT INTO zocelery_runs (run, version, recipe, document, parameters,"
                " state, submitted) VALUES ('old', 1, 'r', '{}', '{\"x\": 1}', 'ended',"
                " 1.0)"
            )
        )
        connection.commit()


def test_an_old_history_is_upgraded_once_by_all_who_come_at_once(engine: Engine):
    make_old_history(engine)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(migrations.upgrade(engine)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [migrations.HEAD] * 4
    assert differences(engine) == []
    history = open_history(engine)
    row = history.run("old")
    assert (row["parameters"], row["rerun_of"]) == ({"x": 1}, None)
    history.end_unit("old", "u", "n", "done", {"x": 1}, None, {"left": [1]})
    history.add_run(
        run="new",
        recipe="r",
        document={},
        parameters={},
        state="running",
        host="h",
        submitted=2.0,
        rerun_of="old",
        reused=["n"],
    )
    for _ in range(2):
        history.copy_units("old", "new", {"v": "u"})
    assert history.unit("new", "v") == {
        **(history.unit("old", "u") or {}),
        "run": "new",
        "unit": "v",
        "state": "reused",
    }
    history.close()
