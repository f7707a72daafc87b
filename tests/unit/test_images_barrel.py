"""The detector that is bent round the sample."""

import math
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.unit.small_images import mini_header
from zocelery.errors import ImageError
from zocelery_tasks.images.barrel import barrel_mask, barrel_panels
from zocelery_tasks.images.cbf import CbfFile
from zocelery_tasks.images.mini_cbf import MiniHeader, mini_cbf_geometry

SHAPE = (5071, 2463)
NAME = {"Detector:": "PILATUS 12M, S/N 120-0100"}
DAY = "2024-05-06T07:08:09.012"


def geometry(shape=SHAPE, day=DAY, **changes):
    """Detector and beam by a header that was written on a `day`."""
    header = mini_header(**{**NAME, DAY: None, day: "", **changes})
    stream = np.zeros(0, np.int8)
    file = Path("x_00001.cbf")
    kind = np.dtype(np.int32)
    return mini_cbf_geometry(CbfFile(file, header, shape, kind, "", stream))


def test_rows_of_modules_lie_on_a_circle():
    detector, beam = geometry(Beam_xy="(1075, 2594)", Detector_distance="0.0 m")
    assert len(detector.panels) == 24
    assert beam.wavelength == 0.9
    for panel in detector.panels:
        assert panel.distance == pytest.approx(250)
        assert panel.fast_axis == (-1, 0, 0)
    normals = [np.cross(p.fast_axis, p.slow_axis) for p in detector.panels]
    steps = [math.degrees(math.acos(a @ b)) for a, b in pairwise(normals)]
    assert steps == pytest.approx([8.344] * 23)


def test_the_header_shifts_the_whole_barrel():
    ideal, _ = geometry(Beam_xy="(1075, 2594)", Detector_distance="0.0 m")
    moved, _ = geometry(Beam_xy="(1070, 2596)", Detector_distance="0.25 m")
    for before, after in zip(ideal.panels, moved.panels, strict=True):
        shift = np.subtract(after.origin, before.origin)
        assert shift == pytest.approx((-5 * 0.172, -2 * 0.172, -250))


def test_panels_are_rows_of_the_image_and_gaps_are_masked():
    detector, _ = geometry()
    assert [p.first for p in detector.panels] == [(212 * row, 0) for row in range(24)]
    assert {p.size for p in detector.panels} == {(195, 2463)}
    used = np.arange(SHAPE[0]) % 212 < 195
    assert np.array_equal(detector.mask.all(axis=1), used)
    assert np.array_equal(detector.mask.any(axis=1), used)
    assert geometry()[0].mask is detector.mask
    first, second = geometry()[0].panel_masks[:2]
    assert detector.panel_masks[0] is first
    assert detector.panel_masks[1] is second


@pytest.mark.parametrize(
    ("day", "dead"),
    [
        ("2018-05-06T07:08:09.012", []),
        ("2019-Oct-01T00:00:00.000", [(15, 2), (17, 0)]),
        ("2019-12-01T00:00:00", [(17, 0), (17, 4)]),
        ("2020-03-01T00:00:00", [(1, 4), (15, 4), (17, 0), (17, 4)]),
        ("2021-03-01T00:00:00", []),
        ("2022/Feb/24 00:00:00", [(10, 3)]),
        (DAY, []),
        ("2020-99-01T00:00:00", []),
        ("some day", []),
    ],
)
def test_modules_are_dead_on_some_days(day, dead):
    detector, _ = geometry(day=day)
    found = [
        (row, column)
        for row, part in enumerate(detector.panel_masks)
        for column in range(5)
        if not part[:, 494 * column : 494 * column + 487].all()
    ]
    assert found == dead


def test_a_chip_was_dead_for_a_time():
    panels = barrel_panels(SHAPE, 250, (1075, 2594), "x")
    mask = barrel_mask(panels, datetime(2020, 3, 1, tzinfo=UTC))
    module = mask[15 * 212 : 15 * 212 + 195, 4 * 494 : 4 * 494 + 487]
    assert np.count_nonzero(~module) == 60 * 97
    assert not module[:97, 60:120].any()


def test_parts_of_the_detector_are_refused():
    with pytest.raises(ImageError, match=r"x_00001.cbf: the 12M detector has .*2463 x"):
        geometry(shape=(195, 2463))


def test_the_time_is_read_however_it_is_written():
    def time(text):
        return MiniHeader(Path("x"), f"# {text}\r\n# Wavelength 1 A\r\n").time

    expected = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    for text in ("2024-05-06T07:08:09.012", "2024/May/06 07:08:09.1"):
        assert time(text) == expected
    assert time("yesterday") is None
