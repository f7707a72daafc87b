"""DIALS's thresholds in plain numpy: slow, and near to the formulas as they stand.

`dials/algorithms/image/threshold/local.h` of dials 3.12.1, with its order of rounding.
"""

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.threshold import Algorithm, DispersionSettings

Mask = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]

BIG = 2**24


def window_sums(values: Doubles, kernel: tuple[int, int]) -> Doubles:
    """Sum over windows, clipped at the image's edges, by a summed-area table."""
    rows, columns = values.shape
    slow, fast = kernel
    table = np.zeros((rows + 1, columns + 1))
    table[1:, 1:] = np.cumsum(np.cumsum(values, axis=1), axis=0)
    j, i = np.arange(rows), np.arange(columns)
    j0, j1 = np.maximum(j - slow, 0), np.minimum(j + slow, rows - 1) + 1
    i0, i1 = np.maximum(i - fast, 0), np.minimum(i + fast, columns - 1) + 1
    corners = table[np.ix_(j1, i0)] + table[np.ix_(j0, i1)]
    return (table[np.ix_(j0, i0)] - corners) + table[np.ix_(j1, i1)]


def signal_windows(
    image: Doubles, valid: Mask, settings: DispersionSettings
) -> tuple[Mask, Doubles, Doubles]:
    """Return what passes the dispersion test, and count and sum of the windows."""
    kernel, threshold = settings.kernel, settings.threshold
    counted = (valid & (image < BIG)).astype(float)
    m = window_sums(counted, kernel)
    x = window_sums(counted * image, kernel)
    y = window_sums(counted * image * image, kernel)
    with np.errstate(invalid="ignore"):
        root = np.sqrt(2 * (m - 1))
        if settings.gain is None:
            a = m * y - x * x - x * (m - 1)
            c = x * threshold.sigma_background * root
        else:
            a = m * y - x * x
            c = settings.gain * x * (m - 1 + threshold.sigma_background * root)
        return valid & (m >= threshold.min_count) & (x >= 0) & (a > c), m, x


def eroded(signal: Mask, reach: int) -> Mask:
    """Keep pixels whose neighbours up to `reach` within the image are all True."""
    padded = np.pad(signal, reach, constant_values=True)
    views = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1,) * 2)
    return views.all(axis=(2, 3))


def dispersion(image: Doubles, valid: Mask, settings: DispersionSettings) -> Mask:
    signal, m, x = signal_windows(image, valid, settings)
    gain = 1.0 if settings.gain is None else settings.gain
    with np.errstate(invalid="ignore"):
        above = m * image - x > settings.sigma_strong * np.sqrt(gain * x * m)
    return signal & above & (image > settings.global_threshold)


def dispersion_extended(
    image: Doubles, valid: Mask, settings: DispersionSettings
) -> Mask:
    signal, _, _ = signal_windows(image, valid, settings)
    if not settings.masked_pixels_block_erosion:
        signal |= ~valid
    signal = eroded(signal, min(settings.kernel) - 1) & valid
    kernel = (settings.kernel[0] + 2, settings.kernel[1] + 2)
    counted = (valid & ~signal & (image < BIG)).astype(float)
    m, x = window_sums(counted, kernel), window_sums(counted * image, kernel)
    mean = np.where(m >= 2, x / np.maximum(m, 1), 0)
    gain = 1.0 if settings.gain is None else settings.gain
    with np.errstate(invalid="ignore"):
        above = image >= mean + settings.sigma_strong * np.sqrt(gain * mean)
    return signal & above & (x >= 0) & (image > settings.global_threshold)


def strong_pixels(
    image: npt.NDArray[np.integer], valid: Mask, settings: DispersionSettings
) -> npt.NDArray[np.int64]:
    """Return the flat indices of the strong pixels, in raster order."""
    extended = settings.algorithm is Algorithm.DISPERSION_EXTENDED
    find = dispersion_extended if extended else dispersion
    return np.flatnonzero(find(image.astype(np.float64), valid, settings))
