"""An old history goes on in a new version, and a new one beside an old version."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from zocelery import migrations
from zocelery.errors import ConfigurationError
from zocelery.history import History
from zocelery.history_tables import metadata

OLD = (Path(__file__).parent / "data" / "history_before_revisions.sql").read_text()
"""A history as the first version left it, with a run in it."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'h.sqlite'}")
    yield made
    made.dispose()


def fill_old(engine: Engine) -> None:
    with engine.begin() as connection:
        for statement in filter(str.strip, OLD.split(";\n")):
            connection.exec_driver_sql(statement)


def differences(engine: Engine) -> list[object]:
    options = {
        "compare_type": False,
        "include_name": lambda name, kind, _: name != migrations.VERSION_TABLE,
    }
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))


def open_history(engine: Engine) -> History:
    history = History(engine.url.render_as_string(hide_password=False))
    history.create_tables()
    return history


def test_the_migrations_lead_to_the_tables_that_the_code_knows(engine: Engine):
    assert migrations.upgrade(engine) == migrations.HEAD
    assert differences(engine) == []


def test_the_last_revision_is_the_one_that_is_asked_for():
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == migrations.HEAD


def test_an_old_history_goes_on_without_loss(engine: Engine):
    fill_old(engine)
    for _ in range(2):
        history = open_history(engine)
        row = history.run("old-run")
        assert row["parameters"] == {"word": "hello"}
        assert (row["state"], row["counts"]) == ("finished", {"a": {"done": 1}})
        assert (row["template"], row["rerun_of"], row["reused"]) == (None, None, None)
        assert [n["result"] for n in history.run_nodes("old-run")] == [{"x": 1}]
        assert [t["number"] for t in history.run_tries("old-run")] == [1, 2]
        assert history.run_failures("old-run")[0]["error"] == "no such file"
        history.close()
    assert differences(engine) == []


def test_a_history_that_was_half_way_is_completed(engine: Engine):
    fill_old(engine)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE zocelery_nodes ADD COLUMN sent JSON"))
    assert migrations.upgrade(engine) == migrations.HEAD
    assert differences(engine) == []


def test_many_who_come_at_once_upgrade_once(engine: Engine):
    fill_old(engine)
    url = engine.url.render_as_string(hide_password=False)
    code = f"from zocelery.history import History; History({url!r}).create_tables()"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert differences(engine) == []


def test_threads_of_one_process_upgrade_once(engine: Engine):
    errors: list[BaseException] = []

    def upgrade() -> None:
        try:
            migrations.upgrade(engine)
        except BaseException as error:  # told to the test
            errors.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert differences(engine) == []


def set_revision(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        update = text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = :to")
        connection.execute(update, {"to": revision})


def test_a_worker_goes_on_beside_a_newer_one_that_added_something(engine: Engine):
    migrations.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE zocelery_runs ADD COLUMN mood TEXT"))
    set_revision(engine, "1_9999")
    history = open_history(engine)
    history.add_run(
        run="r",
        recipe="r",
        document={},
        parameters={},
        state="running",
        host="h",
        submitted=1.0,
    )
    assert history.run("r")["state"] == "running"
    assert history.revision == "1_9999"
    history.close()


def test_a_newer_major_version_is_refused_and_not_touched(engine: Engine):
    migrations.upgrade(engine)
    set_revision(engine, "2_0001")
    with pytest.raises(ConfigurationError, match="2_0001"):
        open_history(engine)
    assert migrations.current_revision(engine) == "2_0001"


def test_a_step_that_breaks_off_leaves_the_old_tables(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    fill_old(engine)
    before = inspect(engine).get_table_names()

    def break_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("alembic.command.upgrade", break_off)
    with pytest.raises(KeyboardInterrupt):
        migrations.upgrade(engine)
    assert inspect(engine).get_table_names() == before
    monkeypatch.undo()
    assert migrations.upgrade(engine) == migrations.HEAD
