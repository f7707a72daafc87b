"""Jobs of a Slurm cluster whose workers die: they go on, and are not begun again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.site import Site, Worker, running_site, wait_until
from tests.slurm_cluster import SlurmCluster, missing_programs, running_cluster
from zocelery.run import Run

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(bool(missing_programs()), reason=missing_programs() or "there"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def site(
    cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    variables = {
        "SLURM_CONF": cluster.environment["SLURM_CONF"],
        "ZOCELERY_WRAPPERS_RUNS_ON": "slurm",
        "ZOCELERY_SLURM_POLL": "1",
    }
    with running_site(tmp_path_factory.mktemp("slurm"), **variables) as site:
        site.add_worker("control", "control", "threads", 2)
        site.add_worker("wrappers", "wrappers", "threads", 4)
        site.start_workers()
        yield site


def lines(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def start(site: Site, folder: Path) -> Run:
    """Submit a program that notes each of its starts and waits for a gate."""
    script = (
        f"echo $$ >> {folder}/starts; echo up; "
        f"while ! test -e {folder}/gate; do sleep 0.1; done"
    )
    parameters = {"command": ["sh", "-c", script], "working_directory": str(folder)}
    node: dict[str, Any] = {"task": "command", "parameters": parameters}
    run = site.submit({"nodes": {"a": node}, "start": [["a", {}]]})
    wait_until(lambda: lines(folder / "starts"), "the program")
    return run


def states(site: Site, run: Run) -> list[str]:
    return [row["state"] for row in site.deployment.history.run_tries(run.id)]


def test_a_killed_worker_finds_its_job_again(
    site: Site, cluster: SlurmCluster, tmp_path: Path
):
    run = start(site, tmp_path)
    worker = site.workers["wrappers"]
    for _ in range(4):  # more often than a program may kill its worker
        wait_until(lambda: progress(run), "the follower")
        restart(worker)
    (tmp_path / "gate").touch()
    status = run.wait(250)
    assert status.state == "finished", status.error
    assert len(lines(tmp_path / "starts")) == 1
    assert states(site, run) == ["done"]
    jobs = [state for _, state, name in cluster.jobs() if name.startswith("zocelery")]
    assert jobs == ["COMPLETED"]
    row = site.deployment.history.run_programs(run.id)[0]
    assert row["host"] == f"{cluster.host} (job 1)"
    assert row["log"] == str(tmp_path / "a" / "a.log")


def restart(worker: Worker) -> None:
    starts = worker.starts
    worker.kill()
    wait_until(lambda: worker.starts > starts, "another worker")
    worker.await_ready()


def progress(run: Run) -> bool:
    return "is RUNNING" in (run.status().nodes[0].progress or "")


def test_a_job_that_is_cancelled_while_no_worker_lives_is_ended_by_the_next(
    site: Site, cluster: SlurmCluster, tmp_path: Path
):
    run = start(site, tmp_path)
    worker = site.workers["wrappers"]
    worker.kill(wanted=False)
    run.cancel()
    pid = lines(tmp_path / "starts")[0]
    assert Path(f"/proc/{pid}").exists()
    worker.start()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the program")
    wait_until(lambda: states(site, run) == ["cancelled"], "its record")
    assert run.status().state == "cancelled"
