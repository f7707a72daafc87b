"""The detector and the beam."""

import math

import numpy as np
import pytest

from zocelery.errors import ImageError
from zocelery_tasks.images.beam import Beam
from zocelery_tasks.images.detector import Detector, SensorType, TrustedRange
from zocelery_tasks.images.dials_rule import DialsRule
from zocelery_tasks.images.masks import all_usable, mask_of_panels, split_mask
from zocelery_tasks.images.module_gaps import EIGER, EIGER2, PILATUS, mask_of_gaps
from zocelery_tasks.images.panel import Panel


def panel(**changes):
    return Panel(
        **{
            "fast_axis": (1.0, 0.0, 0.0),
            "slow_axis": (0.0, -1.0, 0.0),
            "origin": (-20.0, 30.0, -150.0),
            "pixel_size": (0.1, 0.2),
            **changes,
        }
    )


def detector(**changes):
    return Detector(
        **{
            "panels": (panel(),),
            "shape": (4, 5),
            "trusted": TrustedRange(0, 1000),
            "mask": all_usable((4, 5)),
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("trusted", "old", "new"),
    [
        (TrustedRange(0, 1000), (0, 999), (0, 1000)),
        (TrustedRange(2, 1000.5), (2, 1000), (2, 1000)),
        (TrustedRange(0, 1000, saturation_is_lost=True), (0, 999), (0, 999)),
        (TrustedRange(0, 65535, highest_possible=65534), (0, 65534), (0, 65534)),
        (TrustedRange(-5, 9, highest_possible=65534), (-5, 8), (-5, 9)),
    ],
)
def test_the_saturation_value_is_trusted_from_dials_3_24_on(trusted, old, new):
    assert trusted.limits(DialsRule.V3_12) == trusted.limits() == old
    assert trusted.limits(DialsRule.V3_24) == new


@pytest.mark.parametrize(
    ("sensor", "size"),
    [(SensorType.PAD, 3), (SensorType.CCD, 6), (SensorType.UNKNOWN, 6)],
)
def test_spots_of_pixel_arrays_may_be_smaller(sensor, size):
    assert detector(sensor=sensor).min_spot_size == size


def test_pixels_are_taken_to_the_laboratory():
    lab = panel().pixel_to_lab @ (10, 20, 1)
    assert lab.tolist() == pytest.approx([-19, 26, -150])


def test_the_beam_centre_is_where_the_beam_meets_the_plane():
    assert panel().beam_centre(Beam(1.0)) == pytest.approx((200, 150))
    assert panel().distance == pytest.approx(150)


def test_a_swung_detector_keeps_its_distance_and_may_miss_the_beam():
    angle = math.radians(30)
    swung = panel(
        fast_axis=(0.0, math.cos(angle), math.sin(angle)),
        slow_axis=(1.0, 0.0, 0.0),
        origin=(0.0, 150 * math.sin(angle), -150 * math.cos(angle)),
    )
    assert swung.distance == pytest.approx(150)
    fast, slow = swung.beam_centre(Beam(1.0))
    assert (fast, slow) == pytest.approx((-150 * math.tan(angle) / 0.1, 0))
    assert swung.beam_centre(Beam(1.0, (0.0, 0.0, -1.0))) is None


@pytest.mark.parametrize(
    ("layout", "shape", "n_modules"),
    [
        (PILATUS, (2527, 2463), 60),
        (PILATUS, (1679, 1475), 24),
        (PILATUS, (619, 487), 3),
        (EIGER, (4371, 4150), 32),
        (EIGER2, (4362, 4148), 32),
        (EIGER2, (2162, 2068), 8),
        (EIGER2, (512, 1028), 1),
    ],
)
def test_known_detectors_are_tiled_without_a_rest(layout, shape, n_modules):
    mask = mask_of_gaps(shape, PILATUS, EIGER2, EIGER)
    slow, fast = layout.module
    assert np.count_nonzero(mask) == n_modules * slow * fast
    assert mask[0].all() or shape[1] > fast


def test_gaps_lie_between_the_modules():
    mask = mask_of_gaps((407, 981), PILATUS)
    assert mask[:195, :487].all()
    assert not mask[:, 487:494].any()
    assert not mask[195:212].any()
    assert mask[212:, 494:].all()


def test_a_shape_that_no_layout_fits_has_no_gaps():
    assert mask_of_gaps((100, 120), PILATUS, EIGER).all()
    assert not PILATUS.fits((195 - 17, 487))


def test_panels_are_rectangles_within_the_image():
    part = panel(first=(1, 2), size=(2, 3))
    assert part.within((4, 5), "D") is part
    assert np.zeros((4, 5))[part.region((4, 5))].shape == (2, 3)
    assert np.zeros((4, 5))[panel().region((4, 5))].shape == (4, 5)
    for shape in ((2, 5), (4, 4)):
        with pytest.raises(ImageError, match=r"D: .*do not hold a module of 3 x 2"):
            part.within(shape, "D")
    with pytest.raises(ImageError, match="do not hold"):
        panel(first=(0, 0), size=(0, 3)).within((4, 5), "D")


def test_parts_of_a_mask_are_the_same_for_all_images_that_share_it():
    halves = (panel(size=(4, 2)), panel(first=(0, 2), size=(4, 3)))
    mask = mask_of_panels(halves[1:], (4, 5))
    left, right = split_mask(mask, halves)
    assert (left.shape, left.any(), right.shape, right.all()) == (
        (4, 2),
        False,
        (4, 3),
        True,
    )
    assert not right.flags.writeable
    assert right.flags.c_contiguous
    assert detector(panels=halves, mask=mask).panel_masks[1] is right
    assert split_mask(mask, halves[1:])[0] is not right
    own = mask.copy()
    _, first = split_mask(own, halves)
    own[0, 4] = False
    assert not split_mask(own, halves)[1][0, 2]
    assert first[0, 2]


def test_masks_are_shared_and_cannot_be_changed():
    mask = mask_of_gaps((407, 981), PILATUS)
    assert mask is mask_of_gaps((407, 981), PILATUS)
    with pytest.raises(ValueError, match="read-only"):
        mask[0, 0] = False
    with pytest.raises(ValueError, match="read-only"):
        all_usable((2, 2))[0, 0] = False


@pytest.mark.parametrize(
    "slow_axis",
    [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (-1.0, 0.05, 0.0), (math.nan, 1.0, 0.0)],
)
def test_axes_that_span_no_plane_are_refused(slow_axis):
    with pytest.raises(ImageError, match="is no plane"):
        panel(slow_axis=slow_axis)
