"""Find the crystal in one grid of spot counts."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.grid import GridGeometry, reshape_grid
from zocelery_tasks.kernels.regions import connected_regions

REGION_THRESHOLD = 0.5
"""Boxes with at least this part of the largest count may belong to the crystal."""


@dataclass(frozen=True, slots=True)
class Centre2D:
    """The largest connected region of strong boxes; places are in boxes."""

    best_image: int
    """1-based, in the order of the scan: the first with the largest count."""
    max_count: float
    """The largest count of the whole grid, even if it lies in another region."""
    centre: tuple[float, float]
    """(x, y) of the region, each box with the same weight; a box's middle is at .5."""
    max_voxel: tuple[int, int]
    """(x, y), 0-based, of the region's largest count: the first in raster order."""
    n_voxels: int
    total_count: float
    """Sum over the region."""
    region: tuple[tuple[int, int], ...]
    """The boxes as (y, x), 0-based, in raster order."""


def keep_strong(grid: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return `grid` with every count below half of the largest replaced by 0."""
    return np.where(grid >= REGION_THRESHOLD * grid.max(), grid, 0.0)


def find_centre_2d(data: npt.ArrayLike, geometry: GridGeometry) -> Centre2D | None:
    """Find the region of a grid scan with the most boxes of strong diffraction.

    Boxes touching at an edge or a corner belong together. The region with the most
    boxes wins, not the brightest; among equals the first in raster order.

    Args:
        data: spot counts (>= 0) in the order of the scan, shape (nx * ny,).
        geometry: its steps, snaking and orientation.

    Returns:
        The region, or None if no image has any spot.

    Raises:
        ValueError: if there are not nx * ny counts.
    """
    grid = reshape_grid(data, geometry).T
    if not grid.any():
        return None
    strong = keep_strong(grid)
    places = np.argwhere(strong)
    region = places[max(connected_regions(places), key=len)]
    rows, columns = region.T
    counts = strong[rows, columns]
    peak = int(np.argmax(counts))
    return Centre2D(
        best_image=int(np.argmax(np.asarray(data))) + 1,
        max_count=float(grid.max()),
        centre=(float(columns.mean()) + 0.5, float(rows.mean()) + 0.5),
        max_voxel=(int(columns[peak]), int(rows[peak])),
        n_voxels=len(counts),
        total_count=float(counts.sum()),
        region=tuple(zip(rows.tolist(), columns.tolist(), strict=True)),
    )
