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

from zocelery_tasks.kernels.inner import inner
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
    most_apart = np.inf if max_separation is None else max_separation
    whole, real = _find_spots(
        indices,
        counts.astype(np.float32),
        width,
        min_spot_size,
        max_spot_size,
        float(most_apart),
    )
    x0, x1, y0, y1, n_pixels = whole
    intensity, x, y, variance_x, variance_y, peak = real
    return SpotTable(
        x0=x0,
        x1=x1,
        y0=y0,
        y1=y1,
        n_pixels=n_pixels,
        intensity=intensity,
        variance=intensity,
        x=x,
        y=y,
        variance_x=variance_x,
        variance_y=variance_y,
        peak=peak,
    )


@njit(cache=True, nogil=True)
def _find_spots(
    indices: Indices,
    values: Singles,
    width: int,
    min_size: int,
    max_size: int,
    most_apart: float,
) -> tuple[Indices, Doubles]:
    """Return the columns of a table: those of whole numbers, and the others.

    They are x0, x1, y0, y1, n_pixels and intensity, x, y, their variances, peak.
    """
    group, n_groups = label_pixels(indices, width)
    spot, n_spots = _number_spots(group, n_groups, min_size, max_size)
    fits = spot >= 0
    spot, indices, values = spot[fits], indices[fits], values[fits]
    x, y = np.empty(indices.size, np.int64), np.empty(indices.size, np.int64)
    row = 0
    for k in range(indices.size):
        while indices[k] >= (row + 1) * width:
            row += 1
        x[k], y[k] = indices[k] - row * width, row
    box = np.empty((4, n_spots), np.int64)
    sums = np.zeros((3, n_spots), np.float32)
    highest = np.zeros(n_spots, np.int64)
    n_pixels = np.zeros(n_spots, np.int64)
    _sum_counts(x, y, values, spot, box, sums, highest, n_pixels)
    centre = np.zeros((2, n_spots))
    variance = np.zeros((2, n_spots))
    _find_centroids(x, y, values, spot, box, sums, centre, variance)
    kept = np.zeros(n_spots, np.bool_)
    for s in range(n_spots):
        centre[0, s] += box[0, s]
        centre[1, s] += box[2, s]
        from_x = x[highest[s]] + 0.5 - centre[0, s]
        from_y = y[highest[s]] + 0.5 - centre[1, s]
        kept[s] = np.sqrt(from_x * from_x + from_y * from_y) <= most_apart
    return _columns(kept, box, n_pixels, sums, centre, variance)


@njit(cache=True, nogil=True)
def _number_spots(
    group: Indices, n_groups: int, min_size: int, max_size: int
) -> tuple[Indices, int]:
    """Return each pixel's spot, -1 where its group's size does not fit, and how many.

    Small groups are most of all groups: they are left out before anything is measured.
    """
    number = np.zeros(n_groups, np.int64)
    for k in range(group.size):
        number[group[k]] += 1
    n_spots = 0
    for g in range(n_groups):
        fits = min_size <= number[g] <= max_size
        number[g] = n_spots if fits else -1
        n_spots += fits
    return number[group], n_spots


@njit(cache=True, nogil=True)
def _columns(
    kept: npt.NDArray[np.bool_],
    box: Indices,
    n_pixels: Indices,
    sums: Singles,
    centre: Doubles,
    variance: Doubles,
) -> tuple[Indices, Doubles]:
    """Return those of the spots that are kept."""
    n = 0
    for s in range(kept.size):
        n += kept[s]
    whole, real = np.empty((5, n), np.int64), np.empty((6, n))
    to = 0
    for s in range(kept.size):
        if kept[s]:
            whole[:4, to], whole[4, to] = box[:, s], n_pixels[s]
            real[0, to], real[5, to] = sums[0, s], sums[2, s]
            real[1:3, to], real[3:5, to] = centre[:, s], variance[:, s]
            to += 1
    return whole, real


@inner
def _sum_counts(
    x: Indices,
    y: Indices,
    values: Singles,
    spot: Indices,
    box: Indices,
    sums: Singles,
    highest: Indices,
    n_pixels: Indices,
) -> None:
    """Set boxes (x0, x1, y0, y1), sums (counts, squares, highest), where that is."""
    for k in range(spot.size):
        s, value = spot[k], values[k]
        if n_pixels[s] == 0:
            box[0, s], box[1, s], box[2, s], box[3, s] = x[k], x[k], y[k], y[k]
        n_pixels[s] += 1
        box[0, s], box[1, s] = min(box[0, s], x[k]), max(box[1, s], x[k] + 1)
        box[2, s], box[3, s] = min(box[2, s], y[k]), max(box[3, s], y[k] + 1)
        sums[0, s] = np.float32(sums[0, s] + value)
        sums[1, s] = np.float32(sums[1, s] + np.float32(value * value))
        if value > sums[2, s]:
            sums[2, s] = value
            highest[s] = k


@inner
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
        centre[0, s] /= np.float64(sums[0, s])
        centre[1, s] /= np.float64(sums[0, s])
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
