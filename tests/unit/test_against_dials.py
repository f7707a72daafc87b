"""Strong pixels and spots beside DIALS itself, bit for bit."""

import functools
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.random_images import random_image
from zocelery_tasks.kernels.spots import find_spots
from zocelery_tasks.kernels.strong_pixels import StrongPixelFinder
from zocelery_tasks.kernels.threshold import Algorithm, DispersionSettings

DIALS_PYTHON = "/usr/bin/python3"
"""Debian's package `dials` is seen by the system's Python only."""
N_CASES = 48
SMALLEST, LARGEST = 3, 1000


@functools.cache
def dials_is_there() -> bool:
    try:
        found = subprocess.run(
            [DIALS_PYTHON, "-c", "import dials"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return found.returncode == 0


def random_settings(rng: np.random.Generator, shape: Any) -> DispersionSettings:
    """Mostly DIALS's defaults, sometimes anything."""
    chosen: dict[str, Any] = {"algorithm": list(Algorithm)[rng.integers(2)]}
    if rng.random() < 0.3:
        chosen["kernel"] = tuple(int(k) for k in rng.integers(1, 6, 2))
        chosen["sigma_background"] = rng.uniform(0, 8)
        chosen["sigma_strong"] = rng.uniform(0, 5)
        chosen["min_count"] = int(rng.choice([0, 2, 5]))
        chosen["global_threshold"] = rng.uniform(0, 10)
    if rng.random() < 0.15:
        chosen["gain"] = rng.uniform(0.3, 4, shape)
    return DispersionSettings(**chosen)


def random_case(seed: int) -> tuple[Any, Any, DispersionSettings]:
    rng = np.random.default_rng(seed)
    image, mask = random_image(rng, most=200 if seed % 4 == 0 else 60)
    return image, mask, random_settings(rng, image.shape)


def valid_pixels(image: Any, mask: Any) -> Any:
    return mask & (image >= 0) & (image < np.iinfo(image.dtype).max)


def write_cases(file: Path) -> None:
    arrays = {}
    for k in range(N_CASES):
        image, mask, chosen = random_case(k)
        arrays[f"image_{k}"] = image.astype(np.int64)
        arrays[f"mask_{k}"] = valid_pixels(image, mask)
        arrays[f"gain_{k}"] = np.zeros(0) if chosen.gain is None else chosen.gain
        arrays[f"numbers_{k}"] = np.array(
            [chosen.sigma_background, chosen.sigma_strong, chosen.global_threshold]
        )
        extended = chosen.algorithm is Algorithm.DISPERSION_EXTENDED
        sizes = (SMALLEST, LARGEST)
        arrays[f"counts_{k}"] = np.array(
            [*chosen.kernel, chosen.min_count, extended, *sizes]
        )
    np.savez(file, **arrays)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What DIALS says of all cases, from one process."""
    if not dials_is_there():
        pytest.skip(f"{DIALS_PYTHON} has no dials")
    folder = tmp_path_factory.mktemp("dials")
    write_cases(folder / "cases.npz")
    oracle = Path(__file__).with_name("dials_oracle.py")
    arguments = [folder / "cases.npz", folder / "results.npz"]
    subprocess.run([DIALS_PYTHON, oracle, *arguments], check=True)
    return np.load(folder / "results.npz")


@pytest.mark.dials
@pytest.mark.parametrize("case", range(N_CASES))
def test_strong_pixels_are_those_of_dials(answers, case):
    image, mask, chosen = random_case(case)
    highest = np.iinfo(image.dtype).max - 1
    strong = StrongPixelFinder(chosen).find(image, mask, 0, highest)
    np.testing.assert_array_equal(strong, answers[f"strong_{case}"])


@pytest.mark.dials
@pytest.mark.parametrize("case", range(N_CASES))
def test_spots_are_those_of_dials(answers, case):
    image, _, _ = random_case(case)
    strong = answers[f"strong_{case}"]
    counts = image.reshape(-1)[strong]
    table = find_spots(strong, counts, image.shape[1], SMALLEST, LARGEST, 2.0)
    columns = (
        *(table.x0, table.x1, table.y0, table.y1, table.n_pixels),
        *(table.intensity, table.variance, table.x, table.y),
        *(table.variance_x, table.variance_y, table.peak),
    )
    expected = answers[f"spots_{case}"]
    np.testing.assert_array_equal(np.column_stack(columns), expected)


@pytest.mark.dials
def test_the_cases_say_something(answers):
    strong = [answers[f"strong_{k}"].size for k in range(N_CASES)]
    spots = [len(answers[f"spots_{k}"]) for k in range(N_CASES)]
    assert np.count_nonzero(strong) > N_CASES / 2
    assert sum(spots) > N_CASES
