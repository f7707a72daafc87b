"""Parts of the LIMS: credentials, values, variables, imports, group commit."""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from zocelery.errors import ConfigurationError, PermanentError, TemporaryError
from zocelery.lims.credentials import find_url
from zocelery.lims.request import Request, replaced
from zocelery.lims.tables import sqlite_tables, table
from zocelery.lims.values import checked, is_same, shortened
from zocelery_tasks.group_commit import GroupCommit, Row

SECRET = "p@ss/w:rd"


def test_credentials_with_any_letters_in_the_password_are_read(tmp_path: Path):
    file = tmp_path / "ispyb.cfg"
    file.write_text(
        "[ispyb_mariadb_sp]\nuser = u\npw = p@ss/w:rd\nhost = h\nport = 33\ndb = d\n"
    )
    url = find_url("", {"ISPYB_CREDENTIALS": str(file)})
    assert url is not None
    assert (url.host, url.port, url.password) == ("h", 33, SECRET)
    assert SECRET not in url.render_as_string()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[other]\n", "has none of the sections ispyb_sqlalchemy"),
        ("[ispyb_mariadb_sp]\npw = p@ss/w:rd\n", "user, host, port, db missing"),
        ("pw = p@ss/w:rd\n", "is no ini file"),
    ],
)
def test_what_credentials_lack_is_said_without_the_password(
    tmp_path: Path, text: str, words: str
):
    file = tmp_path / "ispyb.cfg"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=words) as caught:
        find_url("", {"ISPYB_CREDENTIALS": str(file)})
    assert SECRET not in str(caught.value)


def test_workers_of_images_load_neither_ispyb_nor_sqlalchemy():
    script = (
        "import sys, zocelery, zocelery_tasks, zocelery_tasks.per_image_analysis\n"
        "print(sorted({'ispyb', 'sqlalchemy', 'pymysql', 'mysql'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_sqlite_has_every_table_and_refuses_what_strict_mariadb_refuses():
    tables = sqlite_tables().tables
    assert len(tables) > 200
    checks = {
        str(c.sqltext) for c in tables["XrayCentring"].constraints if _is_check(c)
    }
    assert "\"xrayCentringType\" IN ('2d', '3d')" in checks


def _is_check(constraint: Any) -> bool:
    return hasattr(constraint, "sqltext")


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("ProcessingJob", {"recipe": "x" * 51}, "51 characters, 50 fit"),
        ("XrayCentring", {"status": "ok"}, "is none of success, failed, pending"),
        ("GridInfo", {"steps_x": "five"}, "is no number"),
        ("DataCollection", {"numberOfImages": 1.5}, "is no whole number"),
        ("AutoProcProgram", {"processingStartTime": "soon"}, "is no date and time"),
        ("AutoProcProgram", {"nothing": 1}, "has no column 'nothing'"),
    ],
)
def test_values_that_the_lims_would_change_are_refused(
    name: str, values: dict[str, Any], words: str
):
    with pytest.raises(PermanentError, match=words):
        checked(table(name), values)


def test_values_get_the_form_of_their_column():
    row = checked(
        table("AutoProcProgramMessage"), {"severity": "info", "message": None}
    )
    assert row == {"severity": "INFO", "message": None}
    assert checked(table("GridInfo"), {"dx_mm": "0.5"}) == {"dx_mm": 0.5}
    assert checked(table("GridInfo"), {"dx_mm": float("nan")}) == {"dx_mm": None}
    text = shortened(table("AutoProcProgramMessage"), "message", "x" * 300)
    assert (len(text), text[-1]) == (200, "…")


def test_a_stored_number_is_the_same_as_far_as_its_column_keeps_digits():
    statistics = table("AutoProcScalingStatistics").c
    assert is_same(statistics.rMerge, 0.123457, 0.1234567)
    assert not is_same(statistics.rMerge, 0.1235, 0.1234)
    assert not is_same(statistics.nTotalObservations, 1_000_001, 1_000_000)
    assert is_same(statistics.comments, None, None)
    assert not is_same(statistics.comments, "x", None)


def test_variables_are_replaced_longest_names_first():
    known = {"ispyb_id": 1, "ispyb_id_2": 2, "ID": "r"}
    assert replaced("$ispyb_id_2/${ispyb_id}/$ID/$x", known) == "2/1/r/$x"
    assert replaced(5, known) == 5


def test_the_first_layer_that_has_a_name_counts():
    request = Request(({"a": None, "b": "$v"}, {"a": 1, "c": 3}), {"v": 7}, "key")
    assert [request.value(name) for name in "abcd"] == [None, "7", 3, None]
    assert request.key_of("b") == 7
    assert request.key_of("d") is None


def test_steps_of_a_list_see_the_payload_and_the_parameters_behind_it():
    step = {"ispyb_command": "x", "a": 1}
    layers = ({"ispyb_command_list": [step], "a": 2, "b": 3}, {"b": 4, "c": 5})
    (found,) = Request(layers, {}, "key").steps()
    assert found.everything() == {"ispyb_command": "x", "a": 1, "b": 3, "c": 5}
    assert found.key == "key/1"


@pytest.mark.parametrize("told", [None, [], "x", [{"a": 1}]])
def test_a_list_without_commands_is_refused(told: Any):
    request = Request(
        ({"ispyb_command": "multipart_message", "ispyb_command_list": told},), {}, "k"
    )
    with pytest.raises(PermanentError, match=r"is no list|names no ispyb_command"):
        list(request.steps())


class Slow:
    """Stores rows; the first time it waits until it may go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = threading.Event()
        self.may_go_on = threading.Event()

    def __call__(self, rows: Sequence[Row]) -> None:
        self.begun.set()
        assert self.may_go_on.wait(10)
        numbers = [row["n"] for row in rows]
        if -1 in numbers:
            raise PermanentError("no such image")
        if -2 in numbers:
            raise TemporaryError("away")
        self.batches.append(sorted(numbers))


def _add_all(numbers: Sequence[int]) -> tuple[Slow, dict[int, str]]:
    """Add the first number, and all others while it is being stored."""
    store = Slow()
    commit = GroupCommit(store)
    errors: dict[int, str] = {}

    def _add(number: int) -> None:
        try:
            commit.add([{"n": number}])
        except (PermanentError, TemporaryError) as error:
            errors[number] = str(error)

    threads = [threading.Thread(target=_add, args=(number,)) for number in numbers]
    threads[0].start()
    assert store.begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(commit._waiting) < len(numbers) - 1:
        time.sleep(0.001)
    store.may_go_on.set()
    for thread in threads:
        thread.join()
    return store, errors


def test_who_comes_while_others_are_stored_is_stored_with_all_who_wait():
    store, errors = _add_all(range(20))
    assert store.batches == [[0], list(range(1, 20))]
    assert errors == {}


def test_a_row_that_cannot_be_stored_is_its_own_threads_affair():
    store, errors = _add_all([0, 1, -1, 2])
    assert errors == {-1: "no such image"}
    assert sorted(n for batch in store.batches for n in batch) == [0, 1, 2]


def test_when_the_lims_is_away_all_who_wait_are_told():
    _, errors = _add_all([0, 1, -2])
    assert errors == {1: "away", -2: "away"}
