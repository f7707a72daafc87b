"""The site that most cases share, its images, and the short and the long form."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.duplicates import purge
from tests.faults.grid_run import GridRun, Outcome, Scan
from tests.faults.site import Site, Worker, running_site
from zocelery_tasks.simulation.scans import simulate_grid


@pytest.fixture(scope="session")
def is_full(pytestconfig: pytest.Config) -> bool:
    """Whether the long form was asked for."""
    return bool(pytestconfig.getoption("--faults") == "full")


@pytest.fixture
def full(is_full: bool) -> None:
    """Leave a test to the long form."""
    if not is_full:
        pytest.skip("takes its time: --faults=full")


@pytest.fixture(scope="session")
def scan(is_full: bool, tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """The images of a grid scan: 100 of them, in the long form 400."""
    steps = (20, 20) if is_full else (10, 10)
    folder = tmp_path_factory.mktemp("scan")
    simulate_grid(
        folder, steps=steps, detector="test_128k", d_min=3.0, format="cbf", seed=5
    )
    files = tuple(sorted(folder.glob("*.cbf")))
    return Scan(files, steps, rate=100.0, long_seconds=5.0 if is_full else 2.0)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Servers and one worker for each kind of work, which are started again."""
    with running_site(tmp_path_factory.mktemp("site")) as site:
        site.add_worker("control", "control", "threads", 4)
        site.add_worker("watch", "watch", "threads", 2)
        site.add_worker("images", "images", "prefork", 2)
        site.add_worker("wrappers", "wrappers", "prefork", 1)
        site.start_workers()
        yield site


@pytest.fixture
def whole(site: Site) -> Site:
    """The shared site with everything in it running."""
    site.start_missing_servers()
    site.start_workers()
    return site


@pytest.fixture
def victim(whole: Site) -> Iterator[Callable[..., Worker]]:
    """Start a worker of the queue `lims`, which no other worker serves, as asked.

    `victim("prefork", 1, setting=value)` starts one with a setting of Celery changed.
    """
    started: list[Worker] = []

    def start(pool: str, concurrency: int = 1, **settings: Any) -> Worker:
        for earlier in started:
            earlier.stop()
        purge(whole.rabbitmq.url, "lims")
        name = f"victim-{len(started)}"
        worker = whole.add_worker(name, "lims", pool, concurrency)
        worker.environment = {
            **whole.environment,
            "FAULTS_SETTINGS": json.dumps(settings),
        }
        worker.log.unlink(missing_ok=True)
        worker.start()
        worker.await_ready()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        whole.workers.pop(worker.name).stop()
    purge(whole.rabbitmq.url, "lims")


@pytest.fixture(scope="session")
def undisturbed(
    site: Site, scan: Scan, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """What a run leaves that nothing happens to."""
    site.start_missing_servers()  # whatever the cases before have stopped
    site.start_workers()
    folder: Path = tmp_path_factory.mktemp("undisturbed")
    return GridRun(site, scan, folder).start().outcome()
