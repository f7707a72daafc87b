"""Serial crystallography: live hit rates, and images dropped that nobody can take."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Queue
from sqlalchemy import make_url

from tests import lims_rows
from tests.bridge_site import until
from tests.lims_rows import SERIAL_DCID, Site, at_once
from zocelery.celery import app
from zocelery.deployment import current_deployment
from zocelery.lims.current import current_lims, forget_lims
from zocelery.messages import Step
from zocelery.queues import results_exchange
from zocelery.submission import submit
from zocelery_tasks.hit_rates import TALLY, count_hits
from zocelery_tasks.simulation.scans import simulate_grid

WAIT = 300
IMAGES, AT_A_PACE = 60, 40


@pytest.fixture(scope="module")
def site(workers: Path) -> Iterator[Site]:
    """The LIMS that the workers write to."""
    assert workers
    path = Path(str(make_url(os.environ["ZOCELERY_LIMS_URL"]).database))
    lims_rows.sqlite_lims(path.parent).close()
    yield Site(current_lims())
    forget_lims()


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """A serial data set: 60 shots of which some hit a crystal; pattern and how many."""
    folder = tmp_path_factory.mktemp("shots")
    grid = simulate_grid(
        folder / "grid",
        steps=(6, 5),
        detector="test_128k",
        d_min=3.0,
        format="cbf",
        seed=5,
    )
    files = sorted((folder / "grid").glob("*.cbf"))
    for number in range(1, IMAGES + 1):
        shutil.copy(files[(number - 1) % 30], folder / f"s_{number:05d}.cbf")
    factors = [float(factor) for factor in grid.scans[0].factors()]
    return f"{folder}/s_%05d.cbf:1:{IMAGES}", 2 * sum(
        factor > 0.2 for factor in factors
    )


@pytest.fixture
def beamline(workers: Path) -> Iterator[Queue]:
    """The queue of a beamline's software."""
    assert workers
    with app.connection_for_write() as connection:
        queue = Queue("ssx.i24", results_exchange(), "ssx.i24")(connection)
        queue.declare()
        yield queue
        queue.delete()


def reports(queue: Queue) -> list[dict[str, object]]:
    """Return the payloads of all messages that are in a queue."""
    found = []
    while (message := queue.get(no_ack=True)) is not None:
        found.append(json.loads(message.body)["payload"])
    return found


def play(images: str, folder: Path) -> None:
    """Let the shots appear in a folder, most at a pace, the last ones all at once."""
    template = images.partition(":")[0]
    for number in range(1, IMAGES + 1):
        file = Path(template % number)
        draft = shutil.copy(file, folder / "draft")
        Path(draft).replace(folder / file.name)
        if number <= AT_A_PACE:
            time.sleep(0.05)


def test_hit_rates_are_told_live_and_dropped_images_counted(
    site: Site, shots: tuple[str, int], beamline: Queue, tmp_path: Path
):
    images, _ = shots
    parameters = {
        "images": f"{tmp_path}/s_%05d.cbf:1:{IMAGES}",
        "live": True,
        "report": 2,
        "least_spots": 5,
    }
    run = submit("ssx", {**parameters, "dcid": SERIAL_DCID, "beamline": "i24"})
    play(images, tmp_path)
    assert run.wait(WAIT).state == "finished"
    summary = run.results()["summary"]
    counts = current_deployment().store.counts(run.id)["analyse"]
    assert counts["total"] == IMAGES
    assert summary["images"] + summary["shed"] == IMAGES
    assert summary["shed"] == counts["shed"] > 0
    assert summary["failed"] == []
    told = reports(beamline)
    last = told.pop() if told[-1].get("failed") is not None else {}
    assert {k: last[k] for k in ("images", "hits")} == {
        k: summary[k] for k in ("images", "hits")
    }
    every = sorted(int(str(report["images"])) for report in told)
    assert every == list(range(2, summary["images"] + 1, 2))
    assert every
    beside = current_deployment().store.progress(run.id)["count"]["message"]
    assert re.fullmatch(r"\d+ hits in \d+ images \(.* %\)", beside)
    shown = [result["value"]["images"] for result in run.stream("hit-rate")]
    assert sorted(shown) == every
    rows = site.rows("ImageQualityIndicators", "imageNumber", dataCollectionId=14)
    assert len(rows) == summary["images"]
    columns = ("processingStatus", "processingMessage")
    where = {"processingPrograms": "zocelery hit rate"}
    ((status, message),) = until(
        lambda: site.rows("AutoProcProgram", *columns, **where)
    )
    assert status == 1
    assert message.startswith(f"{summary['hits']} hits in {summary['images']} images")


@pytest.mark.usefixtures("workers")
def test_hits_are_the_shots_that_met_a_crystal(shots: tuple[str, int]):
    images, crystals = shots
    recipe = {
        "nodes": {
            "watch": {
                "task": "file_watcher",
                "parameters": {"images": images},
                "output": {"every": "analyse"},
            },
            "analyse": {"task": "per_image_analysis", "output": "summary"},
            "summary": {"task": "hit_summary", "gather": True},
        },
        "start": "watch",
    }
    summary = submit(recipe, {}).result(WAIT)
    assert summary["images"] == IMAGES
    assert summary["hits"] == pytest.approx(crystals, abs=4)


@pytest.mark.usefixtures("redis_url")
def test_an_image_that_is_delivered_eight_times_counts_once():
    sent: list[tuple[str, object]] = []

    class _Outlet:
        def send(self, channel: str, payload: object, item: str | None = None) -> None:
            sent.append((channel, payload))

        def send_members(self, channel: str, emissions: object) -> None:
            """Send nothing."""

    def _step(number: int) -> Step:
        return Step(
            parameters={"every": 2},
            payload={"n_spots_total": 10 * number},
            run_id="run-of-shots",
            node="count",
            unit=f"u{number}",
            outlet=_Outlet(),
        )

    client = current_deployment().store.client
    for number in range(1, 4):
        at_once(lambda number=number: count_hits(_step(number)))
    counts = client.hgetall(f"zocelery:run:run-of-shots:{TALLY}")
    assert counts == {"count:images": "3", "count:hits": "2", "count:indexed": "0"}
    assert [channel for channel, _ in sent] == ["report"] * 8  # one unit's, each alike
    current_deployment().store.forget_run("run-of-shots")
