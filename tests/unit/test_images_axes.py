"""Chains of axes."""

import math

import pytest

from zocelery_tasks.images.axes import Axis, move, scale, turn

QUARTER_ABOUT_Z = Axis((0, 0, 2), is_rotation=True, setting=90)
UP_5_ALONG_Y = Axis((0, 1, 0), is_rotation=False, setting=5, offset=(0, 0, 3))


def test_a_rotation_is_right_handed_and_its_axis_need_not_have_length_1():
    assert QUARTER_ABOUT_Z.turn((1, 0, 0)) == pytest.approx((0, 1, 0))
    assert QUARTER_ABOUT_Z.turn((0, 1, 7)) == pytest.approx((-1, 0, 7))


def test_a_translation_moves_points_but_not_directions():
    assert UP_5_ALONG_Y.move((1, 1, 1)) == (1, 6, 4)
    assert UP_5_ALONG_Y.turn((1, 1, 1)) == (1, 1, 1)


def test_the_offset_of_a_rotation_is_not_turned_by_it():
    axis = Axis((0, 0, 1), is_rotation=True, setting=90, offset=(10, 0, 0))
    assert axis.move((1, 0, 0)) == pytest.approx((10, 1, 0))


def test_the_innermost_axis_acts_first():
    inner_first = move((0, 0, 0), [UP_5_ALONG_Y, QUARTER_ABOUT_Z])
    assert inner_first == pytest.approx((-5, 0, 3))
    outer_first = move((0, 0, 0), [QUARTER_ABOUT_Z, UP_5_ALONG_Y])
    assert outer_first == pytest.approx((0, 5, 3))


def test_rotations_about_oblique_axes_keep_lengths_and_the_axis():
    axis = Axis((1, 2, 3), is_rotation=True, setting=77)
    assert axis.turn((1, 2, 3)) == pytest.approx((1, 2, 3))
    assert math.hypot(*axis.turn((4, -1, 2))) == pytest.approx(math.hypot(4, -1, 2))


def test_directions_come_out_at_length_1():
    assert turn((0, 0, 4), []) == (0, 0, 1)
    assert turn((0, 0, 0), [QUARTER_ABOUT_Z]) == (0, 0, 0)


def test_an_axis_of_no_length_does_nothing():
    assert Axis((0, 0, 0), is_rotation=True, setting=50).move((1, 2, 3)) == (1, 2, 3)


def test_scaling_multiplies_each_part():
    assert scale((1, -2, 3), 2) == (2, -4, 6)
