"""DIALS itself opens simulated images and finds their spots."""

import functools
import json
import os
import subprocess

import hdf5plugin
import pytest

from zocelery_tasks.simulation.scans import simulate_grid

DIALS_PYTHON = "/usr/bin/python3"
"""Debian's package `dials` is seen by the system's Python only."""

ASK_DIALS = """
import json, sys
from dials.array_family import flex
from dials.command_line.find_spots import phil_scope
from dxtbx.model.experiment_list import ExperimentListFactory
from libtbx.phil import parse
options = parse("spotfinder.mp.nproc=1")
parameters = phil_scope.fetch(source=options).extract()
for files in json.load(sys.stdin):
    experiments = ExperimentListFactory.from_filenames(files)
    scan = experiments[0].scan
    imageset = experiments.imagesets()[0]
    spots = flex.reflection_table.from_observations(experiments, parameters)
    frames = list(spots["id"])  # every still is an experiment
    print("answer", json.dumps({
        "format": imageset.get_format_class().__name__,
        "still": scan is None or scan.is_still(),
        "images": len(imageset),
        "distance": imageset.get_detector()[0].get_distance(),
        "spots": [frames.count(n) for n in range(len(imageset))],
    }))
"""


@functools.cache
def dials_is_there():
    try:
        found = subprocess.run(
            [DIALS_PYTHON, "-c", "import dials"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return found.returncode == 0


def ask_dials(*cases):
    """What DIALS says about lists of files, in one process: its start is slow."""
    finished = subprocess.run(
        [DIALS_PYTHON, "-c", ASK_DIALS],
        input=json.dumps([[str(path) for path in files] for files in cases]),
        env={**os.environ, "HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    answers = [
        json.loads(line.removeprefix("answer "))
        for line in finished.stdout.splitlines()
        if line.startswith("answer ")
    ]
    assert len(answers) == len(cases), finished.stderr
    return answers


@pytest.mark.dials
@pytest.mark.skipif("not dials_is_there()", reason="DIALS is not installed")
def test_dials_finds_the_same_spots_in_both_formats_and_none_without_crystal(tmp_path):
    options = {"steps": (3, 1), "centre": (1.5, 0.5), "crystal_size": (1, 1)}
    cases, formats = [], []
    for detector, cbf_format in (
        ("test_128k", "FormatCBFMini"),
        ("pilatus3_1m", "FormatCBFMiniPilatus"),
        ("eiger2_1m", "FormatCBFMiniEiger"),
    ):
        folder = tmp_path / detector
        per_file = {"images_per_file": 2} if detector == "test_128k" else {}
        simulated = simulate_grid(
            folder, detector=detector, d_min=2.5, format="both", **options, **per_file
        )
        cases += [[simulated.master], sorted(folder.glob("*.cbf"))]
        formats += ["FormatNXmx", cbf_format]
    answers = ask_dials(*cases)
    assert [answer["format"] for answer in answers] == formats
    for nxmx, cbf in zip(answers[::2], answers[1::2], strict=True):
        assert nxmx["images"] == cbf["images"] == 3
        assert nxmx["still"]
        assert cbf["still"]
        assert nxmx["distance"] == pytest.approx(cbf["distance"])
        assert nxmx["spots"] == cbf["spots"]
        before, inside, after = nxmx["spots"]
        assert (before, after) == (0, 0)
        assert inside > 10
