"""Spots in plain Python: slow, one pixel after the other."""

import numpy as np
import numpy.typing as npt


def groups(strong: npt.NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """Return the groups of pixels that touch along an edge, in raster order."""
    left = {(int(j), int(i)) for j, i in np.argwhere(strong)}
    found = []
    for first in sorted(left):
        if first not in left:
            continue
        group, todo = [], [first]
        left.remove(first)
        while todo:
            j, i = todo.pop()
            group.append((j, i))
            for neighbour in ((j - 1, i), (j + 1, i), (j, i - 1), (j, i + 1)):
                if neighbour in left:
                    left.remove(neighbour)
                    todo.append(neighbour)
        found.append(sorted(group))
    return found


def measure(
    image: npt.NDArray[np.integer], group: list[tuple[int, int]]
) -> dict[str, float]:
    """Return one spot's columns of `SpotTable`, and `separation`."""
    values = [np.float32(image[pixel]) for pixel in group]
    rows, columns = [j for j, _ in group], [i for _, i in group]
    y0, x0 = min(rows), min(columns)
    total, squares = np.float32(0), np.float32(0)
    for value in values:
        total += value
        squares += value * value
    s, s2 = float(total), float(squares)
    spot = {
        "x0": x0,
        "x1": max(columns) + 1,
        "y0": y0,
        "y1": max(rows) + 1,
        "n_pixels": len(group),
        "intensity": s,
        "variance": s,
        "peak": float(max(values)),
    }
    peak = group[values.index(max(values))]
    distance = 0.0
    for axis, positions, corner in (("x", columns, x0), ("y", rows, y0)):
        centre = [p - corner + 0.5 for p in positions]
        mean = 0.0
        for value, c in zip(values, centre, strict=True):
            mean += float(value) * c
        mean /= s
        spread = 0.0
        for value, c in zip(values, centre, strict=True):
            spread += float(value) * ((c - mean) * (c - mean))
        unbiased = spread * s / (s * s - s2) / s if s * s > s2 else 0.0
        spot[axis] = mean + corner
        spot[f"variance_{axis}"] = unbiased + 1 / 12
        distance += (peak[axis == "x"] + 0.5 - spot[axis]) ** 2
    return spot | {"separation": distance**0.5}


def spots(
    image: npt.NDArray[np.integer],
    strong: npt.NDArray[np.bool_],
    min_size: int,
    max_size: int,
    max_separation: float,
) -> list[dict[str, float]]:
    sized = [g for g in groups(strong) if min_size <= len(g) <= max_size]
    measured = [measure(image, group) for group in sized]
    return [spot for spot in measured if spot["separation"] <= max_separation]
