"""Spots of detectors with several panels, and of CCDs, beside DIALS itself."""

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from tests.unit import small_images
from tests.unit.small_images import (
    add_axis,
    add_module,
    cbf_bytes,
    mini_header,
    nexus_group,
    write_nxmx,
    write_smv,
)
from zocelery_tasks.images.image import Image
from zocelery_tasks.images.open import open_image
from zocelery_tasks.per_image_analysis import analyse_image
from zocelery_tasks.per_image_parameters import PerImageAnalysisParameters
from zocelery_tasks.simulation.cbf_writer import compress_byte_offset

DIALS_PYTHON = "/usr/bin/python3"
"""Debian's package `dials` is seen by the system's Python only."""
ALGORITHMS = ("dispersion", "dispersion_extended")
NEXUS, BARREL, CCD, PEDESTAL = KINDS = (
    "modules in a NeXus file",
    "a barrel",
    "a CCD with a gain",
    "a CCD with a gain and a pedestal",
)


@functools.cache
def dials_is_there() -> bool:
    try:
        found = subprocess.run(
            [DIALS_PYTHON, "-c", "import dials"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return found.returncode == 0


def diffraction(shape: tuple[int, int], n_spots: int, mean: float = 1.5) -> Any:
    """Spots anywhere, also on the edges of panels, on Poisson noise."""
    rng = np.random.default_rng(20260101)
    pixels = rng.poisson(mean, shape)
    places = rng.integers(2, [shape[0] - 2, shape[1] - 2], (n_spots, 2))
    for (slow, fast), height in zip(places, rng.integers(5, 400, n_spots), strict=True):
        heights = height * np.array([[0.3, 0.6, 0.3], [0.6, 1, 0.6], [0.3, 0.6, 0.3]])
        pixels[slow - 1 : slow + 2, fast - 1 : fast + 2] += rng.poisson(heights)
    return pixels


def write_modules(file: Path) -> Path:
    """Six modules in three planes, turned about different axes; one is not last."""
    pixels = diffraction((330, 420), 250).astype(np.uint16)[None]
    write_nxmx(file, pixels)
    with h5py.File(file, "r+") as root:
        root["entry/instrument/beam/incident_wavelength"][...] = 0.9
        root["entry/start_time"] = "2026-01-01T00:00:00Z"
        nexus_group(root["entry"], "sample", "NXsample")
        detector = root["entry/instrument/detector"]
        detector["saturation_value"][...] = 5000
        detector["depends_on"] = "/entry/instrument/detector/axes/distance"
        del detector["module"]
        for row in range(3):
            name = f"turn_{row}"
            add_axis(
                detector["axes"],
                name,
                [25.0 * (row - 1)],
                (1, 0, 0),
                f"{detector.name}/axes/distance",
                rotation=True,
            )
            for column in range(2):
                corner = (21.0 - 21.5 * column, 5.0, 3.0 * row)
                first = (110 * row, 212 * column)
                module = add_module(
                    detector, (108, 208), corner, f"module_{row}{column}", first
                )
                on = f"{detector.name}/axes/{name}"
                module["module_offset"].attrs["depends_on"] = on
                for key in ("fast", "slow"):
                    node = module[f"{key}_pixel_direction"]
                    node.attrs["depends_on"] = f"{module.name}/module_offset"
    return file


def write_barrel(file: Path) -> Path:
    pixels = diffraction((5071, 2463), 1500).astype(np.int32)
    pixels[np.arange(5071) % 212 >= 195] = -1
    pixels[:, np.arange(2463) % 494 >= 487] = -1
    header = mini_header(
        **{
            "Detector:": "PILATUS 12M, S/N 120-0100",
            "2024-05-06T07:08:09.012": None,
            "2019-10-06T07:08:09.012": "",
            "Beam_xy": "(1070.5, 2600.25) pixels",
            "Detector_distance": "0.2500 m",
            "Exposure_period": "0.02 s",
            "Start_angle": "0.0 deg.",
            "Angle_increment": "0.1 deg.",
        }
    )
    file.write_bytes(cbf_bytes(pixels, header))
    return file


def write_files(folder: Path) -> dict[str, Path]:
    ccd = diffraction((400, 500), 100, 30)
    ccd[5, 5:9] = 65535
    ccd = ccd.clip(0, 65535).astype(">u2")
    order = {"BYTE_ORDER": "big_endian", "GAIN": "2.4"}
    return {
        NEXUS: write_modules(folder / "modules_1.nxs"),
        BARREL: write_barrel(folder / "barrel_00001.cbf"),
        CCD: write_smv(folder / "ccd_001.img", ccd, **order),
        PEDESTAL: write_smv(
            folder / "ccd_002.img", ccd, **order, IMAGE_PEDESTAL="10", DISTANCE="90"
        ),
    }


Answers = dict[str, tuple[Image, dict[str, list[list[float]]]]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Our images and DIALS's spots by algorithm, of each kind; from one process."""
    if not dials_is_there():
        pytest.skip(f"{DIALS_PYTHON} has no dials (Debian: apt install dials)")
    with pytest.MonkeyPatch.context() as patch:
        # the slow writer of tests would take a minute for 12 million pixels
        patch.setattr(
            small_images,
            "encode_byte_offset",
            lambda pixels: bytes(compress_byte_offset(pixels)),
        )
        files = write_files(tmp_path_factory.mktemp("panels"))
    answered = subprocess.run(
        [DIALS_PYTHON, Path(__file__).with_name("panels_oracle.py")],
        input="".join(f"{files[kind]}\n" for kind in KINDS),
        env={**os.environ, "HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = answered.stdout.splitlines()
    found = [json.loads(line[7:]) for line in lines if line.startswith("answer ")]
    each = iter(found)
    return {
        kind: (open_image(files[kind]), {name: next(each) for name in ALGORITHMS})
        for kind in KINDS
    }


@pytest.mark.dials
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", KINDS)
def test_spots_are_those_of_dials(answers: Answers, kind: str, algorithm: str) -> None:
    image, expected = answers[kind]
    parameters = PerImageAnalysisParameters(threshold_algorithm=algorithm, d_max=1e9)
    found = analyse_image(image, parameters).spot_list()
    panels = [spot.get("panel", 0) for spot in found]
    first = [image.detector.panels[panel].first for panel in panels]
    ours = [
        (panel, spot["x"] - fast, spot["y"] - slow, spot["intensity"], spot["d"])
        for panel, spot, (slow, fast) in zip(panels, found, first, strict=True)
    ]
    assert len(ours) > 40
    assert len(set(panels)) == len(image.detector.panels)
    assert len(ours) == len(expected[algorithm])
    np.testing.assert_allclose(ours, expected[algorithm], rtol=1e-9)
