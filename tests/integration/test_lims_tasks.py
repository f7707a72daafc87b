"""Tasks of the queue `lims`: in recipes as Zocalo's, twice and eight times at once."""

import os
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from tests import lims_rows
from tests.lims_requests import CENTRING
from tests.lims_rows import DCG, DCID, Site, at_once
from zocelery.deployment import current_deployment
from zocelery.errors import ParameterError, PermanentError
from zocelery.lims.current import current_lims, forget_lims
from zocelery.messages import Step
from zocelery.submission import submit
from zocelery.variables import programs_of
from zocelery_tasks.lims import (
    close_programs,
    ispyb_connector,
    ispyb_pia,
    store_centring,
)

WAIT = 60
CONNECTOR: dict[str, Any] = {"queue": "ispyb_connector"}
REGISTER = {
    **CONNECTOR,
    "parameters": {
        "ispyb_command": "register_processing",
        "program": "fast_dp",
        "store_result": "program",
    },
}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The LIMS of the tests' configuration; workers keep it open."""
    path = Path(str(make_url(os.environ["ZOCELERY_LIMS_URL"]).database))
    lims_rows.sqlite_lims(path.parent).close()
    made = Site(current_lims())
    yield made
    forget_lims()


def images_of(site: Site, numbers: Container[int]) -> list[tuple[Any, ...]]:
    rows = site.rows("ImageQualityIndicators", "imageNumber", "spotTotal")
    return [row for row in rows if row[0] in numbers]


def program_of(site: Site, key: str) -> int:
    step = Step(parameters=REGISTER["parameters"], unit=key)
    program: int = ispyb_connector(step)["result"]
    return program


def test_the_connector_answers_eight_deliveries_as_one(site: Site):
    before = site.count("AutoProcProgram")["AutoProcProgram"]
    answers = at_once(lambda: program_of(site, "u1"))
    assert answers == [answers[0]] * 8
    assert site.count("AutoProcProgram") == {"AutoProcProgram": before + 1}


def test_per_image_results_delivered_eight_times_are_there_once(site: Site):
    def _store() -> Any:
        return [
            ispyb_pia(
                Step(
                    parameters={"dcid": str(DCID)},
                    payload={"file-number": number, "n_spots_total": number},
                )
            )
            for number in range(1, 6)
        ]

    assert at_once(_store) == [[{"result": n} for n in range(1, 6)]] * 8
    assert images_of(site, range(1, 6)) == [(n, n) for n in range(1, 6)]


def test_the_images_of_a_gather_are_stored_at_once(site: Site):
    members = [{"file-number": n, "n_spots_total": 1} for n in range(101, 2601)]
    step = Step(parameters={"dcid": DCID}, payload={"members": members})
    assert ispyb_pia(step) == {"result": 2500}
    assert len(images_of(site, range(101, 2601))) == 2500


def test_a_centre_delivered_eight_times_is_there_once(site: Site):
    payload = {key: CENTRING[key] for key in ("type", "status", "results")}
    payload |= {"missing": [], "counts": [1, 2]}
    step = Step(parameters={"dcgid": DCG}, payload=payload)
    answers = at_once(lambda: store_centring(step))
    assert answers == [answers[0]] * 8
    columns = ("centreOfMassZ", "boundingBoxMaxX", "totalCount")
    assert site.rows("XrayCentringResult", *columns) == [(3.25, 2, 123456.5)]


def test_programs_that_were_killed_are_closed_once(site: Site):
    program = program_of(site, "u2")
    at_once(lambda: close_programs([program], "cancelled"))
    columns = ("processingStatus", "processingMessage")
    row = site.rows("AutoProcProgram", *columns, autoProcProgramId=program)
    assert row == [(0, "cancelled")]


def test_a_command_that_is_not_known_is_refused_before_a_run_starts(site: Site):
    nodes = {"a": {**CONNECTOR, "parameters": {"ispyb_command": "insert_nothing"}}}
    with pytest.raises(ParameterError, match="'insert_nothing' is no command"):
        submit({"nodes": nodes, "start": "a"})


@pytest.mark.usefixtures("workers")
def test_a_recipe_of_zocalo_registers_tells_and_stores(site: Site, tmp_path: Path):
    (tmp_path / "a.log").touch()
    steps = [
        {
            "ispyb_command": "write_autoproc",
            "spacegroup": "P1",
            "store_result": "merged",
        },
        {
            "ispyb_command": "add_program_attachment",
            "file_name": "a.log",
            "file_path": str(tmp_path),
            "file_type": "log",
        },
    ]
    images = [{"file-number": n, "n_spots_total": n} for n in (3001, 3002, 3003)]
    recipe = {
        "1": {**REGISTER, "output": 2},
        "2": {
            **CONNECTOR,
            "parameters": {
                "ispyb_command": "multipart_message",
                "program_id": "$program",
                "ispyb_command_list": steps,
            },
            "output": 3,
        },
        "3": {
            **CONNECTOR,
            "parameters": {
                "ispyb_command": "update_processing_status",
                "program_id": "$program",
                "status": "success",
                "message": "merged as $merged for $ID",
            },
        },
        "4": {
            "task": "split",
            "parameters": {"key": "images"},
            "output": {"each": 5},
        },
        "5": {
            "queue": "ispyb_pia",
            "parameters": {
                "ispyb_command": "store_per_image_analysis_results",
                "dcid": "{ispyb_dcid}",
            },
        },
        "start": [[1, []], [4, {"images": images}]],
    }
    run = submit(recipe, {"ispyb_dcid": DCID})
    assert run.wait(WAIT).state == "finished"
    (program,) = programs_of(current_deployment().store, run.id)
    (merged,) = site.rows("AutoProc", "autoProcId", autoProcProgramId=program)[0]
    columns = ("processingStatus", "processingMessage")
    told = site.rows("AutoProcProgram", *columns, autoProcProgramId=program)
    assert told == [(1, f"merged as {merged} for {run.id}")]
    files = site.rows(
        "AutoProcProgramAttachment", "fileName", autoProcProgramId=program
    )
    assert files == [("a.log",)]
    numbers = (3001, 3002, 3003)
    assert images_of(site, numbers) == [(n, n) for n in numbers]


@pytest.mark.usefixtures("workers")
def test_members_of_a_stream_see_what_was_named_before_it(site: Site):
    message = {
        "ispyb_command": "add_program_message",
        "program_id": "$program",
        "severity": "INFO",
    }
    members = [{"message": f"image {n}"} for n in range(3)]
    nodes = {
        "register": {**REGISTER, "output": "images"},
        "images": {"task": "echo", "parameters": {"list": members}, "output": "split"},
        "split": {
            "task": "split",
            "parameters": {"key": "list"},
            "output": {"each": "tell"},
        },
        "tell": {**CONNECTOR, "parameters": message},
    }
    run = submit({"nodes": nodes, "start": "register"})
    assert run.wait(WAIT).state == "finished"
    (program,) = programs_of(current_deployment().store, run.id)
    told = site.rows("AutoProcProgramMessage", "message", autoProcProgramId=program)
    assert sorted(told) == [(f"image {n}",) for n in range(3)]


@pytest.mark.usefixtures("workers")
def test_a_program_whose_run_has_failed_does_not_stay_running(site: Site):
    nodes = {"register": {**REGISTER, "output": "x"}, "x": {"task": "fail"}}
    run = submit({"nodes": nodes, "start": "register"})
    assert run.wait(WAIT).state == "failed"
    (program,) = programs_of(current_deployment().store, run.id)
    columns = ("processingStatus", "processingMessage")
    give_up = time.monotonic() + WAIT
    state: list[tuple[Any, ...]] = []
    while state != [(0, "the run failed")]:
        assert time.monotonic() < give_up, state
        time.sleep(0.05)
        state = site.rows("AutoProcProgram", *columns, autoProcProgramId=program)


@pytest.mark.usefixtures("workers")
def test_defect_14_a_job_is_triggered_once_for_a_run(site: Site):
    job = {
        "ispyb_command": "create_ispyb_job",
        "DCID": DCID,
        "recipe": "xia2-dials",
        "autostart": True,
    }
    nodes = {
        "job": {**CONNECTOR, "parameters": job, "output": {"trigger": "next"}},
        "next": {"task": "echo"},
    }
    run = submit({"nodes": nodes, "start": "job"})
    assert run.wait(WAIT).state == "finished"
    made = max(row[0] for row in site.rows("ProcessingJob", "processingJobId"))
    assert run.results()["next"] == {"parameters": {"ispyb_process": made}}


def test_what_no_step_has_named_is_said(site: Site):
    values = {"ispyb_command": "update_program_name", "program": "x"}
    step = Step(parameters={**values, "program_id": "$program"})
    with pytest.raises(PermanentError, match="no step before has set program"):
        ispyb_connector(step)
