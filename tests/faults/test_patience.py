"""Programs that outlast the broker's patience run once."""

from pathlib import Path

import pytest

from tests.faults.site import running_site, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
PATIENCE_MS = 10_000
PROGRAM_SECONDS = 45
UNHURRIED = {"ZOCELERY_WORKERS_TASK_LEASE": "60"}
"""A lease that does not lapse where a machine is slow: nobody dies here."""


@pytest.mark.usefixtures("full")
def test_a_program_that_outlasts_the_brokers_patience_runs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "site"
    folder.mkdir()
    advanced = tmp_path / "advanced.config"  # else the broker looks once a minute
    advanced.write_text("[{rabbit, [{channel_tick_interval, 1000}]}].\n")
    monkeypatch.setenv("RABBITMQ_ADVANCED_CONFIG_FILE", str(advanced))
    starts = tmp_path / "starts"
    script = f"echo $$ >> {starts}; sleep {PROGRAM_SECONDS}; echo end"
    parameters = {"command": ["sh", "-c", script], "working_directory": str(tmp_path)}
    patience = f"consumer_timeout = {PATIENCE_MS}"
    with running_site(folder, patience, **UNHURRIED) as site:
        site.add_worker("control", "control", "threads", 2)
        site.add_worker("wrappers", "wrappers", "prefork", 1)
        site.add_worker("more-wrappers", "wrappers", "prefork", 1)
        site.start_workers()
        node = {"task": "command", "parameters": parameters}
        run = site.submit({"nodes": {"a": node}, "start": [["a", {}]]})
        wait_until(starts.exists, "the program")
        assert site.waiting_messages() == 0
        status = run.wait(250)
        assert status.state == "finished", status.error
        tries = site.deployment.history.run_tries(run.id)
        assert [row["state"] for row in tries] == ["done"]
        program = site.deployment.history.run_programs(run.id)[0]
        assert program["ended"] - program["started"] > 4 * PATIENCE_MS / 1000
    assert len(starts.read_text().split()) == 1
    assert "PRECONDITION_FAILED" not in site.logs()
