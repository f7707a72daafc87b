"""Grid scans: the order of the boxes, and how much crystal is in each."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zocelery_tasks.simulation.gaussian import FloatArray
from zocelery_tasks.simulation.settings import FastDirection, GridRequest

_EDGE = 2.0
"""Standard deviations from its centre at which the crystal ends."""


@dataclass(frozen=True)
class GridScan:
    """One scan of a plane through the crystal; lengths are in boxes."""

    stem: str
    plane: str
    """"xy", or "xz" for the scan of the third axis."""
    steps: tuple[int, int]
    """Boxes along x and along y (or z)."""
    centre: tuple[float, float]
    """Middle of the crystal; the middle of the first box is (0.5, 0.5)."""
    crystal_size: tuple[float, float]
    snaked: bool
    orientation: FastDirection
    box_size_um: float
    omega: float
    """Of all images, degrees."""

    @property
    def images(self) -> int:
        """Number of images."""
        return self.steps[0] * self.steps[1]

    def boxes(self) -> npt.NDArray[np.int64]:
        """Return the box (x, y) of each image, in the order of the scan, (n, 2)."""
        nx, ny = self.steps
        horizontal = self.orientation is FastDirection.HORIZONTAL
        fast_steps = nx if horizontal else ny
        slow, fast = np.divmod(np.arange(nx * ny), fast_steps)
        if self.snaked:
            fast = np.where(slow % 2, fast_steps - 1 - fast, fast)
        return np.column_stack([fast, slow] if horizontal else [slow, fast])

    def factors(self) -> FloatArray:
        """Return how much of the crystal each image sees, 0 to 1.

        The crystal is an ellipsoid whose density falls off like a Gaussian from its
        centre, and that ends at two standard deviations.
        """
        spread = np.asarray(self.crystal_size) / (2 * _EDGE)
        offset = (self.boxes() + 0.5 - np.asarray(self.centre)) / spread
        squared = (offset**2).sum(axis=1)
        return np.where(squared < _EDGE**2, np.exp(-squared / 2), 0.0)

    @property
    def is_plain(self) -> bool:
        """Whether the steps alone tell the order of the images."""
        return not self.snaked and self.orientation is FastDirection.HORIZONTAL

    def gridinfo(self) -> dict[str, object]:
        """Return the parameter of recipes for X-ray centring, under ISPyB's names.

        A box is one pixel of the snapshot, and its corner the snapshot's.
        """
        box_mm = self.box_size_um / 1e3
        return {
            "steps_x": self.steps[0],
            "steps_y": self.steps[1],
            "dx_mm": box_mm,
            "dy_mm": box_mm,
            "micronsPerPixelX": self.box_size_um,
            "micronsPerPixelY": self.box_size_um,
            "snapshot_offsetXPixel": 0,
            "snapshot_offsetYPixel": 0,
            "snaked": self.snaked,
            "orientation": str(self.orientation),
        }


def plan_grid_scans(request: GridRequest) -> tuple[GridScan, ...]:
    """Return the scan of x and y and, where there is a third axis, that of x and z."""
    centre = request.centre or _usual_centre(request.shape)
    size = request.crystal_size or tuple(0.36 * n + 1 for n in request.shape)
    planes = ("xy",) if len(request.shape) == 2 else ("xy", "xz")
    scans = []
    for number, plane in enumerate(planes):
        axes = (0, number + 1)
        x_steps, other_steps = (request.shape[axis] for axis in axes)
        scans.append(
            GridScan(
                stem=request.stem if len(planes) == 1 else f"{request.stem}_{plane}",
                plane=plane,
                steps=(x_steps, other_steps),
                centre=(centre[0], centre[axes[1]]),
                crystal_size=(size[0], size[axes[1]]),
                snaked=request.snaked,
                orientation=request.orientation,
                box_size_um=request.box_size_um,
                omega=request.start + 90.0 * number,
            )
        )
    return tuple(scans)


def _usual_centre(shape: tuple[int, ...]) -> tuple[float, ...]:
    """Return a place off the middle of the grid, different along each axis."""
    places = (0.62, 0.4, 0.55)[: len(shape)]
    return tuple(place * (n - 1) + 0.5 for place, n in zip(places, shape, strict=True))
