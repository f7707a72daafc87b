"""Real images: geometry, spots and statistics beside those of DIALS 3.12.1."""

import json
from functools import cache

import pytest

from tests.shared_data import SHARED
from zocelery_tasks.images.image import PixelBuffers
from zocelery_tasks.images.open import count_images, open_image
from zocelery_tasks.per_image_analysis import analyse_image
from zocelery_tasks.per_image_parameters import PerImageAnalysisParameters

pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs the real images beside the checkout"
)

ALGORITHMS = ("dispersion", "dispersion_extended")
GEOMETRY = {
    "l-cyst_02_00015.cbf.bz2": {
        "origin": (-148.78, -28.738150, -201.344064),
        "fast_axis": (0, 0.8660254, 0.5),
        "slow_axis": (1, 0, 0),
        "distance": 160,
        "limits": (0, 388704),
        "wavelength": 0.6889,
        "material": ("Si", 0.32),
        "unusable": 197365,
    },
    "thau_3_2_0001.cbf.bz2": {
        "origin": (-216.99692, 224.79712, -351),
        "fast_axis": (1, 0, 0),
        "slow_axis": (0, -1, 0),
        "distance": 351,
        "limits": (0, 115896),
        "wavelength": 0.96859,
        "material": ("Si", 0.45),
        "unusable": 526101,
    },
    "thau_5291452.nxs": {
        "origin": (-78.093525, 83.681056, -337),
        "fast_axis": (1, 0, 0),
        "slow_axis": (0, -1, 0),
        "distance": 337,
        "limits": (0, 18532),
        "wavelength": 0.9762458012,
        "material": ("Si", 0.45),
        "unusable": 260886,
    },
}
"""As dxtbx of DIALS 3.12.1 gives it."""


@cache
def golden():
    """The images of golden/images.json, by file name."""
    return json.loads((SHARED / "golden" / "images.json").read_text())["images"]


def names():
    """The names of all images, for parametrisation."""
    return sorted(golden()) if SHARED.is_dir() else []


def find(name):
    """Return the file of this name."""
    (file,) = (SHARED / "data").glob(f"*/{name}")
    return file


@pytest.fixture(scope="module")
def buffers():
    return PixelBuffers()


@pytest.mark.parametrize("name", names())
def test_spots_and_statistics_are_those_of_dials(name, buffers):
    image = open_image(find(name), 1, buffers)
    for algorithm in ALGORITHMS:
        expected = golden()[name][algorithm]
        parameters = PerImageAnalysisParameters.parse({"algorithm": algorithm})
        analysis = analyse_image(image, parameters)
        counts = analysis.counts()
        assert counts.pop("n_spots_found") == expected["n_found"]
        assert counts == pytest.approx(expected["stats"], rel=1e-6, abs=0)
        spots = sorted((spot["x"], spot["y"]) for spot in analysis.spot_list())
        assert len(spots) >= len(expected["first_spots"]) == min(3, len(spots))
        for spot, seen in zip(spots, expected["first_spots"], strict=False):
            assert spot == pytest.approx(seen, abs=1e-3)


def test_all_fifty_images_are_compared():
    assert len(names()) == 50


@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry_is_that_of_dxtbx(name):
    assert count_images(find(name)) == 1
    image = open_image(find(name))
    detector, expected = image.detector, GEOMETRY[name]
    for key in ("origin", "fast_axis", "slow_axis", "distance"):
        assert getattr(detector.panel, key) == pytest.approx(expected[key], abs=1e-5)
    assert detector.trusted.limits() == expected["limits"]
    assert image.beam.wavelength == pytest.approx(expected["wavelength"])
    material = (detector.sensor_material, detector.sensor_thickness)
    assert material == pytest.approx(expected["material"])
    assert detector.mask.size - detector.mask.sum() == expected["unusable"]
    assert detector.min_spot_size == 3
