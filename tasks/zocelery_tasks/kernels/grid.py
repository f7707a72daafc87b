"""From the order in which a grid was scanned to its places."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt


class Orientation(StrEnum):
    """Along which axis a grid scan moves fast."""

    HORIZONTAL = "horizontal"
    """Row by row: x is fast."""
    VERTICAL = "vertical"
    """Column by column: y is fast."""


@dataclass(frozen=True, slots=True)
class GridGeometry:
    """Where the images of a grid scan lie."""

    steps: tuple[int, int]
    """(nx, ny), the number of boxes along x and y."""
    snaked: bool = False
    """Every second row (vertical: column) was scanned backwards. The first one is
    scanned towards growing x (vertical: y)."""
    orientation: Orientation = Orientation.HORIZONTAL
    box_size_px: tuple[float, float] = (1.0, 1.0)
    """Size of a box along x and y in pixels of the microscope's snapshot."""
    snapshot_offset: tuple[float, float] = (0.0, 0.0)
    """Pixel (x, y) of the snapshot where the grid's corner lies."""


def reshape_grid(
    data: npt.ArrayLike, geometry: GridGeometry
) -> npt.NDArray[np.float64]:
    """Put the values of a grid scan where they were measured.

    Args:
        data: one value per image in the order of the scan, shape (nx * ny,).
        geometry: its steps, snaking and orientation.

    Returns:
        A new array, indexed [x, y], shape (nx, ny).

    Raises:
        ValueError: if there are not nx * ny values.
    """
    values = np.array(data, dtype=np.float64)
    nx, ny = geometry.steps
    if values.shape != (nx * ny,):
        raise ValueError(
            f"a grid of {nx} x {ny} boxes takes {nx * ny} values, not {values.size}"
        )
    if geometry.orientation is Orientation.VERTICAL:
        lines = values.reshape(nx, ny)
    else:
        lines = values.reshape(ny, nx)
    if geometry.snaked:
        lines[1::2] = lines[1::2, ::-1].copy()
    return lines if geometry.orientation is Orientation.VERTICAL else lines.T
