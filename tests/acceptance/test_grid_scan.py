"""Grid scans from images to the centre, embedded and on plain Celery workers."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zocelery.submission import submit
from zocelery_tasks.simulation.scans import simulate_grid

STEPS = (6, 4)
WAIT = 100
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
"""Linux's numbers."""


@pytest.fixture(scope="module")
def grid_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated grid scan, in NXmx and as one CBF for each image."""
    folder = tmp_path_factory.mktemp("grid")
    simulate_grid(
        folder, steps=STEPS, detector="test_128k", d_min=3.0, format="both", seed=3
    )
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "zocelery", *arguments]


def forbid_what_is_forbidden() -> None:
    """Let file permissions hold for root, too (runs in the child, before its exec)."""
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def run_embedded(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ZOCELERY_")}
    done = subprocess.run(
        command("run", *arguments, "--json"),
        capture_output=True,
        text=True,
        timeout=WAIT,
        env=environment,
        check=False,
        preexec_fn=forbid_what_is_forbidden,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events, done.stderr
    return done.returncode, events


def pattern_of(folder: Path) -> str:
    first = min(folder.glob("*.cbf"))
    stem = first.stem.removesuffix("00001")
    return f"{folder}/{stem}%05d.cbf:1:{STEPS[0] * STEPS[1]}"


def spoil(folder: Path) -> dict[int, str]:
    """Spoil some images of a grid; return what is wrong with each."""
    files = sorted(folder.glob("*.cbf"))
    files[2].write_bytes(files[2].read_bytes()[:3000])
    files[4].write_text("this is no image")
    simulate_grid(
        folder / "other", steps=(1, 1), detector="pilatus3_1m", format="cbf", d_min=8.0
    )
    shutil.copy(next((folder / "other").glob("*.cbf")), files[7])
    return {3: "truncated", 5: "no image", 8: "another detector"}


@pytest.mark.usefixtures("workers")
def test_workers_and_embedded_mode_give_the_same_centre(grid_folder: Path):
    parameters = {"images": str(grid_folder / "grid_1.nxs"), "grid": "6x4"}
    deployed = submit("grid-scan", parameters).result(WAIT)
    assert deployed["missing"] == []
    assert deployed["results"][0]["status"] == "ok"
    code, events = run_embedded(
        "grid-scan", "-p", f"images={parameters['images']}", "-p", "grid=6x4"
    )
    assert code == 0
    assert events[-1]["results"]["centre"] == deployed
    told = [e for e in events if e.get("node") == "analyse"]
    assert sorted(int(e["item"]) for e in told) == list(range(1, 25))


@pytest.mark.usefixtures("workers")
def test_images_that_cannot_be_read_are_named_and_do_not_stop_the_grid(
    grid_folder: Path, tmp_path: Path
):
    folder = tmp_path / "spoilt"
    shutil.copytree(grid_folder, folder)
    spoilt = spoil(folder)
    run = submit("grid-scan", {"images": pattern_of(folder), "grid": "6x4"})
    answer = run.result(WAIT)
    assert run.state == "finished"
    failed = {row["image"]: row["error"] for row in answer["failed"]}
    assert sorted(failed) == answer["missing"] == sorted(spoilt)
    for image, error in failed.items():
        assert f"_{image:05d}.cbf" in error


def test_an_image_without_permission_is_named_and_does_not_stop_the_grid(
    grid_folder: Path, tmp_path: Path
):
    folder = tmp_path / "forbidden"
    shutil.copytree(grid_folder, folder)
    files = sorted(folder.glob("*.cbf"))
    files[9].chmod(0)
    code, events = run_embedded(
        "grid-scan", "-p", f"images={pattern_of(folder)}", "-p", "grid=6x4"
    )
    assert code == 0
    answer = events[-1]["results"]["centre"]
    assert answer["results"][0]["status"] == "ok"
    assert answer["missing"] == events[-1]["missing"] == [10]
    (failed,) = answer["failed"]
    assert failed["image"] == 10
    assert failed["error"].startswith(f"{files[9]}: ")
    assert failed["error"].endswith("Permission denied")


@pytest.mark.usefixtures("workers")
def test_a_truncated_hdf5_file_costs_its_images_and_does_not_stop_the_grid(
    tmp_path: Path,
):
    grid = simulate_grid(
        tmp_path, steps=STEPS, detector="test_128k", d_min=3.0, images_per_file=8
    )
    data = sorted(tmp_path.glob("*_0*.h5"))
    assert len(data) == 3
    data[1].write_bytes(data[1].read_bytes()[: data[1].stat().st_size // 2])
    images = ("-p", f"images={grid.master}", "-p", "grid=6x4", "-p", "timeout=3")
    done = subprocess.run(
        command("submit", "grid-scan", *images, "--wait", "--json"),
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    end = json.loads(done.stdout.splitlines()[-1])
    assert end["missing"] == list(range(9, 17))
    assert end["results"]["centre"]["results"][0]["status"] == "ok"


@pytest.mark.usefixtures("workers")
def test_a_grid_is_followed_while_it_is_written(tmp_path: Path):
    run = submit(
        "grid-scan",
        {"images": str(tmp_path / "grid_1.nxs"), "grid": "10x6", "live": True},
    )
    writer = subprocess.Popen(
        command(
            *("simulate", "grid", str(tmp_path), "--grid", "10x6"),
            *("--detector", "test_128k", "--d-min", "3", "--frame-rate", "10"),
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    early = None
    for result in run.stream("analyse"):
        if early is None:
            early = writer.poll() is None
            assert result["ok"]
    assert writer.wait(WAIT) == 0
    assert early, "the first result came only after the last image"
    assert run.result(WAIT)["missing"] == []


@pytest.mark.usefixtures("workers")
def test_a_grid_in_three_dimensions(tmp_path: Path):
    grid = simulate_grid(
        tmp_path, steps=(6, 4), third_axis=5, detector="test_128k", d_min=3.0
    )
    xy, xz = (scan.images_parameter for scan in grid.written)
    run = submit(
        "grid-scan-3d",
        {"images_xy": xy, "images_xz": xz, "grid_xy": "6x4", "grid_xz": "6x5"},
    )
    answer = run.result(WAIT)
    assert answer["type"] == "3d"
    found = answer["results"][0]["centre_of_mass"]
    assert found == pytest.approx(grid.centre, abs=1.0)


@pytest.mark.usefixtures("workers")
def test_per_image_analysis_of_a_rotation_shows_the_first_image_early(
    grid_folder: Path,
):
    images = str(grid_folder / "grid_1.nxs")
    run = submit("per-image-analysis", {"images": images, "select": 8})
    run.wait(WAIT)
    results = run.results()
    assert results["first-image"]["file-number"] == 1
    assert len(results["summary"]["members"]) == 8


@pytest.mark.usefixtures("workers")
def test_the_recipe_with_every_feature_runs():
    run = submit("all-features")
    assert run.wait(WAIT).state == "finished", run.status().error
