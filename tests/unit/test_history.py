from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool

from zocelery.errors import ServerUnreachableError, TemporaryError, UnknownRunError
from zocelery.history import History


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(f"sqlite:///{tmp_path / 'h.sqlite'}")
    made.create_tables()
    yield made
    made.close()


def add(history: History, run: str, submitted: float = 1.0) -> None:
    history.add_run(
        run=run,
        recipe="r",
        document={},
        parameters={"x": 1},
        state="running",
        host="h",
        submitted=submitted,
    )


def test_a_run_is_found_by_the_start_of_its_id(history: History):
    add(history, "abc-1")
    add(history, "abd-2")
    assert history.run("abc")["parameters"] == {"x": 1}
    with pytest.raises(UnknownRunError, match="more than one"):
        history.run("ab")
    with pytest.raises(UnknownRunError, match="no run"):
        history.run("zzz")


def test_an_id_that_is_the_start_of_another_is_found_all_the_same(history: History):
    add(history, "abc")
    add(history, "abcd")
    assert history.run("abc")["run"] == "abc"


def test_writing_twice_leaves_one_row(history: History):
    for _ in range(2):
        add(history, "a")
        history.start_try("a", "u", "node", "task", 1, "host")
        history.end_try("a", "u", 1, "done")
        history.end_unit("a", "u", "node", "done", {"answer": 1}, None)
        history.add_failures("a", "node", {"3": "no such file"})
    assert [row["result"] for row in history.run_nodes("a")] == [{"answer": 1}]
    assert [row["state"] for row in history.run_tries("a")] == ["done"]
    assert [row["item"] for row in history.run_failures("a")] == ["3"]


def test_the_newest_runs_come_first(history: History):
    add(history, "old", 1.0)
    add(history, "new", 2.0)
    assert [row["run"] for row in history.recent_runs(1)] == ["new"]


def test_a_deleted_run_is_gone_with_all_that_belongs_to_it(history: History):
    add(history, "a")
    history.start_try("a", "u", "node", "task", 1, "host")
    history.delete_run("a")
    assert history.recent_runs() == history.run_tries("a") == []


def test_a_database_that_is_not_there_is_named():
    missing = History("sqlite:////no/such/folder/h.sqlite")
    with pytest.raises(ServerUnreachableError, match="/no/such/folder"):
        missing.create_tables()
    missing.close()


def test_who_finds_all_connections_in_use_may_try_again(history: History):
    add(history, "abc-1")
    history.engine.dispose()
    history.engine = create_engine(
        history.engine.url,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=0.01,
    )
    with history.engine.connect():
        with pytest.raises(ServerUnreachableError, match="history database"):
            history.run("abc-1")
        with pytest.raises(TemporaryError, match="history database"):
            history.end_run("abc-1", "finished", None, {})
