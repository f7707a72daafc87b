"""Frames: the same for ever, and what a photon-counting detector would show."""

import zlib

import numpy as np
import pytest

from zocelery.errors import ParameterError
from zocelery_tasks.simulation.detector import DETECTORS, find_detector
from zocelery_tasks.simulation.frames import MASKED, SATURATED, FrameSimulator
from zocelery_tasks.simulation.geometry import mask_pixels
from zocelery_tasks.simulation.settings import RotationRequest
from zocelery_tasks.simulation.spots import Exposure, Spots, lit_pixels


def simulator(distinct=0, sweep=(0.0, 4.0), **options):
    options = {"detector": "test_128k", "d_min": 3.0, "seed": 3} | options
    return FrameSimulator(RotationRequest(**options), sweep, distinct)


def exposure(number=0, factor=1.0):
    return Exposure(number, (0.4 * number, 0.4 * number + 0.4), factor)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("eiger2_1m", (1062, 1028)),
        ("eiger2_4m", (2162, 2068)),
        ("eiger2_16m", (4362, 4148)),
        ("pilatus3_1m", (1043, 981)),
        ("pilatus3_2m", (1679, 1475)),
        ("pilatus3_6m", (2527, 2463)),
        ("test_128k", (256, 512)),
    ],
)
def test_detectors_have_the_size_of_the_real_ones(name, shape):
    assert find_detector(name).shape == shape


def test_all_detectors_are_known_by_their_own_name():
    assert [detector.name for detector in DETECTORS.values()] == list(DETECTORS)


def test_an_unknown_detector_is_a_mistake_that_tells_the_known_ones():
    with pytest.raises(ParameterError, match=r"'ccd'.*eiger2_1m, eiger2_4m"):
        simulator(detector="ccd")


def test_gaps_between_modules_and_dead_pixels_are_masked():
    mask = mask_pixels(find_detector("eiger2_1m"), np.random.default_rng(1))
    assert mask[512:550].all()
    live = np.delete(mask, np.s_[512:550], axis=0)
    assert 0 < live.sum() <= 20


@pytest.mark.parametrize(
    ("options", "number", "checksum"),
    [
        ({"seed": 29}, 0, 41383570),
        ({"seed": 29}, 99, 2492664631),
        (
            {
                "detector": "pilatus3_1m",
                "seed": 7,
                "start": 30.0,
                "width": 0.1,
                "distance": 140.0,
            },
            3,
            1171520730,
        ),
    ],
)
def test_a_seed_stands_for_the_same_pixels_for_ever(options, number, checksum):
    request = RotationRequest(d_min=3.0, images=100, **options)
    end = request.start + 100 * request.width
    frames = FrameSimulator(request, (request.start, end), distinct=0)
    start = request.start + number * request.width
    frame = frames.frame(Exposure(number, (start, start + request.width)))
    assert frame.dtype == np.uint16
    assert zlib.crc32(frame.tobytes()) == checksum


def test_images_differ_from_each_other():
    frames = simulator()
    assert (frames.frame(exposure(0)) != frames.frame(exposure(1))).any()


def test_pixels_that_do_not_count_are_flagged_and_no_others():
    frames = simulator(distinct=1)
    for shown in (frames.frame(exposure()), frames.frame(exposure(factor=0.0))):
        assert ((shown == MASKED) == frames.mask).all()


def test_the_beam_stop_throws_a_shadow():
    frames = simulator()
    shadow = frames.geometry.beam_stop()
    shown = frames.frame(exposure())
    slow, fast = frames.geometry.beam_centre
    assert shadow[int(slow), int(fast)]
    assert shown[shadow & ~frames.mask].mean() < 0.1
    around = np.roll(shadow, 40, axis=1) & ~frames.mask
    assert shown[around].mean() > 0.2


def test_spots_are_there_only_with_a_crystal():
    frames = simulator()
    assert (simulated_spots(frames, 1.0) > 10).sum() > 20
    assert not (simulated_spots(frames, 0.0) > 10).any()


def simulated_spots(frames, factor):
    shown = frames.frame(exposure(factor=factor))
    return np.where(frames.mask, 0, shown)


def test_half_a_crystal_shows_half_the_counts():
    frames = simulator(background=0.0, brightness=5000.0)
    whole, half = (simulated_spots(frames, factor).sum() for factor in (1.0, 0.5))
    assert half / whole == pytest.approx(0.5, abs=0.02)


def test_counts_stop_at_saturation():
    frames = simulator(brightness=60000.0, background=1000.0, point_spread=0.3)
    shown = frames.frame(exposure())
    assert shown[~frames.mask].max() == SATURATED


def test_images_without_crystal_share_patterns_if_asked_to():
    frames = simulator(distinct=3)
    blanks = [frames.frame(exposure(number, 0.0)) for number in range(6)]
    keys = [frames.repeat_key(exposure(number, 0.0)) for number in range(6)]
    assert keys == [0, 1, 2, 0, 1, 2]
    assert (blanks[0] == blanks[3]).all()
    assert (blanks[0] != blanks[1]).any()


def test_images_with_crystal_are_never_shared():
    frames = simulator(distinct=1)
    assert frames.repeat_key(exposure(0, 0.1)) is None
    assert (frames.frame(exposure(0)) != frames.frame(exposure(1))).any()
    assert simulator(distinct=0).repeat_key(exposure(0, 0.0)) is None


def test_shared_patterns_show_as_many_counts_as_noise_of_their_own():
    totals = []
    for distinct in (0, 2):
        frames = simulator(distinct=distinct)
        shown = frames.frame(exposure())
        totals.append(int(shown[~frames.mask].sum()))
    # Some 35000 counts: half a per cent is one standard deviation.
    assert totals[1] == pytest.approx(totals[0], rel=0.03)


def test_radiation_damage_weakens_later_images():
    frames = simulator(background=0.0, decay=1.0, brightness=5000.0)
    late = Exposure(3, (0.0, 0.4))
    early_total, late_total = (
        np.where(frames.mask, 0, frames.frame(each)).sum()
        for each in (exposure(), late)
    )
    assert late_total / early_total == pytest.approx(np.exp(-3), rel=0.1)


def test_a_spot_in_the_middle_of_a_pixel_is_brightest_there():
    spot = Spots(np.array([4.5]), np.array([2.5]), np.array([100.0]))
    pixels, counts = lit_pixels(spot, (8, 10), point_spread=0.75)
    image = np.bincount(pixels, counts, 80).reshape(8, 10)
    assert np.unravel_index(image.argmax(), image.shape) == (2, 4)
    # In pixels: the integral of a Gaussian from -0.5 to 0.5, squared.
    assert image[2, 4] == pytest.approx(100 * 0.4950**2, rel=1e-3)
    assert image[2, 3] == pytest.approx(image[2, 5])


def test_a_spot_across_the_edge_loses_what_falls_outside():
    spot = Spots(np.array([0.0]), np.array([4.5]), np.array([100.0]))
    _, counts = lit_pixels(spot, (9, 9), point_spread=0.75)
    assert counts.sum() == pytest.approx(50, rel=1e-3)
