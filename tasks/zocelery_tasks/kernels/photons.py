"""Strong pixels of images that are photons by gain and pedestal, not counts.

DIALS itself always works on doubles. Here they take the way through summed-area tables,
which rounds as DIALS does, for any window; the faster ways are for whole numbers only.
"""

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.summed_area import NO_GAIN, strong_by_tables
from zocelery_tasks.kernels.threshold import Algorithm, DispersionSettings

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def strong_photons(
    photons: Doubles, valid: Mask, settings: DispersionSettings
) -> Indices:
    """Find the strong pixels of one image.

    Args:
        photons: shape (slow, fast); anything, NaN too, where a pixel is not valid.
        valid: True for usable pixels (slow, fast).
        settings: the threshold.

    Returns:
        Flat indices of the strong pixels, in raster order.

    Raises:
        ValueError: if a valid pixel is not finite, or the shapes are not the same.
    """
    if photons.ndim != 2 or valid.shape != photons.shape:
        raise ValueError(f"mask {valid.shape} is not of the image's {photons.shape}")
    counted = np.where(valid, photons, 0.0)
    if not np.isfinite(counted).all():
        raise ValueError("pixels that are not masked are not finite")
    gain = NO_GAIN
    if settings.gain is not None:
        gain = np.array(settings.gain, np.float64)
    if gain.ndim == 0:
        gain = np.full((1, photons.shape[1]), float(gain))
    limits = np.iinfo(np.int64)
    return strong_by_tables(
        counted,
        valid,
        limits.min,
        limits.max,
        gain,
        settings.threshold,
        settings.algorithm is Algorithm.DISPERSION_EXTENDED,
    )
