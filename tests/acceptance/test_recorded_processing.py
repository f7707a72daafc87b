"""A rotation is processed by itself and again by a user's job: recorded equally."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests.lims_rows import DCID, JOB, Site, sqlite_lims
from tests.unit.xia2_replay import stand_in, write_run
from zocelery.lims.tables import table

WAIT = 150
RECORDED = (
    "AutoProc",
    "AutoProcScaling",
    "AutoProcScalingStatistics",
    "AutoProcIntegration",
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A visit on a disk, and a job that asks for what runs by itself."""
    lims = sqlite_lims(tmp_path)
    images = tmp_path / "cm7-3" / "raw"
    images.mkdir(parents=True)
    for number in range(1, 101):
        (images / f"ly-so_2_{number:05d}.cbf").touch()
    collections, jobs = table("DataCollection"), table("ProcessingJob")

    def _change(connection: Any) -> None:
        where = f"{images}/"
        connection.execute(update(collections).values(imageDirectory=where))
        connection.execute(update(jobs).values(recipe="autoprocessing-xia2-dials"))

    lims.write(_change)
    return Site(lims)


def process(folder: Path, *asked: str, exit_code: int = 0) -> int:
    path = stand_in(folder / "bin", write_run(folder / "recorded"), exit_code=exit_code)
    settings = {
        "ZOCELERY_LIMS_URL": f"sqlite:///{folder}/lims.sqlite",
        "ZOCELERY_LIMS_LAYOUT": "generic",
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ZOCELERY_")}
    done = subprocess.run(
        [sys.executable, "-m", "zocelery", "run", *asked, "--json"],
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
        env={**kept, **path, **settings},
    )
    assert done.stdout, done.stderr
    return done.returncode


def programs(site: Site) -> list[tuple[Any, ...]]:
    columns = ("processingJobId", "processingStatus", "processingPrograms")
    return site.rows("AutoProcProgram", *columns)


def test_a_job_of_synchweb_is_recorded_as_the_automatic_processing_is(
    tmp_path: Path, site: Site
):
    assert process(tmp_path, "autoprocessing-xia2", str(DCID)) == 0
    assert programs(site) == [(None, 1, "xia2 dials")]
    once = site.count(*RECORDED)
    assert once["AutoProcIntegration"] >= 1
    files = site.count("AutoProcProgramAttachment")["AutoProcProgramAttachment"]
    assert files >= 1
    assert process(tmp_path, "--job", str(JOB)) == 0
    assert programs(site) == [(None, 1, "xia2 dials"), (JOB, 1, "xia2 dials")]
    assert site.count(*RECORDED) == {name: 2 * count for name, count in once.items()}
    assert site.count("AutoProcProgramAttachment") == {
        "AutoProcProgramAttachment": 2 * files
    }
    told = [*tmp_path.rglob("arguments.json")]
    assert any("d_min=3" in file.read_text() for file in told)
    assert any("ly-so_2_00001.cbf:1:50" in file.read_text() for file in told)


def test_processing_that_fails_is_recorded_as_failed(tmp_path: Path, site: Site):
    assert process(tmp_path, "autoprocessing-xia2", str(DCID), exit_code=3) == 1
    assert programs(site) == [(None, 0, "xia2 dials")]
    assert site.count(*RECORDED) == dict.fromkeys(RECORDED, 0)


def test_a_job_that_names_its_pipeline_is_registered_under_that(
    tmp_path: Path, site: Site
):
    asked = table("ProcessingJobParameter")
    change = update(asked).values(parameterKey="pipeline", parameterValue="3dii")
    site.lims.write(lambda connection: connection.execute(change))
    assert process(tmp_path, "--job", str(JOB)) == 0
    assert programs(site) == [(JOB, 1, "xia2 3dii")]
