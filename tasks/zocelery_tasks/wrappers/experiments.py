"""What DIALS's experiment lists (`*.expt`, JSON) say of crystals."""

import math
from pathlib import Path
from typing import Any

from zocelery.errors import PermanentError
from zocelery_tasks.wrappers.json_files import read_json_file

Vector = list[float]


def read_experiments(file: Path) -> dict[str, Any]:
    """Return the content of an experiment list.

    Raises:
        PermanentError: it cannot be read.
    """
    try:
        found = read_json_file(file)
    except PermanentError as error:
        raise PermanentError(f"no experiment list: {error}") from error
    if not isinstance(found, dict):
        raise PermanentError(f"{file}: is no experiment list")
    return found


def unit_cells(experiments: dict[str, Any]) -> list[list[float]]:
    """Return a, b, c (Å), alpha, beta, gamma (degrees) of each crystal."""
    return [
        unit_cell(*(crystal[f"real_space_{axis}"] for axis in "abc"))
        for crystal in experiments.get("crystal", [])
    ]


def unit_cell(a: Vector, b: Vector, c: Vector) -> list[float]:
    """Return lengths and angles (degrees) of the cell that three vectors span."""
    lengths = [math.hypot(*vector) for vector in (a, b, c)]
    angles = [_angle(b, c), _angle(a, c), _angle(a, b)]
    return [*lengths, *angles]


def _angle(first: Vector, second: Vector) -> float:
    product = sum(x * y for x, y in zip(first, second, strict=True))
    cosine = product / (math.hypot(*first) * math.hypot(*second))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def image_count(experiments: dict[str, Any]) -> int:
    """Return how many images the experiments have."""
    scans = experiments.get("scan", [])
    ranges = [scan["image_range"] for scan in scans]
    return sum(last - first + 1 for first, last in ranges)
