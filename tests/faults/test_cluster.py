"""A cluster of brokers loses one node while a grid scan is under way."""

from pathlib import Path

import pytest

from tests.faults.cluster import three_nodes
from tests.faults.grid_run import GridRun, Scan
from tests.faults.outcomes import assert_no_twins, assert_same
from tests.faults.site import Site

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.mark.usefixtures("full")
def test_a_grid_scan_survives_the_loss_of_one_of_three_brokers(
    scan: Scan, tmp_path: Path
):
    folder = tmp_path / "site"
    folder.mkdir()
    with three_nodes(tmp_path) as nodes:
        urls = ";".join(node.url for node in nodes)
        site = Site(folder, ZOCELERY_BROKER_URL=urls)
        try:
            site.start_without_broker()
            site.add_worker("control", "control", "threads", 4)
            site.add_worker("watch", "watch", "threads", 2)
            site.add_worker("images", "images", "prefork", 2)
            site.add_worker("wrappers", "wrappers", "prefork", 1)
            site.start_workers()
            before = GridRun(site, scan, tmp_path / "before").start().outcome()
            grid = GridRun(site, scan, tmp_path / "run").start().await_images(0.25)
            nodes[0].kill()  # the masters of all queues are there
            assert_same(grid.outcome(200), before)
            assert_no_twins(grid)
        finally:
            site.close()
