"""What was collected decides: a grid is centred, a rotation goes to xia2."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.unit.xia2_replay import stand_in, write_run
from zocelery_tasks.simulation.scans import simulate_grid, simulate_rotation

SMALL: dict[str, Any] = {"detector": "test_128k", "d_min": 3.0, "seed": 3}
WAIT = 150


def run_embedded(folder: Path, *given: str) -> dict[str, Any]:
    """Run `autoprocessing` where `xia2` is a stand-in; return the end of the run."""
    path = stand_in(folder / "bin", write_run(folder / "recorded"))
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ZOCELERY_")}
    parameters = [f"working_directory={folder}/work", *given]
    options = [word for parameter in parameters for word in ("-p", parameter)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "zocelery", "run", "autoprocessing", "--json"),
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
        env={**kept, **path, "PATH": f"{folder}/bin:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
    end: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return end


def states(end: dict[str, Any]) -> dict[str, str]:
    return {node["node"]: node["state"] for node in end["nodes"]}


def test_a_grid_is_centred_and_no_program_runs(tmp_path: Path) -> None:
    simulate_grid(tmp_path / "images", steps=(4, 3), **SMALL)
    images = f"images={tmp_path}/images/grid_1.nxs"
    end = run_embedded(tmp_path, images, "kind=grid", "grid=4x3")
    assert end["state"] == "finished"
    assert end["results"]["centre"]["status"] == "success"
    assert states(end)["xia2"] == "skipped"
    assert not (tmp_path / "work" / "xia2-dials").exists()


def test_a_rotation_is_counted_and_goes_to_xia2(tmp_path: Path) -> None:
    simulate_rotation(tmp_path / "images", images=3, **SMALL)
    images = tmp_path / "images" / "lyso_1.nxs"
    end = run_embedded(tmp_path, f"images={images}", "kind=rotation", "d_min=3.5")
    assert end["state"] == "finished"
    assert end["results"]["xia2"]["space_group"] == "P 21 21 21"
    counts = [m["n_spots_total"] for m in end["results"]["counts"]["members"]]
    assert len(counts) == 3
    assert all(count > 0 for count in counts)
    assert states(end)["centre"] == "skipped"
    told = json.loads((tmp_path / "work/xia2-dials/arguments.json").read_text())
    assert "pipeline=dials" in told
    assert "xia2.settings.resolution.d_min=3.5" in told
    assert f"image={images}" in told
