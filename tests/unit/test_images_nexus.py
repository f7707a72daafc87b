"""Geometry and masks of NXmx files."""

import math

import h5py
import numpy as np
import pytest

from tests.unit.small_images import add_axis, add_module, nexus_group, write_nxmx
from zocelery.errors import ImageError
from zocelery_tasks.images.detector import SensorType
from zocelery_tasks.images.dials_rule import DialsRule
from zocelery_tasks.images.open import open_image

DETECTOR = "entry/instrument/detector"
PIXELS = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)


@pytest.fixture
def read(tmp_path):
    """Write a NXmx file, change it, and read its first image."""

    def read(change=None, pixels=PIXELS, image_number=1):
        # A name of its own, since HDF5 overwrites no file that is still open here.
        n_files = len(list(tmp_path.iterdir()))
        file = write_nxmx(tmp_path / f"x_{n_files + 1}.nxs", pixels)
        if change is not None:
            with h5py.File(file, "r+") as root:
                change(root[DETECTOR])
        return open_image(file, image_number)

    return read


def replace(group, path, value, **attributes):
    kept = dict(group[path].attrs) if path in group else {}
    if path in group:
        del group[path]
    group[path] = value
    group[path].attrs.update({**kept, **attributes})


def test_axes_are_taken_from_the_frame_of_nexus_to_that_of_imgcif(read):
    image = read()
    assert image.detector.panel.fast_axis == (1, 0, 0)
    assert image.detector.panel.slow_axis == (0, -1, 0)
    assert image.detector.panel.origin == pytest.approx((-3, 2, -100))
    assert image.detector.panel.pixel_size == pytest.approx((0.1, 0.1))
    assert image.detector.panel.beam_centre(image.beam) == pytest.approx((30, 20))
    assert image.pixels.tolist() == PIXELS[0].tolist()


def test_sensor_and_range_are_read(read):
    detector = read().detector
    assert detector.sensor is SensorType.PAD
    assert detector.sensor_material == "Si"
    assert detector.sensor_thickness == pytest.approx(0.45)
    assert detector.trusted.limits(DialsRule.V3_12) == (0, 499)
    assert detector.trusted.limits(DialsRule.V3_24) == (0, 500)


def test_a_swung_detector_is_turned_about_the_sample(read):
    def swing(detector):
        add_axis(detector["axes"], "swing", [30.0], (1, 0, 0), rotation=True)
        detector["axes/distance"].attrs["depends_on"] = "swing"

    detector = read(swing).detector
    sine, cosine = math.sin(math.radians(30)), math.cos(math.radians(30))
    # NeXus: y' = y cos - z sin, z' = y sin + z cos; x and z change sign for imgCIF
    assert detector.panel.slow_axis == pytest.approx((0, -cosine, sine))
    assert detector.panel.origin == pytest.approx(
        (-3, 2 * cosine - 100 * sine, -(2 * sine + 100 * cosine))
    )
    assert detector.panel.distance == pytest.approx(100)


def test_an_axis_may_be_named_from_the_top_without_a_slash(read):
    def swing(detector):
        add_axis(detector["axes"], "swing", [30.0], (1, 0, 0), rotation=True)
        whole = detector["axes/swing"].name
        detector["axes/distance"].attrs["depends_on"] = whole.lstrip("/")

    assert read(swing).detector.panel.slow_axis[1] == pytest.approx(-math.sqrt(0.75))


@pytest.mark.parametrize(
    ("value", "units"),
    [(0.1, "m"), (10.0, "cm"), (1e5, "um"), (1e5, "microns"), (100.0, "millimeters")],
)
def test_lengths_may_have_any_unit(read, value, units):
    image = read(lambda det: replace(det, "axes/distance", [value], units=units))
    assert image.detector.panel.origin[2] == pytest.approx(-100)


def test_angles_may_be_in_radians(read):
    def swing(detector):
        add_axis(detector["axes"], "swing", 0.5, (1, 0, 0), rotation=True, units="rad")
        detector["axes/distance"].attrs["depends_on"] = "swing"

    assert read(swing).detector.panel.slow_axis[1] == pytest.approx(-math.cos(0.5))


@pytest.mark.parametrize(
    ("attributes", "shift"),
    [
        ({"offset": [1.0, 2.0, 3.0], "offset_units": "cm"}, 10),
        ({"offset": [1.0, 2.0, 3.0]}, 1),
    ],
)
def test_offsets_without_a_unit_are_in_that_of_their_axis(read, attributes, shift):
    image = read(lambda det: det["axes/distance"].attrs.update(attributes))
    assert image.detector.panel.origin == pytest.approx(
        (-3 - shift, 2 + 2 * shift, -100 - 3 * shift)
    )


def test_a_module_without_a_place_is_centred_by_the_header(read):
    def forget(detector):
        del detector["module"]
        add_module(detector, (3, 4), corner=(0, 0, 0))
        detector["beam_center_x"], detector["beam_center_y"] = 30.0, 20.0

    assert read(forget).detector.panel.origin == pytest.approx((-3, 2, -100))


def test_pixel_directions_that_stand_on_nothing_stand_on_the_module(read):
    def cut(detector):
        for key in ("fast", "slow"):
            detector[f"module/{key}_pixel_direction"].attrs["depends_on"] = "."

    assert read(cut).detector.panel.origin == pytest.approx((-3, 2, -100))


def test_a_detector_before_the_sample_is_put_behind_it(read):
    image = read(lambda det: replace(det, "axes/distance", [-100.0]))
    assert image.detector.panel.origin == pytest.approx((-3, 2, -100))


def test_modules_are_panels_of_their_own(read):
    def split(detector):
        del detector["module"]
        add_module(detector, (1, 4), name="a")
        add_module(detector, (1, 2), (3.0, 1.8, 0.0), name="b", first=(2, 0))

    detector = read(split).detector
    first, second = detector.panels
    assert first.origin == pytest.approx((-3, 2, -100))
    assert second.origin == pytest.approx((-3, 1.8, -100))
    assert (first.first, first.size) == ((0, 0), (1, 4))
    assert (second.first, second.size) == ((2, 0), (1, 2))
    assert [part.all() for part in detector.panel_masks] == [True, True]
    assert detector.mask.tolist() == [
        [True] * 4,
        [False] * 4,
        [True, True, False, False],
    ]


def test_modules_may_lie_in_several_planes(read):
    def split(detector):
        replace(detector, "module/data_size", [1, 4])
        add_module(detector, (2, 4), (3.0, 2.0, 1.0), name="nearer", first=(1, 0))

    further, nearer = read(split).detector.panels
    assert (further.distance, nearer.distance) == pytest.approx((100, 101))


def test_modules_of_unknown_size_are_refused(read):
    def split(detector):
        add_module(detector, (1, 4), (3.0, 2.0, 1.0), name="nearer")
        del detector["nearer/data_size"]

    with pytest.raises(ImageError, match=r"image 1: .*modules without data_size"):
        read(split)


def test_a_module_larger_than_the_images_is_refused(read):
    with pytest.raises(ImageError, match="4 x 3 pixels do not hold a module of 9 x 3"):
        read(lambda det: replace(det, "module/data_size", [3, 9]))


def test_exchanged_sides_of_the_only_module_are_understood(read):
    assert read(
        lambda det: replace(det, "module/data_size", [4, 3])
    ).detector.mask.all()


def test_pixels_with_any_bit_of_the_mask_are_not_usable(read):
    mask = np.zeros((3, 4), np.uint32)
    mask[0, 1], mask[2, 3] = 1, 2**31
    detector = read(lambda det: replace(det, "pixel_mask", mask)).detector
    assert np.argwhere(~detector.mask).tolist() == [[0, 1], [2, 3]]
    assert not detector.mask.flags.writeable


def test_a_mask_of_another_shape_is_refused_unless_it_lies_on_its_side(read):
    with pytest.raises(ImageError, match=r"pixel_mask of shape \(5, 4\) does not fit"):
        read(lambda det: replace(det, "pixel_mask", np.ones((5, 4), np.uint32)))
    on_side = read(lambda det: replace(det, "pixel_mask", np.ones((4, 3), np.uint32)))
    assert on_side.detector.mask.all()


@pytest.mark.parametrize(
    ("dtype", "depth", "highest"),
    [
        (np.uint16, None, 65534),
        (np.uint16, 16, 65533),
        (np.uint16, 12, 65534),
        (np.uint32, None, 2**31 - 2),
        (np.uint32, 32, 2**31 - 3),
        (np.int32, None, 2**31 - 1),
        (np.uint8, None, 254),
    ],
)
def test_marks_of_dead_pixels_are_no_counts(read, dtype, depth, highest):
    def change(detector):
        del detector["saturation_value"]
        if depth:
            detector["bit_depth_readout"] = depth

    detector = read(change, PIXELS.astype(dtype)).detector
    assert detector.trusted.limits(DialsRule.V3_24) == (0, highest)


def test_a_saturation_value_that_is_no_whole_number_is_cut_off(read):
    trusted = read(lambda det: replace(det, "saturation_value", 30.7)).detector.trusted
    assert trusted.limits(DialsRule.V3_12) == (0, 29)
    assert trusted.limits(DialsRule.V3_24) == (0, 30)


def test_underload_and_wavelength_are_read(read):
    def change(detector):
        detector["underload_value"] = 3
        replace(detector.parent, "beam/incident_wavelength", 9e-11, units="m")

    image = read(change)
    assert image.detector.trusted.lowest == 3
    assert image.beam.wavelength == pytest.approx(0.9)


def test_each_image_may_have_its_wavelength(read):
    def change(detector):
        replace(detector.parent, "beam/incident_wavelength", [0.9, 0.8])

    assert read(change, image_number=2).beam.wavelength == 0.8

    def too_few(detector):
        replace(detector.parent, "beam/incident_wavelength", [0.9, 0.8])
        replace(detector.file, "entry/data/data", np.zeros((3, 3, 4), np.uint16))

    with pytest.raises(ImageError, match="no wavelength for image 3"):
        read(too_few, image_number=3)


def test_a_spectrum_is_not_taken_for_the_wavelengths_of_images(read):
    def change(detector):
        replace(detector.parent, "beam/incident_wavelength", [0.9, 0.8])
        detector.parent["beam/incident_wavelength_weights"] = [0.7, 0.3]

    assert read(change, image_number=2).beam.wavelength == 0.9


def test_the_entry_of_the_collection_is_found_among_others(read):
    def change(detector):
        other = nexus_group(detector.file, "a_log", "NXentry")
        other["definition"] = "NXarchive"

    assert read(change).beam.wavelength == 1


def test_a_camera_beside_the_detector_is_not_taken_for_it(read):
    def change(detector):
        nexus_group(detector.parent, "a_camera", "NXdetector")["data"] = np.zeros(3)

    assert read(change).detector.panel.distance == 100


def test_the_wavelength_may_stand_with_the_sample(read):
    def change(detector):
        del detector.parent["beam"]
        sample = nexus_group(detector.file["entry"], "sample", "NXsample")
        nexus_group(sample, "beam", "NXbeam")["incident_wavelength"] = 0.75

    assert read(change).beam.wavelength == 0.75


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda d: d["axes/distance"].attrs.pop("vector"), "distance has no vector"),
        (lambda d: d["axes/distance"].attrs.pop("units"), "distance has no units"),
        (
            lambda d: d["axes/distance"].attrs.update({"units": "furlong"}),
            "distance has unknown units 'furlong'",
        ),
        (
            lambda d: d["axes/distance"].attrs.update({"vector": [1.0, 2.0]}),
            "distance has a strange vector",
        ),
        (
            lambda d: d["axes/distance"].attrs.update({"depends_on": "distance"}),
            "distance depends on itself",
        ),
        (
            lambda d: d["axes/distance"].attrs.update({"depends_on": "gone"}),
            "axes lacks gone",
        ),
        (lambda d: replace(d, "axes/distance", [math.nan]), "no finite number"),
        (lambda d: replace(d, "axes/distance", "far"), "holds no number"),
        (lambda d: replace(d, "module/fast_pixel_direction", 0.0), "direction is 0"),
        (lambda d: d["module"].pop("slow_pixel_direction"), "lacks slow_pixel"),
        (lambda d: replace(d, "module/data_size", [3]), "data_size has 1 numbers"),
        (lambda d: d.parent.pop("beam"), "lacks incident_wavelength"),
        (
            lambda d: replace(d.parent, "beam/incident_wavelength", 0.0),
            "wavelength is 0",
        ),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(read, change, complaint):
    with pytest.raises(ImageError, match=f"x_1.nxs: image 1: .*{complaint}") as caught:
        read(change)
    assert "\n" not in str(caught.value)
