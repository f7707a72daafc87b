"""Grid scans: the order of the boxes, and where the crystal is."""

import numpy as np
import pytest

from zocelery_tasks.simulation.grid import plan_grid_scans
from zocelery_tasks.simulation.settings import GridRequest


def scan(**options):
    return plan_grid_scans(GridRequest(**options))[0]


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ({}, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]),
        ({"snaked": True}, [[0, 1, 2, 3], [7, 6, 5, 4], [8, 9, 10, 11]]),
        ({"orientation": "vertical"}, [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]),
        (
            {"orientation": "vertical", "snaked": True},
            [[0, 5, 6, 11], [1, 4, 7, 10], [2, 3, 8, 9]],
        ),
    ],
)
def test_images_are_taken_in_the_order_of_the_scan(options, order):
    boxes = scan(steps=(4, 3), **options).boxes()
    found = np.full((3, 4), -1)
    found[boxes[:, 1], boxes[:, 0]] = np.arange(12)
    assert found.tolist() == order


def test_the_box_at_the_centre_sees_most_and_boxes_outside_nothing():
    grid = scan(steps=(10, 8), centre=(3.5, 5.5), crystal_size=(4.0, 2.0))
    factors = np.zeros((8, 10))
    x, y = grid.boxes().T
    factors[y, x] = grid.factors()
    assert factors[5, 3] == 1
    assert np.flatnonzero(factors.any(axis=0)).tolist() == [2, 3, 4]
    assert np.flatnonzero(factors.any(axis=1)).tolist() == [5]
    assert factors[5, 2] == pytest.approx(np.exp(-0.5))


@pytest.mark.parametrize("options", [{}, {"snaked": True, "orientation": "vertical"}])
def test_the_centre_of_mass_is_the_centre_that_was_asked_for(options):
    grid = scan(steps=(30, 20), centre=(13.2, 8.7), crystal_size=(10, 6), **options)
    factors = grid.factors()
    found = (grid.boxes() + 0.5).T @ factors / factors.sum()
    assert found == pytest.approx((13.2, 8.7), abs=0.05)


@pytest.mark.parametrize("steps", [(1, 1), (19, 1), (1, 80), (10, 8), (40, 25)])
def test_by_default_there_is_a_crystal_in_part_of_the_grid(steps):
    factors = scan(steps=steps).factors()
    assert factors.max() > 0.4
    assert steps == (1, 1) or (factors == 0).any()


def test_a_third_axis_gives_a_second_scan_turned_by_90_degrees():
    request = GridRequest(
        steps=(10, 8),
        third_axis=6,
        centre=(3, 4, 5),
        crystal_size=(2, 3, 4),
        start=10,
        stem="x_1",
    )
    xy, xz = plan_grid_scans(request)
    assert (xy.stem, xy.steps, xy.omega, xy.centre) == ("x_1_xy", (10, 8), 10, (3, 4))
    assert (xz.stem, xz.steps, xz.omega, xz.centre) == ("x_1_xz", (10, 6), 100, (3, 5))
    assert (xy.crystal_size, xz.crystal_size) == ((2, 3), (2, 4))


def test_gridinfo_says_how_the_grid_was_scanned():
    info = scan(steps=(4, 3), snaked=True, orientation="vertical", box_size_um=5)
    assert info.gridinfo() == {
        "steps_x": 4,
        "steps_y": 3,
        "dx_mm": 0.005,
        "dy_mm": 0.005,
        "micronsPerPixelX": 5.0,
        "micronsPerPixelY": 5.0,
        "snapshot_offsetXPixel": 0,
        "snapshot_offsetYPixel": 0,
        "snaked": True,
        "orientation": "vertical",
    }
