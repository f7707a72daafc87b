"""The site that most cases share, its images, and the short and the long form."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.grid_run import GridRun, Outcome, Scan
from tests.faults.site import Site, running_site
from zocelery_tasks.simulation.scans import simulate_grid


@pytest.fixture(scope="session")
def is_full(pytestconfig: pytest.Config) -> bool:
    """Whether the long form was asked for."""
    return bool(pytestconfig.getoption("--faults") == "full")


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
        site.add_worker("control", "control,lims", "threads", 4)
        site.add_worker("watch", "watch", "threads", 2)
        site.add_worker("images", "images", "prefork", 2)
        site.add_worker("wrappers", "wrappers", "prefork", 1)
        site.start_workers()
        yield site


@pytest.fixture
def whole(site: Site) -> Site:
    """The shared site with everything in it running."""
    site.start_workers()
    return site


@pytest.fixture(scope="session")
def undisturbed(
    site: Site, scan: Scan, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """What a run leaves that nothing happens to."""
    folder: Path = tmp_path_factory.mktemp("undisturbed")
    return GridRun(site, scan, folder).start().outcome()
