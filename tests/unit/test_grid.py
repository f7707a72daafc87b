"""Grids: from the order of a scan to places, and what is known of them."""

import numpy as np
import pytest

from zocelery.errors import ParameterError
from zocelery_tasks.grid_info import GridInfo
from zocelery_tasks.kernels.grid import GridGeometry, Orientation, reshape_grid

# a grid of 4 x 3 boxes, numbered along its rows, as [x][y]
NUMBERED = [[1, 5, 9], [2, 6, 10], [3, 7, 11], [4, 8, 12]]

FULL = {
    "steps_x": "36",
    "steps_y": 23,
    "dx_mm": 0.02,
    "dy_mm": "0.04",
    "micronsPerPixelX": 1.25,
    "micronsPerPixelY": 1.25,
    "snapshot_offsetXPixel": "339.919",
    "snapshot_offsetYPixel": 182.59,
    "snaked": 1,
    "orientation": "Vertical",
    "gridInfoId": 17,
}


@pytest.mark.parametrize(
    ("scanned", "snaked", "orientation"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], False, Orientation.HORIZONTAL),
        ([1, 2, 3, 4, 8, 7, 6, 5, 9, 10, 11, 12], True, Orientation.HORIZONTAL),
        ([1, 5, 9, 2, 6, 10, 3, 7, 11, 4, 8, 12], False, Orientation.VERTICAL),
        ([1, 5, 9, 10, 6, 2, 3, 7, 11, 12, 8, 4], True, Orientation.VERTICAL),
    ],
)
def test_every_image_comes_to_its_place(
    scanned: list[int], snaked: bool, orientation: Orientation
) -> None:
    geometry = GridGeometry(steps=(4, 3), snaked=snaked, orientation=orientation)
    assert reshape_grid(scanned, geometry).tolist() == NUMBERED


@pytest.mark.parametrize("orientation", Orientation)
def test_the_scan_itself_is_left_as_it_was(orientation: Orientation) -> None:
    scanned = np.arange(6.0)
    grid = reshape_grid(
        scanned, GridGeometry(steps=(2, 3), snaked=True, orientation=orientation)
    )
    grid[:] = -1
    assert scanned.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_scan_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 x 3 boxes takes 6 values, not 5"):
        reshape_grid([1, 2, 3, 4, 5], GridGeometry(steps=(2, 3)))


def test_a_grid_of_the_lims_is_read_with_numbers_as_text() -> None:
    grid = GridInfo.parse(FULL)
    assert grid.geometry == GridGeometry(
        steps=(36, 23),
        snaked=True,
        orientation=Orientation.VERTICAL,
        box_size_px=(16.0, 32.0),
        snapshot_offset=(339.919, 182.59),
    )
    assert grid.image_count == 828
    assert grid.step_um == 20


@pytest.mark.parametrize("text", ["19x1", " 19 X 1 ", "19×1"])
def test_the_short_form_gives_the_steps_only(text: str) -> None:
    assert GridInfo.parse(text).geometry == GridGeometry(
        steps=(19, 1),
        snaked=False,
        orientation=Orientation.HORIZONTAL,
        box_size_px=(1.0, 1.0),
        snapshot_offset=(0.0, 0.0),
    )


def test_null_in_the_lims_is_as_good_as_absent() -> None:
    grid = GridInfo.parse(
        {**FULL, "snaked": None, "orientation": None, "snapshot_offsetXPixel": None}
    )
    assert grid.geometry.snaked is False
    assert grid.geometry.orientation is Orientation.HORIZONTAL
    assert grid.geometry.snapshot_offset == (0.0, 182.59)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"steps_x": 0}, "steps_x 0"),
        ({"steps_y": None}, "steps_y is missing"),
        ({"dx_mm": "wide"}, "dx_mm 'wide'"),
        ({"orientation": "diagonal"}, "orientation 'diagonal'"),
        ({"micronsPerPixelY": None}, "dy_mm and micronsPerPixelY are given together"),
        ({"snapshot_offsetXPixel": "nan"}, "snapshot_offsetXPixel 'nan'"),
    ],
)
def test_a_grid_that_is_none_is_refused_in_one_line(
    changed: dict[str, object], told: str
) -> None:
    with pytest.raises(ParameterError) as refusal:
        GridInfo.parse({**FULL, **changed})
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["19", "19x", "0x5", "-1x4", "axb", ""])
def test_a_short_form_that_names_no_grid_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="grid"):
        GridInfo.parse(text)
