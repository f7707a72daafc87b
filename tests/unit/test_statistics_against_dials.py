"""The nine statistics beside DIALS itself, on random spot lists of many kinds."""

import dataclasses
import functools
import json
import subprocess
from typing import Any

import numpy as np
import pytest

from zocelery_tasks.kernels.statistics import spot_statistics

DIALS_PYTHON = "/usr/bin/python3"
"""Debian's package `dials` is seen by the system's Python only."""

KINDS = ("even in q", "even in volume", "many ties", "few d-spacings", "on ice rings")

ASK_DIALS = """
import json, sys
from dials.algorithms.spot_finding.per_image_analysis import stats_for_reflection_table
from dials.array_family import flex
for line in sys.stdin:
    case = json.loads(line)
    zeros = flex.double(len(case["q"]), 0)
    table = flex.reflection_table()
    table["rlp"] = flex.vec3_double(flex.double(case["q"]), zeros, zeros)
    table["intensity.sum.value"] = flex.double(case["intensity"])
    table["intensity.sum.variance"] = flex.double(case["variance"])
    answer = stats_for_reflection_table(
        table, filter_ice=case["filter_ice"], ice_rings_width=case["ice_rings_width"]
    )
    print("answer", json.dumps(answer._asdict()))
"""


@functools.cache
def dials_is_there() -> bool:
    try:
        found = subprocess.run(
            [DIALS_PYTHON, "-c", "import dials"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return found.returncode == 0


def positions(rng: np.random.Generator, kind: str, count: int) -> Any:
    q_max = rng.uniform(0.3, 1.2)
    match kind:
        case "even in q":
            return rng.uniform(0.03, q_max, count)
        case "even in volume":
            return rng.uniform(0, 1, count) ** (1 / 3) * q_max
        case "many ties":
            return np.round(rng.uniform(0.05, q_max, count), 2)
        case "few d-spacings":
            return rng.choice(rng.uniform(0.05, q_max, rng.integers(2, 8)), count)
        case _:
            rings = rng.choice([0.0659, 0.0743, 0.0853, 0.1404, 0.19, 0.2343], count)
            return np.sqrt(np.maximum(rings + rng.normal(0, 0.003, count), 1e-4))


def random_case(rng: np.random.Generator, kind: str) -> dict[str, Any]:
    count = int(rng.choice([rng.integers(9, 30), rng.integers(11, 1500)]))
    q = positions(rng, kind, count)
    intensity = rng.integers(2, rng.choice([10, 100, 10000]), count) * 1.0
    if rng.random() < 0.4:
        intensity = np.ceil(intensity * 10 * np.exp(-4 * q**2))
    scale = rng.choice([1.0, rng.uniform(0.5, 2)])
    return {
        "q": q.tolist(),
        "intensity": intensity.tolist(),
        "variance": (intensity * scale).tolist(),
        "filter_ice": bool(rng.random() < 0.6),
        "ice_rings_width": float(rng.choice([0.004, 0.004, 0.001, 0.02])),
    }


def ask_dials(cases: list[dict[str, Any]]) -> list[dict[str, float]]:
    answered = subprocess.run(
        [DIALS_PYTHON, "-c", ASK_DIALS],
        input="\n".join(map(json.dumps, cases)),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = answered.stdout.splitlines()
    return [json.loads(line[7:]) for line in lines if line.startswith("answer ")]


@pytest.fixture(scope="module")
def answered() -> dict[str, list[tuple[dict[str, Any], dict[str, float]]]]:
    """Cases and DIALS's answers for each kind of list; one process for all."""
    if not dials_is_there():
        pytest.skip(f"{DIALS_PYTHON} has no dials (Debian: apt install dials)")
    rng = np.random.default_rng(20260101)
    cases = [(kind, random_case(rng, kind)) for kind in KINDS for _ in range(40)]
    answers = ask_dials([case for _, case in cases])
    sorted_by_kind: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for (kind, case), answer in zip(cases, answers, strict=True):
        sorted_by_kind[kind].append((case, answer))
    return sorted_by_kind


@pytest.mark.dials
@pytest.mark.parametrize("kind", KINDS)
def test_random_spot_lists_have_the_statistics_that_dials_gives(
    kind: str, answered: dict[str, list[tuple[dict[str, Any], dict[str, float]]]]
) -> None:
    for case, answer in answered[kind]:
        found = dataclasses.asdict(spot_statistics(**case))
        assert found == pytest.approx(answer, rel=1e-9, abs=1e-9)
