"""Strong pixels and spots beside DIALS itself, bit for bit."""

from typing import Any

import numpy as np
import pytest

from benchmarks.dials import DIALS_PYTHON, open_dials
from benchmarks.random_cases import (
    PLANTS,
    Aim,
    answer_of_dials,
    our_answer,
    our_spots,
    random_case,
    with_plant,
)

AIMS = [Aim.ANYTHING] * 4 + [Aim.EDGE, Aim.OVERDISPERSED]
N_CASES = 48


@pytest.fixture(scope="module")
def answers() -> Any:
    """What DIALS says of all cases, from one process; each with its case."""
    with open_dials() as dials:
        if dials is None:
            pytest.skip(f"{DIALS_PYTHON} has no dials")
        cases = [
            random_case(
                seed,
                most=200 if seed % 4 == 0 else 60,
                rule=dials.rule,
                aim=AIMS[seed % len(AIMS)],
            )
            for seed in range(N_CASES)
        ]
        return [(case, answer_of_dials(case, dials)) for case in cases]


@pytest.mark.dials
@pytest.mark.parametrize("number", range(N_CASES))
def test_strong_pixels_are_those_of_dials(answers, number):
    case, theirs = answers[number]
    np.testing.assert_array_equal(our_answer(case).strong, theirs.strong)


@pytest.mark.dials
@pytest.mark.parametrize("number", range(N_CASES))
def test_spots_are_those_of_dials(answers, number):
    case, theirs = answers[number]
    np.testing.assert_array_equal(our_spots(case, theirs.strong), theirs.spots)


@pytest.mark.dials
def test_the_cases_say_something(answers):
    strong = [theirs.strong.size for _, theirs in answers]
    spots = [len(theirs.spots) for _, theirs in answers]
    assert np.count_nonzero(strong) > N_CASES / 2
    assert sum(spots) > N_CASES


@pytest.mark.dials
@pytest.mark.parametrize("setting", PLANTS)
def test_a_setting_that_is_a_little_off_is_noticed(answers, setting):
    assert any(
        not np.array_equal(our_answer(with_plant(case, setting)).strong, theirs.strong)
        for case, theirs in answers
    )
