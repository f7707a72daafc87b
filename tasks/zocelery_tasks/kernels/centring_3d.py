"""Find crystals in two perpendicular grids of spot counts."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float64]
Place = tuple[int, int, int]

_TOUCHING = np.ones((3, 3, 3))
"""Voxels that share a face, an edge or a corner belong together."""


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


def _parts(
    values: Floats, offset: tuple[int, ...]
) -> Iterator[tuple[Floats, tuple[int, ...]]]:
    """Yield each connected part of the positive values, cut out, and its place."""
    labels, _ = ndimage.label(values > 0, structure=_TOUCHING)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        corner = tuple(
            start + side.start for start, side in zip(offset, box, strict=True)
        )
        yield np.where(labels[box] == label, values[box], 0.0), corner


def _centre(part: Floats, corner: tuple[int, ...]) -> Centre3D:
    """Describe one part whose voxel [0, 0, 0] is the voxel `corner` of the whole."""
    total = part.sum()
    inside = np.nonzero(part)
    weights = part[inside]
    x, y, z = (
        float((places * weights).sum() / total) + start + 0.5
        for places, start in zip(inside, corner, strict=True)
    )
    peak = int(np.argmax(weights))
    return Centre3D(
        centre=(x, y, z),
        max_voxel=_place([places[peak] for places in inside], corner),
        max_count=float(part.max()),
        n_voxels=len(weights),
        total_count=float(total),
        bounding_box=(_place((0, 0, 0), corner), _place(part.shape, corner)),
    )


def _place(place: tuple[int, ...] | list[int], corner: tuple[int, ...]) -> Place:
    x, y, z = (int(i) + start for i, start in zip(place, corner, strict=True))
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
    origin = (0, 0, 0)
    regions = _parts(voxels, origin) if each_region else iter([(voxels, origin)])
    centres = [
        _centre(part, corner)
        for region, place in regions
        for part, corner in _parts(_keep_strong(region, threshold), place)
    ]
    return sorted(centres, key=lambda centre: -centre.total_count)


def _keep_strong(region: Floats, threshold: float) -> Floats:
    """Return `region` with what is weaker than a part of its largest replaced by 0."""
    if not region.size:
        return region
    return np.where(region >= threshold * region.max(), region, 0.0)
