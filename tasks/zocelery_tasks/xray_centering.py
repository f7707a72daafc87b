"""X-ray centring: from spot counts per image to where the crystals are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy.typing as npt

from zocelery.errors import PermanentError
from zocelery_tasks.centring_results import (
    Centre2DResult,
    Centre3DResult,
    Centring3D,
    describe_2d,
    describe_3d,
)
from zocelery_tasks.grid_info import GridInfo
from zocelery_tasks.kernels.centring_2d import find_centre_2d
from zocelery_tasks.kernels.centring_3d import find_centres_3d
from zocelery_tasks.kernels.grid import GridGeometry, reshape_grid
from zocelery_tasks.kernels.multipin import Pin
from zocelery_tasks.xray_centering_parameters import XrayCenteringParameters

Counts = Mapping[int, float]
"""`n_spots_total` by image number, from 1."""


def centre_counts_2d(
    data: npt.ArrayLike, geometry: GridGeometry, pin: Pin
) -> Centre2DResult:
    """Find the centre of one grid from its spot counts.

    Args:
        data: counts (>= 0) in the order of the scan, shape (nx * ny,).
        geometry: of the grid.
        pin: tells which sample lies at the centre.

    Raises:
        ValueError: if there are not nx * ny counts.
    """
    return describe_2d(find_centre_2d(data, geometry), geometry, pin)


def centre_counts_3d(
    xy: npt.ArrayLike,
    xz: npt.ArrayLike,
    pin: Pin,
    *,
    threshold: float = 0.25,
    threshold_absolute: float = 0,
) -> list[Centre3DResult]:
    """Find the crystals in two perpendicular grids from their spot counts.

    Args:
        xy: counts (>= 0), shape (nx, ny).
        xz: counts (>= 0), shape (nx, nz).
        pin: tells which sample lies at a centre; on a pin with several samples each
            connected region has a threshold of its own.
        threshold: part of the strongest voxel that a voxel must reach.
        threshold_absolute: spots that an image must have.

    Raises:
        ValueError: if the grids are not of one length along x.
    """
    found = find_centres_3d(
        xy,
        xz,
        threshold=threshold,
        threshold_absolute=threshold_absolute,
        each_region=bool(pin.sample_ids),
    )
    return [describe_3d(centre, pin) for centre in found]


@dataclass(frozen=True, slots=True)
class _Completed:
    """The counts of a whole grid."""

    data: list[float]
    """In the order of the scan; 0 where no count is known."""
    missing: list[int]
    unexpected: list[int]


def _complete(counts: Counts, image_count: int) -> _Completed:
    numbers = range(1, image_count + 1)
    return _Completed(
        data=[counts.get(number, 0) for number in numbers],
        missing=[number for number in numbers if number not in counts],
        unexpected=sorted(number for number in counts if number not in numbers),
    )


def centre_2d(
    counts: Counts, grid: GridInfo, parameters: XrayCenteringParameters
) -> Centre2DResult:
    """Find the centre of one grid scan, whichever images have a result.

    Args:
        counts: `n_spots_total` of the images that were analysed.
        grid: the scan.
        parameters: of the node.

    Returns:
        The centre. Images without a count are taken for empty and named in `missing`;
        counts of images that the grid does not have are left out and the numbers
        named in `unexpected`.
    """
    whole = _complete(counts, grid.image_count)
    result = centre_counts_2d(whole.data, grid.geometry, parameters.pin(grid))
    return result.model_copy(
        update={"missing": whole.missing, "unexpected": whole.unexpected}
    )


def centre_3d(
    grids: Sequence[tuple[Counts, GridInfo]], parameters: XrayCenteringParameters
) -> Centring3D:
    """Find the crystals in two perpendicular grid scans.

    Args:
        grids: counts and geometry of the two scans, in the order of their data
            collections: the first gives x and y, the second x and z.
        parameters: of the node.

    Returns:
        The crystals, those with most signal first. Missing and unexpected images are
        named for each grid, as in two dimensions.

    Raises:
        PermanentError: if there are not two grids of one length along x.
    """
    if len(grids) != 2 or grids[0][1].steps_x != grids[1][1].steps_x:
        sizes = ", ".join(f"{grid.steps_x}x{grid.steps_y}" for _, grid in grids)
        raise PermanentError(
            "3-D centring takes two grid scans with equally many steps along x, "
            f"not {sizes or 'none'}"
        )
    wholes = [_complete(counts, grid.image_count) for counts, grid in grids]
    xy, xz = (
        reshape_grid(whole.data, grid.geometry)
        for whole, (_, grid) in zip(wholes, grids, strict=True)
    )
    several = bool(parameters.msp_sample_ids)
    results = centre_counts_3d(
        xy,
        xz,
        parameters.pin(grids[0][1]),
        threshold=parameters.threshold_msp if several else parameters.threshold,
        threshold_absolute=(
            parameters.threshold_absolute_msp
            if several
            else parameters.threshold_absolute
        ),
    )
    return Centring3D(
        results=results,
        missing=[whole.missing for whole in wholes],
        unexpected=[whole.unexpected for whole in wholes],
    )
