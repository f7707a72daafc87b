"""Writers of the LIMS: each row once, whoever asks how often, on every database."""

import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from tests import lims_rows
from tests.lims_requests import (
    CENTRING,
    FURTHER_TABLES,
    ONE_SET,
    PHASED,
    TABLES,
    further_requests,
    multipart,
    phasing_report,
    whole_analysis,
)
from tests.lims_rows import Site, at_once
from tests.lims_servers import (
    SCHEMA_VARIABLE,
    build_real_schema,
    private_mariadb,
    run_sql,
)
from zocelery.errors import (
    ConfigurationError,
    PermanentError,
    ServerUnreachableError,
    TaskError,
)
from zocelery.lims.abilities import find_abilities
from zocelery.lims.check import check_lims
from zocelery.lims.connection import Lims
from zocelery.lims.image_quality import image_row, store_image_rows
from zocelery.lims.integration import SHELLS
from zocelery.lims.programs import close_program
from zocelery.lims.tables import create_tables
from zocelery.lims.writer import write_rows

CHECKOUT = os.environ.get(SCHEMA_VARIABLE)
PASSWORD = "p@ss/w:rd"
REAL_DCID, REAL_DCG = 993677, 988855
NUMBERS = itertools.count(1_000_000, 1000)
"""Tests on one database take other numbers than those before them."""
needs_checkout = pytest.mark.skipif(
    not CHECKOUT, reason=f"{SCHEMA_VARIABLE} names no checkout of ispyb-database"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """A MariaDB server with the database `plain`, the visit in it."""
    with private_mariadb(tmp_path_factory.mktemp("mariadb")) as url:
        run_sql(url, "CREATE DATABASE plain CHARACTER SET utf8mb4")
        lims = Lims(url.set(database="plain"))
        create_tables(lims.engine)
        lims.write(lims_rows.add_visit)
        lims.close()
        yield url


@pytest.fixture(scope="module")
def real(server: URL, tmp_path_factory: pytest.TempPathFactory) -> URL:
    """The real schema with its own test data; a role as Diamond's programs have it."""
    folder = tmp_path_factory.mktemp("schema")
    url = build_real_schema(server, Path(str(CHECKOUT)), folder)
    run_sql(
        server,
        "CREATE ROLE zocelery",
        "GRANT ispyb_processing TO zocelery",
        "GRANT ispyb_ro_nopii TO zocelery",
        f"CREATE USER role@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
        "GRANT zocelery TO role@'127.0.0.1'",
        "SET DEFAULT ROLE zocelery FOR role@'127.0.0.1'",
    )
    return url


REAL = pytest.param("real", marks=needs_checkout)


@pytest.fixture(
    params=[
        "sqlite",
        "mariadb",
        REAL,
        pytest.param("role", marks=needs_checkout),
    ]
)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "sqlite":
        made = Site(lims_rows.sqlite_lims(tmp_path))
    elif request.param == "mariadb":
        url: URL = request.getfixturevalue("server")
        made = Site(Lims(url.set(database="plain")))
    else:
        url = request.getfixturevalue("real")
        if request.param == "role":
            url = url.set(username="role", password=PASSWORD)
        made = Site(Lims(url), REAL_DCID, REAL_DCG)
    yield made
    made.lims.close()


def grown(site: Site, before: dict[str, int]) -> dict[str, int]:
    return {name: n - before[name] for name, n in site.count(*TABLES).items()}


def steps_for(site: Site, folder: Path) -> list[dict[str, Any]]:
    """Return the requests of a whole analysis that nobody has made before."""
    steps = whole_analysis(folder, image=next(NUMBERS))
    steps[0]["sweeps"][0]["DCID"] = site.dcid
    place = steps[16]["results"][0]["centre_of_mass"]
    result = {
        **CENTRING["results"][0],
        "centre_of_mass": [float(next(NUMBERS)), *place[1:]],
    }
    steps[16] = {**CENTRING, "results": [result]}
    return steps


@pytest.mark.parametrize("site", ["sqlite", "mariadb", REAL], indirect=True)
def test_microscopy_asked_for_eight_times_at_once_is_there_once(
    site: Site, tmp_path: Path
):
    key, number = str(tmp_path), next(NUMBERS)
    register = {"ispyb_command": "register_processing", "program": "relion"}
    program = site.run(register, key).result
    (session,) = site.rows("BLSession", "sessionId")[0]
    before = site.count(*FURTHER_TABLES)
    request = multipart(further_requests(session, number))
    answers = at_once(lambda: site.run(request, key, {"program": program}))
    assert {type(answer).__name__ for answer in answers} == {"Outcome"}, answers
    variables = [answer.variables for answer in answers]
    assert variables == [variables[0]] * 8
    after = site.count(*FURTHER_TABLES)
    assert after == {name: rows + 1 for name, rows in before.items()}


def test_a_whole_analysis_asked_for_eight_times_at_once_is_there_once(
    site: Site, tmp_path: Path
):
    before, key = site.count(*TABLES), str(tmp_path)
    steps = steps_for(site, tmp_path)
    refined = steps.pop(17)  # names ids in an object, which `$name` does not reach
    answers = at_once(lambda: site.run(multipart(steps), key))
    assert {type(answer).__name__ for answer in answers} == {"Outcome"}
    variables = [answer.variables for answer in answers]
    assert variables == [variables[0]] * 8
    names = variables[0]
    refined["mxmrrun"] |= {
        "auto_proc_scaling_id": names["scaling"],
        "auto_proc_program_id": names["program"],
    }
    assert len({a.result for a in at_once(lambda: site.run(refined, key))}) == 1
    assert grown(site, before) == ONE_SET
    for number, step in enumerate(steps, start=1):
        answers = at_once(
            lambda step=step, number=number: site.run(step, f"{key}/{number}", names)
        )
        assert len({a.result for a in answers}) == 1, step
    assert grown(site, before) == ONE_SET


def test_a_phasing_asked_for_eight_times_at_once_is_there_once(
    site: Site, tmp_path: Path
):
    shells = {name: {"r_merge": 0.1} for name in SHELLS}
    steps = (
        {"ispyb_command": "register_processing", "program": "fast_dp"},
        {"ispyb_command": "write_autoproc", "program_id": "$0", "spacegroup": "P1"},
        {"ispyb_command": "insert_scaling", "autoproc_id": "$1", **shells},
    )
    named = [{**step, "store_result": f"{n}"} for n, step in enumerate(steps)]
    scaling = site.run(multipart(named), str(tmp_path)).result
    before = site.count(*PHASED)
    request = {
        "ispyb_command": "insert_phasing_analysis_results",
        "phasing_results": phasing_report(),
        "scaling_id": scaling,
    }
    answers = at_once(lambda: site.run(request).result)
    assert answers == [answers[0]] * 8
    after = site.count(*PHASED)
    assert {name: n - before[name] for name, n in after.items()} == PHASED
    where = {"phasingAnalysisId": answers[0]}
    assert site.rows("Phasing_has_Scaling", "autoProcScalingId", **where) == [
        (scaling,)
    ]
    assert site.rows("SubstructureDetermination", "method", **where) == [("SAD",)]


def test_defect_14_a_job_is_triggered_once_it_is_stored_and_as_the_same_again(
    site: Site, tmp_path: Path
):
    job = steps_for(site, tmp_path)[0]
    first, second = (site.run(job, str(tmp_path)) for _ in range(2))
    assert first.sends == second.sends
    told = {"parameters": {"k": "v", "ispyb_process": first.result}}
    assert first.sends == [("trigger", told)]
    held = site.run({**job, "autostart": False}, str(tmp_path / "other"))
    assert [channel for channel, _ in held.sends] == ["held"]
    broken = {**job, "recipe": "x" * 51}
    with pytest.raises(PermanentError, match=r"recipe.*51 characters, 50 fit"):
        site.run(broken, str(tmp_path / "broken"))


def test_eight_writers_of_the_same_images_do_not_lock_each_other_out(site: Site):
    first = next(NUMBERS)
    numbers = range(first + 1, first + 301)
    found = {"n_spots_total": 3, "estimated_d_min": 1.9}

    def _write() -> int:
        rows = [image_row(site.dcid, number, found) for number in reversed(numbers)]
        return store_image_rows(site.lims, site.abilities, rows)

    assert at_once(_write) == [300] * 8
    stored = site.rows(
        "ImageQualityIndicators",
        *("imageNumber", "spotTotal", "method1Res", "method2Res"),
        dataCollectionId=site.dcid,
    )
    mine = [row for row in stored if row[0] in numbers]
    assert [row[0] for row in mine] == list(numbers)
    assert {row[1] for row in mine} == {3}
    assert {round(row[3], 4) for row in mine} == {1.9}


def test_counts_and_dozor_scores_of_an_image_may_come_apart(site: Site):
    number = next(NUMBERS)
    for found in ({"n_spots_total": 3}, {"dozor_score": 1.5}):
        values = {"ispyb_command": "store_per_image_analysis_results", **found}
        site.run({**values, "file-pattern-index": number})
    row = site.rows(
        "ImageQualityIndicators",
        *("spotTotal", "dozor_score"),
        imageNumber=number,
        dataCollectionId=site.dcid,
    )
    assert row == [(3, 1.5)]


def register(site: Site, key: str) -> int:
    values = {"ispyb_command": "register_processing", "program": "fast_dp"}
    program: int = site.run(values, key).result
    return program


def tell(site: Site, program: int, status: str, message: str = "m") -> None:
    values = {"status": status, "message": message, "program_id": program}
    site.run({"ispyb_command": "update_processing_status", **values})


def state(site: Site, program: int) -> tuple[Any, ...]:
    (row,) = site.rows(
        "AutoProcProgram",
        *("processingStatus", "processingMessage"),
        autoProcProgramId=program,
    )
    return row


def test_a_program_that_has_ended_is_not_undone_by_late_news(
    site: Site, tmp_path: Path
):
    program = register(site, str(tmp_path))
    tell(site, program, "running", "a")
    assert state(site, program) == (None, "a")
    tell(site, program, "failure", "b")
    tell(site, program, "running", "a")
    assert state(site, program) == (0, "b")
    tell(site, program, "success", "c")
    tell(site, program, "failure", "b")
    assert state(site, program) == (1, "c")


def test_a_killed_program_never_stays_running(site: Site, tmp_path: Path):
    killed, ended = (register(site, f"{tmp_path}{n}") for n in range(2))
    tell(site, ended, "success", "done")

    def _close(program: int) -> bool:
        return write_rows(
            site.lims, site.abilities, lambda w: close_program(w, program, "cancelled")
        )

    assert sorted(at_once(lambda: _close(killed))) == [False] * 7 + [True]
    assert state(site, killed) == (0, "cancelled")
    assert _close(ended) is False
    assert state(site, ended) == (1, "done")


def test_programs_without_a_job_are_told_apart_by_their_request(
    site: Site, tmp_path: Path
):
    keys = [str(tmp_path / name) for name in "aab"]
    first, again, other = (register(site, key) for key in keys)
    assert first == again != other


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ispyb_command": "no_such"}, "'no_such' is no command"),
        ({}, "no ispyb_command is named"),
        (
            {"ispyb_command": "store_per_image_analysis_results", "file-number": 0},
            "file-number is not given",
        ),
        (
            {
                "ispyb_command": "store_per_image_analysis_results",
                "file-number": 1,
                "n_spots_total": 1,
                "dcid": 999_999_999,
            },
            "there is no DataCollection 999999999",
        ),
        (
            {
                "ispyb_command": "store_per_image_analysis_results",
                "file-number": 99_999_999,
                "n_spots_total": 1,
            },
            r"ImageQualityIndicators.imageNumber: 99999999 is not within",
        ),
        (
            {
                "ispyb_command": "write_autoproc",
                "program_id": 888_888,
                "spacegroup": "P1",
            },
            "there is no AutoProcProgram 888888",
        ),
        (
            {
                "ispyb_command": "update_processing_status",
                "program_id": 888_888,
                "status": "success",
            },
            "there is no AutoProcProgram 888888",
        ),
        (
            {"ispyb_command": "add_program_message", "program_id": "$nobody"},
            "program_id = '.nobody' is no id: no step before has set nobody",
        ),
        (
            {**CENTRING, "type": "4d"},
            "X-ray centring: type: .*'4d'",
        ),
        ({**CENTRING, "dcgid": 777_777}, "there is no DataCollectionGroup 777777"),
        (
            {
                "ispyb_command": "add_program_attachment",
                "program_id": 1,
                "file_name": "gone.log",
                "file_path": "/nowhere",
            },
            "/nowhere/gone.log: no such file",
        ),
        (
            {"ispyb_command": "insert_screening", "shortcomments": "x" * 21},
            r"Screening.shortComments: .* has 21 characters, 20 fit",
        ),
    ],
)
def test_a_mistake_is_one_clear_line_and_leaves_nothing(
    site: Site, values: dict[str, Any], words: str
):
    before = site.count(*TABLES)
    with pytest.raises(PermanentError, match=words) as caught:
        site.run(values)
    assert "\n" not in str(caught.value)
    assert site.count(*TABLES) == before


def test_a_word_that_is_none_of_an_enumeration_is_named(site: Site, tmp_path: Path):
    program = register(site, str(tmp_path))
    values = {"program_id": program, "severity": "fatal", "message": "m"}
    with pytest.raises(PermanentError, match="'fatal' is none of ERROR, WARNING, INFO"):
        site.run({"ispyb_command": "add_program_message", **values})


def test_a_list_that_fails_in_the_middle_leaves_nothing(tmp_path: Path, server: URL):
    for lims in (
        lims_rows.sqlite_lims(tmp_path),
        Lims(server.set(database="plain")),
    ):
        site = Site(lims)
        before = site.count(*TABLES)
        steps = steps_for(site, tmp_path)[:7]
        steps.append({"ispyb_command": "insert_scaling", "autoproc_id": "$merged"})
        with pytest.raises(PermanentError, match="a scaling needs the shell overall"):
            site.run(multipart(steps), str(tmp_path))
        assert site.count(*TABLES) == before


def test_another_centring_of_the_same_group_is_another_row(site: Site):
    before = site.count("XrayCentring")["XrayCentring"]
    result = CENTRING["results"][0]
    one, other = next(NUMBERS), next(NUMBERS)
    for voxels in (one, other, one, one):
        results = [{**result, "n_voxels": voxels}]
        site.run({**CENTRING, "results": results})
    assert site.count("XrayCentring")["XrayCentring"] == before + 3
    flat = [{"centre_of_mass": None, "message": "No good images found"}]
    empty = site.run({**CENTRING, "type": "2d", "results": flat}).result
    assert site.rows("XrayCentringResult", "blSampleId", xrayCentringId=empty) == []


@pytest.fixture
def account(server: URL) -> Iterator[URL]:
    """An account that may read and insert, and nothing else."""
    run_sql(
        server,
        f"CREATE USER small@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
        "GRANT SELECT, INSERT ON plain.* TO small@'127.0.0.1'",
    )
    yield server.set(username="small", password=PASSWORD, database="plain")
    run_sql(server, "DROP USER small@'127.0.0.1'")


def test_without_the_right_to_update_images_are_stored_and_not_corrected(account: URL):
    site = Site(Lims(account))
    number = next(NUMBERS)

    def _store(spots: int) -> int:
        row = image_row(site.dcid, number, {"n_spots_total": spots})
        return store_image_rows(site.lims, site.abilities, [row])

    assert at_once(lambda: _store(3)) == [1] * 8
    with pytest.raises(
        ConfigurationError, match=r"lacks the right UPDATE on ImageQualityIndicators"
    ):
        _store(4)
    findings = {finding.what: finding for finding in check_lims(site.abilities)}
    assert "UPDATE" in findings["per-image results"].lacks[0]
    assert "UPDATE on AutoProcProgram" in findings["programs"].lacks[0]
    assert findings["merged data"].path == "tables"
    site.lims.close()


@needs_checkout
def test_a_role_of_diamond_may_do_everything_by_tables_or_procedures(real: URL):
    role = Lims(real.set(username="role", password=PASSWORD))
    findings = check_lims(find_abilities(role))
    paths = {finding.what: finding.path for finding in findings}
    assert [finding for finding in findings if finding.lacks] == []
    assert paths["merged data"] == paths["screening"] == "procedures"
    assert paths["X-ray centring"] == paths["programs"] == "tables"
    role.close()


def test_a_missing_column_is_named(server: URL):
    run_sql(
        server.set(database="plain"),
        "ALTER TABLE XrayCentringResult RENAME COLUMN totalCount TO other",
    )
    try:
        site = Site(Lims(server.set(database="plain")))
        words = "XrayCentringResult has no column totalCount: its schema is older"
        with pytest.raises(ConfigurationError, match=words):
            site.run(CENTRING)
        site.lims.close()
    finally:
        run_sql(
            server.set(database="plain"),
            "ALTER TABLE XrayCentringResult RENAME COLUMN other TO totalCount",
        )


def test_a_wrong_password_is_said_and_not_shown(account: URL):
    right, wrong = Lims(account), Lims(account.set(password="p@/:x"))
    find_abilities(right)
    with pytest.raises(ConfigurationError, match="Access denied for user 'small'") as e:
        find_abilities(wrong)
    assert "p@/:x" not in str(e.value)
    assert "***" in str(e.value)
    right.close()


def test_a_server_that_restarts_loses_and_doubles_nothing(tmp_path: Path):
    stored: list[int] = []
    ended = threading.Event()

    def _write(site: Site, first: int) -> None:
        number = first
        while not ended.is_set():
            number += 1
            steps: list[dict[str, Any]] = [
                {
                    "ispyb_command": "register_processing",
                    "program": "fast_dp",
                    "store_result": "program",
                },
                {
                    "ispyb_command": "write_autoproc",
                    "program_id": "$program",
                    "spacegroup": "P1",
                },
                {
                    "ispyb_command": "store_per_image_analysis_results",
                    "file-number": number,
                    "n_spots_total": number,
                },
            ]
            while True:
                try:
                    site.run(multipart(steps), str(number))
                    break
                except (TaskError, ServerUnreachableError):  # the task's own retry
                    time.sleep(0.1)
            stored.append(number)

    folder = tmp_path / "server"
    folder.mkdir()
    with private_mariadb(folder) as url:
        run_sql(url, "CREATE DATABASE plain CHARACTER SET utf8mb4")
        site = Site(_filled(url.set(database="plain")))
        threads = [
            threading.Thread(target=_write, args=(site, first))
            for first in (0, 100_000, 200_000)
        ]
        for thread in threads:
            thread.start()
        _wait_for(stored, 10)
    before = len(stored)
    with private_mariadb(folder, url.port):
        _wait_for(stored, before + 10)
        ended.set()
        for thread in threads:
            thread.join()
        images = site.rows("ImageQualityIndicators", "imageNumber")
        assert [row[0] for row in images] == sorted(stored)
        marks = site.rows("AutoProcProgram", "processingEnvironment")
        assert len(set(marks)) == len(marks) == len(stored)
        assert site.count("AutoProc") == {"AutoProc": len(stored)}
        site.lims.close()


def _filled(url: URL) -> Lims:
    lims = Lims(url)
    create_tables(lims.engine)
    lims.write(lims_rows.add_visit)
    return lims


def _wait_for(stored: list[int], number: int) -> None:
    give_up = time.monotonic() + 60
    while len(stored) < number:
        assert time.monotonic() < give_up
        time.sleep(0.02)
