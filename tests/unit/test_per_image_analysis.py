"""Per-image analysis: parameters, and what is found on a small image."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zocelery.errors import ImageError, ParameterError
from zocelery_tasks.images.beam import Beam
from zocelery_tasks.images.detector import Detector, SensorType, TrustedRange
from zocelery_tasks.images.dials_rule import DialsRule
from zocelery_tasks.images.image import Image
from zocelery_tasks.images.masks import all_usable
from zocelery_tasks.images.panel import Panel
from zocelery_tasks.per_image_analysis import analyse_image
from zocelery_tasks.per_image_parameters import PerImageAnalysisParameters

SHAPE = (120, 160)
CENTRES = [(20, 30), (40, 100), (70, 60), (100, 130)]
"""Of the spots, (slow, fast) of their middle pixel."""


PANEL = Panel((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -100.0), (0.5, 0.5))


def small_image(pixels=None, **changes):
    """An image of four spots of 3 x 3 pixels on an even background."""
    if pixels is None:
        pixels = np.ones(SHAPE, np.uint16)
        pixels[::2, ::3] = 0
        for number, (slow, fast) in enumerate(CENTRES, start=1):
            pixels[slow - 1 : slow + 2, fast - 1 : fast + 2] = 20 * number
            pixels[slow, fast] = 100 * number
    detector = Detector(
        panels=(PANEL,),
        shape=pixels.shape,
        trusted=TrustedRange(0, 60000),
        sensor=SensorType.PAD,
        mask=all_usable(pixels.shape),
    )
    return Image(
        Path("x_1.cbf"), 1, pixels, replace(detector, **changes), Beam(wavelength=1.0)
    )


def analyse(image, **parameters):
    return analyse_image(image, PerImageAnalysisParameters.parse(parameters))


def d_of(slow, fast):
    """Bragg's law for the small image."""
    two_theta = np.arctan2(0.5 * np.hypot(slow + 0.5, fast + 0.5), 100)
    return 1 / (2 * np.sin(two_theta / 2))


@pytest.mark.parametrize("algorithm", ["dispersion", "dispersion_extended"])
def test_spots_are_found_with_place_intensity_and_resolution(algorithm):
    analysis = analyse(small_image(), algorithm=algorithm)
    listed = analysis.spot_list()
    assert [(spot["y"] - 0.5, spot["x"] - 0.5) for spot in listed] == [
        pytest.approx(centre, abs=0.05) for centre in CENTRES
    ]
    assert [spot["d"] for spot in listed] == [
        pytest.approx(d_of(*centre), rel=0.01) for centre in CENTRES
    ]
    assert listed[0]["intensity"] == listed[0]["variance"] == 100 + 8 * 20
    assert listed[0]["bbox"] == [29, 32, 19, 22]


def test_counts_name_all_statistics():
    counts = analyse(small_image()).counts()
    assert list(counts) == [
        "n_spots_found",
        "n_spots_4A",
        "n_spots_no_ice",
        "n_spots_total",
        "total_intensity",
        "d_min_distl_method_1",
        "d_min_distl_method_2",
        "estimated_d_min",
        "noisiness_method_1",
        "noisiness_method_2",
    ]
    assert counts["n_spots_found"] == counts["n_spots_total"] == 4
    assert counts["estimated_d_min"] == -1
    json.dumps(counts)


def test_spots_beyond_the_limits_are_found_but_do_not_count():
    d = sorted(d_of(*centre) for centre in CENTRES)
    low, high = (d[0] + d[1]) / 2, (d[2] + d[3]) / 2
    analysis = analyse(small_image(), d_min=low, d_max=high)
    assert analysis.counts()["n_spots_found"] == 4
    assert analysis.statistics.n_spots_total == len(analysis.spot_list()) == 2
    assert all(low < spot["d"] < high for spot in analysis.spot_list())
    assert analyse(small_image(), d_max=d[0] - 0.01).spot_list() == []


def test_known_sensors_are_corrected_for_parallax():
    def last_d(**sensor):
        return analyse(small_image(**sensor)).spot_list()[-1]["d"]

    seen = last_d()
    assert last_d(sensor_material="Si", sensor_thickness=1.0) > seen
    for unknown in ("Xx", None):
        assert last_d(sensor_material=unknown, sensor_thickness=1.0) == seen
    assert last_d(sensor_material="Si") == seen


def test_images_that_are_all_spots_are_refused_by_name():
    pixels = np.zeros((60, 60), np.uint16)
    pixels[:, ::2] = 3000
    with pytest.raises(ImageError, match=r"x_1.cbf: image 1: .*pixels are strong"):
        analyse(small_image(pixels))


def test_ice_is_filtered_if_asked():
    # A ring of hexagonal ice lies at 3.67 Å, and the second spot is put onto it.
    two_theta = 2 * np.arcsin(1 / (2 * 3.67))
    near = 0.5 * np.hypot(40.5, 100.5) / np.tan(two_theta)
    image = small_image(panels=(replace(PANEL, origin=(0.0, 0.0, -float(near))),))
    assert analyse(image).statistics.n_spots_no_ice == 3
    assert analyse(image, filter_ice="false").statistics.n_spots_no_ice == 4
    assert analyse(image, ice_rings_width=0).statistics.n_spots_no_ice == 4


def test_masked_and_saturated_spots_are_not_found():
    mask = np.ones(SHAPE, bool)
    mask[15:25, 25:35] = False
    assert len(analyse(small_image(mask=mask)).d) == 3
    saturated = small_image(trusted=TrustedRange(0, 10))
    assert len(analyse(saturated).d) == 0


def test_the_saturation_value_is_trusted_under_the_newer_rule():
    image = small_image(trusted=TrustedRange(0, 400))
    old, new = (analyse(image, dials_rule=rule) for rule in DialsRule)
    assert old.spot_list()[-1]["intensity"] == 8 * 80
    assert new.spot_list()[-1]["intensity"] == 8 * 80 + 400


def test_small_spots_count_on_pixel_arrays_only():
    pixels = np.ones(SHAPE, np.uint16)
    pixels[::2, ::3] = 0
    pixels[50, 50:54] = 100
    assert len(analyse(small_image(pixels)).d) == 1
    assert len(analyse(small_image(pixels, sensor=SensorType.CCD)).d) == 0


@pytest.mark.parametrize("algorithm", ["dispersion", "dispersion_extended"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32])
def test_an_empty_image_has_no_spots(algorithm, dtype):
    image = small_image(np.zeros(SHAPE, dtype))
    counts = analyse(image, algorithm=algorithm).counts()
    assert counts["n_spots_found"] == counts["total_intensity"] == 0
    assert counts["d_min_distl_method_1"] == -1


def test_images_of_different_detectors_may_follow_each_other():
    first = analyse(small_image()).counts()
    other = np.ones((90, 70), np.int32)
    other[::2, ::3] = 0
    other[40:43, 40:43] = 50
    assert len(analyse(small_image(other)).d) == 1
    assert analyse(small_image()).counts() == first


# Several panels


def two_panels(pixels=None):
    """The small image as two panels side by side, the second one turned up."""
    left = replace(PANEL, size=(120, 80))
    right = replace(PANEL, fast_axis=(0.0, 0.0, 1.0), first=(0, 80), size=(120, 80))
    return small_image(pixels, panels=(left, right))


@pytest.mark.parametrize("algorithm", ["dispersion", "dispersion_extended"])
def test_spots_of_panels_are_placed_in_the_image(algorithm):
    whole = analyse(small_image(), algorithm=algorithm).spot_list()
    parts = analyse(two_panels(), algorithm=algorithm).spot_list()
    assert [spot["panel"] for spot in parts] == [0, 0, 1, 1]
    assert "panel" not in whole[0]
    for part, number in zip(parts, (0, 2, 1, 3), strict=True):
        for key in ("x", "y", "intensity", "variance", "bbox"):
            assert part[key] == whole[number][key]


def test_resolution_is_that_of_the_panels_plane():
    spots = analyse(two_panels()).spot_list()
    assert spots[0]["d"] == pytest.approx(d_of(*CENTRES[0]), rel=0.01)
    # the third spot: 20 pixels along the turned panel, towards the sample
    depth = 0.5 * 20.5
    two_theta = np.arctan2(0.5 * 40.5, 100 - depth)
    assert spots[2]["d"] == pytest.approx(1 / (2 * np.sin(two_theta / 2)), rel=0.01)


def test_a_spot_on_the_border_of_panels_belongs_to_both():
    pixels = np.ones(SHAPE, np.uint16)
    pixels[::2, ::3] = 0
    pixels[50:53, 77:83] = 100
    pixels[51, 79:81] = 200
    assert analyse(small_image(pixels)).n_spots_found == 1
    found = analyse(two_panels(pixels)).spot_list()
    assert [spot["bbox"] for spot in found] == [[77, 80, 50, 53], [80, 83, 50, 53]]


def test_limits_choose_spots_and_their_panels():
    kept = analyse(two_panels(), d_min=analyse(two_panels()).d[1] + 0.01)
    assert kept.n_spots_found == 4
    assert len(kept.d) == len(kept.spots) == len(kept.panel) < 4


def test_the_share_of_strong_pixels_is_that_of_all_panels():
    pixels = np.ones(SHAPE, np.uint16)
    pixels[:, 100::2] = 3000
    analyse(small_image(pixels))
    assert analyse(two_panels(pixels)).n_spots_found >= 0
    pixels[:, 1::2] = 3000
    with pytest.raises(ImageError, match=r"of 19200 pixels are strong"):
        analyse(two_panels(pixels))


# Photons


def test_photons_have_the_spots_of_counts():
    image = small_image()
    photons = small_image(image.pixels.astype(np.float64))
    for algorithm in ("dispersion", "dispersion_extended"):
        found, expected = (
            analyse(one, algorithm=algorithm) for one in (photons, image)
        )
        assert found.spot_list() == expected.spot_list()
    halved = analyse(small_image(image.pixels / 2))
    assert halved.spot_list()[0]["intensity"] == (100 + 8 * 20) / 2


def test_photons_that_are_masked_may_be_anything():
    pixels = small_image().pixels.astype(np.float64)
    mask = np.ones(SHAPE, bool)
    mask[60, 100:103] = False
    pixels[60, 100:103] = np.nan, np.inf, -np.inf
    assert len(analyse(small_image(pixels, mask=mask)).d) == 4
    for bad in (np.nan, np.inf):
        pixels[5, 5] = bad
        with pytest.raises(ImageError, match=r"x_1.cbf: image 1: .*not finite"):
            analyse(small_image(pixels, mask=mask))


# Parameters


def test_defaults_are_zocalos():
    parameters = PerImageAnalysisParameters()
    assert parameters.threshold_algorithm == "dispersion"
    assert (parameters.d_min, parameters.d_max) == (None, 40)
    assert (parameters.filter_ice, parameters.ice_rings_width) == (True, 0.004)
    assert parameters.dials_rule is DialsRule.V3_12
    assert parameters.image_number is None


def test_parameters_may_be_text_null_or_strange():
    parameters = PerImageAnalysisParameters.parse(
        {
            "d_min": "1.5",
            "d_max": None,
            "threshold_algorithm": "dispersion_extended",
            "disable_parallax_correction": "true",
            "scan_range": "7,7",
            "filter_ice": "False",
            "ice_rings_width": "{ice_rings_width}",
            "dials_rule": 3.24,
            "comment": "ignored",
        }
    )
    assert (parameters.d_min, parameters.d_max) == (1.5, 40)
    assert parameters.threshold_algorithm == "dispersion_extended"
    assert parameters.image_number == 7
    assert (parameters.filter_ice, parameters.ice_rings_width) == (False, 0.004)
    assert parameters.dials_rule is DialsRule.V3_24


@pytest.mark.parametrize("scan_range", ["3,3", " 3 , 3 ", "3", 3, [3, 3], ("3", "3")])
def test_a_range_of_one_image_may_be_written_in_many_ways(scan_range):
    parsed = PerImageAnalysisParameters.parse({"scan_range": scan_range})
    assert parsed.image_number == 3


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"scan_range": "1,2"}, "scan_range '1,2': must name one image"),
        ({"scan_range": "0,0"}, "must name one image"),
        ({"scan_range": "all"}, "scan_range 'all': is not like 'n,n'"),
        ({"algorithm": "radial_profile"}, "'radial_profile'"),
        ({"d_min": "low"}, "d_min 'low'"),
        ({"d_min": 5, "d_max": 4}, "d_min 5 is above d_max 4"),
        ({"d_max": -1}, "d_max -1"),
        ({"d_max": "nan"}, "d_max 'nan'"),
        ({"dials_rule": "2.0"}, "dials_rule '2.0'"),
    ],
)
def test_what_is_wrong_with_a_parameter_is_said(given, complaint):
    with pytest.raises(ParameterError, match=f"per image analysis: .*{complaint}"):
        PerImageAnalysisParameters.parse(given)
