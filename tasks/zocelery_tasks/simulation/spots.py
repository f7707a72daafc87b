"""Spots: what part of a flash falls into an exposure, and into which pixels."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zocelery_tasks.simulation.diffraction import Reflections
from zocelery_tasks.simulation.gaussian import FloatArray, gaussian_integral

_REACH = 5
"""Pixels from a spot's centre that it may light up."""

_FAINTEST_COUNTS = 0.2
_SQRT_2 = np.sqrt(2)


@dataclass(frozen=True)
class Exposure:
    """What the crystal does during one image."""

    number: int
    """0-based; chooses the noise."""
    phi: tuple[float, float]
    """Omega at start and end, degrees."""
    factor: float = 1.0
    """How much of the crystal is in the beam, 0 (none) to 1."""


@dataclass(frozen=True, eq=False)
class Spots:
    """The spots of one image; arrays of equal length."""

    x: FloatArray
    """Along the fast axis, pixels."""
    y: FloatArray
    """Along the slow axis, pixels."""
    counts: FloatArray
    """Expected, without background."""


def exposed_spots(
    flashes: Reflections, exposure: Exposure, mosaicity: float, scale: float
) -> Spots:
    """Return the spots of one image: Gaussian rocking curves, cut by the exposure.

    Args:
        flashes: of the whole sweep.
        exposure: which part of it.
        mosaicity: standard deviation of the rocking curve of a reflection that crosses
            the Ewald sphere at right angles, degrees.
        scale: counts per unit of `flashes.recorded`.
    """
    start, end = exposure.phi
    spread = mosaicity / flashes.zeta
    near = (flashes.phi > start - 4 * spread) & (flashes.phi < end + 4 * spread)
    phi = flashes.phi[near]
    part = gaussian_integral(start - phi, end - phi, spread[near] * _SQRT_2)
    counts = flashes.recorded[near] * part * scale * exposure.factor
    bright = counts > _FAINTEST_COUNTS
    return Spots(flashes.x[near][bright], flashes.y[near][bright], counts[bright])


def lit_pixels(
    spots: Spots, shape: tuple[int, int], point_spread: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return numbers of pixels, some several times, and the counts expected in each.

    Args:
        spots: of one image.
        shape: of the detector, (slow, fast); pixel (y, x) has the number y * fast + x.
        point_spread: standard deviation of a spot, pixels.
    """
    slow, fast = shape
    columns, across = _profiles(spots.x, point_spread)
    rows, down = _profiles(spots.y, point_spread)
    counts = spots.counts[:, None, None] * down[:, :, None] * across[:, None, :]
    inside = ((rows >= 0) & (rows < slow))[:, :, None] & (
        (columns >= 0) & (columns < fast)
    )[:, None, :]
    numbers = rows[:, :, None] * fast + columns[:, None, :]
    return numbers[inside], counts[inside].astype(np.float32)


def _profiles(
    centres: FloatArray, point_spread: float
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return the pixels along one axis that each spot covers, and its share in each.

    Both are (n, 2 * reach + 1).
    """
    first = np.floor(centres).astype(np.int64)
    pixels = first[:, None] + np.arange(-_REACH, _REACH + 1)
    centre = centres[:, None]
    width = point_spread * _SQRT_2
    return pixels, gaussian_integral(pixels - centre, pixels + 1 - centre, width)
