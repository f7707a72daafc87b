"""Spots: groups of strong pixels, measured and filtered as DIALS does.

Sources, of dials 3.12.1: `array_family/boost_python/flex_shoebox.cc`,
`algorithms/integration/sum/summation.h`, `algorithms/image/centroid/centroid_points.h`,
`algorithms/spot_finding/{finder,factory}.py`. Counts are single precision there, and
sums of counts too; everything about positions is double.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.labelling import label_pixels

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class SpotTable:
    """The spots of one image, each column of shape (n_spots,).

    In the order of the spots' first pixels. Positions are in pixels from the outer
    corner of the image's first pixel, whose centre is (0.5, 0.5); x is fast, y slow.
    """

    x0: Indices
    """The bounding box is x0 <= column < x1, y0 <= row < y1."""
    x1: Indices
    y0: Indices
    y1: Indices
    n_pixels: Indices
    intensity: Doubles
    """Sum of counts, no background subtracted; a single-precision number."""
    variance: Doubles
    """Of the intensity: the same number."""
    x: Doubles
    """Centroid, weighted by counts."""
    y: Doubles
    variance_x: Doubles
    """Of the centroid, pixels squared."""
    variance_y: Doubles
    peak: Doubles
    """Counts of the highest pixel."""

    def __len__(self) -> int:
        return self.x.size

    @property
    def bbox(self) -> Indices:
        """The bounding boxes, shape (n_spots, 4): x0, x1, y0, y1."""
        return np.stack([self.x0, self.x1, self.y0, self.y1], axis=1)

    def select(self, chosen: npt.NDArray[np.bool_] | Indices) -> "SpotTable":
        """Return the table of the spots that a mask or indices choose."""
        columns = {f.name: getattr(self, f.name)[chosen] for f in fields(self)}
        return SpotTable(**columns)

    def moved(self, first: tuple[int, int]) -> "SpotTable":
        """Return the table with positions from another pixel.

        Args:
            first: where this table's first pixel is from there, (slow, fast).
        """
        slow, fast = first
        return replace(
            self,
            x0=self.x0 + fast,
            x1=self.x1 + fast,
            y0=self.y0 + slow,
            y1=self.y1 + slow,
            x=self.x + fast,
            y=self.y + slow,
        )

    @staticmethod
    def concatenate(tables: "Sequence[SpotTable]") -> "SpotTable":
        """Return the spots of one table after those of the other."""
        columns = {
            f.name: np.concatenate([getattr(table, f.name) for table in tables])
            for f in fields(SpotTable)
        }
        return SpotTable(**columns)


def find_spots(
    indices: Indices,
    counts: npt.NDArray[np.integer | np.floating],
    width: int,
    min_spot_size: int,
    max_spot_size: int,
    max_separation: float | None,
) -> SpotTable:
    """Group strong pixels to spots and keep those that look like Bragg spots.

    Args:
        indices: flat indices of the strong pixels, in raster order.
        counts: their counts, or photons, all above 0.
        width: pixels in an image row.
        min_spot_size: fewest pixels of a spot.
        max_spot_size: most pixels of a spot.
        max_separation: largest distance between the centre of the highest pixel and the
            centroid, in pixels; None for any.
    """
    values = counts.astype(np.float32)
    group, n_groups = label_pixels(indices, width)
    sizes = np.bincount(group, minlength=n_groups)
    fits = (sizes >= min_spot_size) & (sizes <= max_spot_size)
    # Small groups are most of all groups: leave them out before anything is measured.
    number = np.where(fits, np.cumsum(fits) - 1, -1)[group]
    kept = number >= 0
    table, peak_x, peak_y = _measure(
        indices[kept], values[kept], number[kept], int(fits.sum()), width
    )
    if max_separation is None:
        return table
    distance = np.sqrt((peak_x - table.x) ** 2 + (peak_y - table.y) ** 2)
    return table.select(distance <= max_separation)


def _measure(
    indices: Indices, values: Singles, spot: Indices, n_spots: int, width: int
) -> tuple[SpotTable, Doubles, Doubles]:
    """Measure spots; return them and the centres of their highest pixels."""
    y, x = np.divmod(indices, width)
    box = np.empty((4, n_spots), np.int64)
    box[0] = box[2] = np.iinfo(np.int64).max
    box[1] = box[3] = 0
    sums = np.zeros((3, n_spots), np.float32)
    highest = np.zeros(n_spots, np.int64)
    _sum_counts(x, y, values, spot, box, sums, highest)
    centre = np.zeros((2, n_spots))
    variance = np.zeros((2, n_spots))
    _find_centroids(x, y, values, spot, box, sums, centre, variance)
    total = sums[0].astype(np.float64)
    table = SpotTable(
        x0=box[0],
        x1=box[1],
        y0=box[2],
        y1=box[3],
        n_pixels=np.bincount(spot, minlength=n_spots),
        intensity=total,
        variance=np.abs(total),
        x=centre[0] + box[0],
        y=centre[1] + box[2],
        variance_x=variance[0],
        variance_y=variance[1],
        peak=sums[2].astype(np.float64),
    )
    return table, x[highest] + 0.5, y[highest] + 0.5


@njit(cache=True, nogil=True)
def _sum_counts(
    x: Indices,
    y: Indices,
    values: Singles,
    spot: Indices,
    box: Indices,
    sums: Singles,
    highest: Indices,
) -> None:
    """Set boxes (x0, x1, y0, y1), sums (counts, squares, highest) and where that is."""
    for k in range(spot.size):
        s, value = spot[k], values[k]
        box[0, s], box[1, s] = min(box[0, s], x[k]), max(box[1, s], x[k] + 1)
        box[2, s], box[3, s] = min(box[2, s], y[k]), max(box[3, s], y[k] + 1)
        sums[0, s] = np.float32(sums[0, s] + value)
        sums[1, s] = np.float32(sums[1, s] + np.float32(value * value))
        if value > sums[2, s]:
            sums[2, s] = value
            highest[s] = k


@njit(cache=True, nogil=True)
def _find_centroids(
    x: Indices,
    y: Indices,
    values: Singles,
    spot: Indices,
    box: Indices,
    sums: Singles,
    centre: Doubles,
    variance: Doubles,
) -> None:
    """Set centroids, from the corner of the box, and their variances (x, y)."""
    for k in range(spot.size):
        s, value = spot[k], np.float64(values[k])
        centre[0, s] += value * (x[k] - box[0, s] + 0.5)
        centre[1, s] += value * (y[k] - box[2, s] + 0.5)
    for s in range(centre.shape[1]):
        centre[:, s] /= np.float64(sums[0, s])
    for k in range(spot.size):
        s, value = spot[k], np.float64(values[k])
        from_x = x[k] - box[0, s] + 0.5 - centre[0, s]
        from_y = y[k] - box[2, s] + 0.5 - centre[1, s]
        variance[0, s] += value * (from_x * from_x)
        variance[1, s] += value * (from_y * from_y)
    for s in range(centre.shape[1]):
        total, squares = np.float64(sums[0, s]), np.float64(sums[1, s])
        freedom = total * total - squares
        for axis in range(2):
            if freedom > 0:
                unbiased = variance[axis, s] * total / freedom / total
                variance[axis, s] = unbiased + 1.0 / 12.0
            else:
                variance[axis, s] = 1.0 / 12.0
