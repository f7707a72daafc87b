"""The recipes of DIALS from images to merged data, with DIALS, workers and servers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.shared_data import SHARED
from zocelery.cli import cli
from zocelery.cli.run import report_end
from zocelery.deployment import current_deployment
from zocelery.run import Run
from zocelery.submission import submit
from zocelery_tasks.simulation.scans import simulate_rotation

pytestmark = [
    pytest.mark.dials,
    pytest.mark.skipif(shutil.which("dials.import") is None, reason="no DIALS here"),
    pytest.mark.usefixtures("workers"),
]
WAIT = 500
CELL = (78.9, 78.9, 37.1, 90, 90, 90)
BAD = {"indexing.method": "no_such_method"}
GOOD = {
    "refinement_protocol.n_macro_cycles": 2,
    "basis_vector_combinations.max_refine": 1,
    "indexing.max_cell": 100,
}
"""Enough for a clean crystal, in a third of the time."""
FEW = {
    "profile.gaussian_rs.min_spots.overall": 10,
    "profile.gaussian_rs.min_spots.per_degree": 5,
    "prediction.d_min": 3.5,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rotation")
    simulate_rotation(folder, images=40, width=1.0, d_min=3.5, distinct=4)
    return folder / "lyso_1.nxs"


@pytest.fixture(scope="module")
def failed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of `dials` whose step `index` got a parameter that is wrong."""
    given: dict[str, Any] = {
        "images": str(images),
        "index": BAD,
        "integrate": FEW,
        "merge": {"truncate": False},
        "working_directory": str(tmp_path_factory.mktemp("work")),
    }
    run = submit("dials", given)
    assert run.wait(WAIT).state == "failed"
    return run


def command(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def tried(run: Run) -> list[str]:
    return [row["node"] for row in current_deployment().history.run_tries(run.id)]


def test_a_failing_step_names_program_command_and_last_lines(failed: Run) -> None:
    error = failed.status().error or ""
    assert error.startswith("index: dials.index ended with exit code 1 (command: ")
    assert "indexing.method=no_such_method" in error
    assert "it said: " in error
    said = error.partition("it said: ")[2]
    assert "Not a possible choice for indexing.method: no_such_method" in said
    shown = command("show", failed.id)
    assert "dials.index" in shown.stdout


def test_a_rerun_from_the_failed_step_goes_on_to_merged_data(
    failed: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    wish = ["rerun", failed.id, "--from", "index", "-p", f"index={json.dumps(GOOD)}"]
    done = command(*wish, "--wait", "--json")
    submitted, end = map(json.loads, done.stdout.splitlines())
    assert submitted["reused"] == ["import", "find_spots"]
    assert (done.exit_code, end["state"]) == (0, "finished")
    again = Run(end["run"], current_deployment())
    assert {"import", "find_spots"}.isdisjoint(tried(again))
    merged = end["results"]["merge"]
    assert merged["space_group"] in ("P 41 21 2", "P 43 21 2")
    assert merged["unit_cell"] == pytest.approx(CELL, rel=2e-3)  # to 3.5 Å only
    statistics = merged["merging_statistics"]
    assert {"overall", "innerShell", "outerShell"} <= set(statistics)
    assert statistics["overall"]["ccHalf"] > 0.99
    assert Path(merged["mtz"]).stat().st_size > 10_000
    assert Path(end["results"]["export"]["mtz"]).exists()
    report_end(again, as_json=False)
    printed = capsys.readouterr().out
    assert f"Space group  {merged['space_group']}\n" in printed
    titles = printed[printed.index("Overall") :].splitlines()[0].split()
    assert titles == ["Overall", "Inner", "Outer"]
    assert "\nCC half   " in printed


def test_live_spots_are_those_of_the_finished_data_set(
    failed: Run, images: Path, tmp_path: Path
) -> None:
    given = {"images": str(images), "index": BAD, "working_directory": str(tmp_path)}
    live = submit("dials-live", given)
    assert live.wait(WAIT).state == "failed"
    assert (live.status().error or "").startswith("index: dials.index ended with")
    joined, found = live.results()["join_spots"], failed.results()["find_spots"]
    assert joined["spots"] == found["spots"] > 1000
    assert joined["missing"] == []
    assert Path(joined["reflections"]).stat().st_size == pytest.approx(
        Path(found["reflections"]).stat().st_size, rel=1e-4
    )


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real images are not here")
def test_a_real_crystal_is_indexed_and_too_few_reflections_are_named(
    tmp_path: Path,
) -> None:
    pattern = SHARED / "data" / "l_cysteine" / "l-cyst_01_#####.cbf.bz2"
    given = {"images": f"{pattern}:1:15", "working_directory": str(tmp_path)}
    run = submit("dials", given)
    assert run.wait(WAIT).state == "failed"
    cell = run.results()["index"]["unit_cell"]
    assert cell == pytest.approx((5.42, 8.13, 12.02, 90, 90, 90), rel=0.01)
    error = run.status().error or ""
    assert error.startswith("integrate: dials.integrate ended with exit code 1")
    assert "Too few reflections" in error
