"""Find crystals in two perpendicular grids of spot counts."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.regions import connected_regions

Floats = npt.NDArray[np.float64]
Place = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Centre3D:
    """One connected region of strong voxels; places are (x, y, z) in boxes.

    A voxel's value is the product of the counts of the two grids.
    """

    centre: tuple[float, float, float]
    """Weighted by the values; a voxel's middle is at .5."""
    max_voxel: Place
    """0-based: the first voxel in raster order that has the largest value."""
    max_count: float
    n_voxels: int
    total_count: float
    bounding_box: tuple[Place, Place]
    """First voxel and last voxel + 1."""


def _voxels(xy: npt.ArrayLike, xz: npt.ArrayLike, least: float) -> Floats:
    """Return the products xy[x, y] * xz[x, z] of counts that are at least `least`."""
    grids = [np.asarray(counts, dtype=np.float64) for counts in (xy, xz)]
    if any(grid.ndim != 2 for grid in grids) or len(grids[0]) != len(grids[1]):
        raise ValueError(
            f"xy and xz must be grids of one length along x, not of shapes "
            f"{grids[0].shape} and {grids[1].shape}"
        )
    first, second = (np.where(grid < least, 0.0, grid) for grid in grids)
    return first[:, :, None] * second[:, None, :]


def _centre(places: npt.NDArray[np.intp], values: Floats) -> Centre3D:
    total = values.sum()
    x, y, z = (float((side * values).sum() / total) + 0.5 for side in places.T)
    return Centre3D(
        centre=(x, y, z),
        max_voxel=_place(places[np.argmax(values)]),
        max_count=float(values.max()),
        n_voxels=len(values),
        total_count=float(total),
        bounding_box=(_place(places.min(axis=0)), _place(places.max(axis=0) + 1)),
    )


def _place(numbers: npt.NDArray[np.intp]) -> Place:
    x, y, z = numbers.tolist()
    return x, y, z


def find_centres_3d(
    xy: npt.ArrayLike,
    xz: npt.ArrayLike,
    *,
    threshold: float = 0.25,
    threshold_absolute: float = 0,
    each_region: bool = False,
) -> list[Centre3D]:
    """Find the regions of strong diffraction in space.

    Args:
        xy: spot counts (>= 0) of the first grid, shape (nx, ny).
        xz: spot counts (>= 0) of the second grid, shape (nx, nz).
        threshold: weaker voxels than this part of the strongest do not count.
        threshold_absolute: weaker counts than this do not count.
        each_region: compare the voxels of each connected region with the strongest
            of that region (several crystals, as on multi-sample pins) instead of
            with the strongest of all.

    Returns:
        The regions, those with the largest total first; empty if there is no signal.

    Raises:
        ValueError: if the grids do not fit together.
    """
    voxels = _voxels(xy, xz, threshold_absolute)
    places, values = np.argwhere(voxels), voxels[voxels.nonzero()]
    whole = [np.arange(len(places))] if len(places) else []
    centres = []
    for region in connected_regions(places) if each_region else whole:
        strong = region[values[region] >= threshold * values[region].max()]
        for part in connected_regions(places[strong]):
            centres.append(_centre(places[strong[part]], values[strong[part]]))
    return sorted(centres, key=lambda centre: -centre.total_count)
