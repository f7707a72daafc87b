"""Random cases: what they are aimed at is in them."""

from typing import Any

import numpy as np
import pytest

from benchmarks.random_cases import Aim, RandomCase, random_case
from tests.unit.reference_dispersion import (
    dispersion_extended,
    eroded,
    signal_windows,
    window_sums,
)
from zocelery_tasks.kernels.threshold import Algorithm, DispersionSettings

SINGLE = 3e-6
"""Relative error that a test in single precision allows for."""


def unsure_windows(image: Any, valid: Any, chosen: DispersionSettings) -> Any:
    """Return which windows single precision cannot tell from others."""
    counted = valid.astype(float)
    m, x, y = (window_sums(counted * image**power, (3, 3)) for power in range(3))
    freedom = np.maximum(m - 1, 0)
    even = x * (x + freedom + np.sqrt(2 * freedom) * chosen.sigma_background)
    return np.abs(m * y - even) <= SINGLE * even


def loses_strong_pixels(case: RandomCase) -> bool:
    """Return whether pixels are lost if such windows are taken for no signal.

    That was a bug once, which 20,000 cases that aimed at nothing did not find.
    """
    chosen, valid, image = case.settings, case.valid, case.image.astype(float)
    strong = dispersion_extended(image, valid, chosen)
    signal, _, _ = signal_windows(image, valid, chosen)
    kept = eroded(signal & ~unsure_windows(image, valid, chosen), 2)
    return bool((strong & ~kept).any())


@pytest.mark.parametrize("aim", Aim)
def test_a_case_depends_on_its_seed_alone(aim):
    one, again = (random_case(5, aim=aim) for _ in range(2))
    np.testing.assert_array_equal(one.image, again.image)
    np.testing.assert_array_equal(one.mask, again.mask)
    assert one.settings.threshold == again.settings.threshold


def test_cases_on_the_edge_have_windows_that_single_precision_cannot_tell():
    cases = [
        case
        for case in (random_case(seed, most=300, aim=Aim.EDGE) for seed in range(50))
        if case.settings.algorithm is Algorithm.DISPERSION_EXTENDED
    ]
    assert sum(map(loses_strong_pixels, cases)) >= 3
