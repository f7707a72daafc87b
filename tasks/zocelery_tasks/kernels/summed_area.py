"""Both thresholds for any kernel, gain and count: DIALS's formulas as they stand.

DIALS takes the sums over a window from summed-area tables of doubles. So does this
module, operation by operation, so that it rounds as DIALS does even where the tables
are no longer exact (sums of squares over the image above 2**53); but it keeps only the
rows of the tables that the window needs. Several times slower than the modules that
look for the few pixels in question first; those fall back to this one.

Source: dials 3.12.1, `algorithms/image/threshold/local.h`.
"""

from math import sqrt

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.threshold import COUNT_LIMIT, Threshold

Doubles = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.integer | np.floating]
Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

NO_GAIN = np.empty((0, 0))
_SIGNAL = 0
"""The window is signal by its dispersion."""
_STRONG = 1
"""So it is, and the pixel is above the window's mean."""
_ABOVE_MEAN = 2
"""The pixel is above the mean of the counted pixels."""


def strong_by_tables(
    pixels: Pixels,
    usable: Mask,
    lowest: int,
    highest: int,
    gain: Doubles,
    threshold: Threshold,
    extended: bool,
) -> Indices:
    """Find strong pixels: the flat indices in raster order.

    Args:
        pixels: counts or photons (slow, fast).
        usable: mask (slow, fast); pixels must also be within `lowest` and `highest`.
        lowest: lowest usable count.
        highest: highest usable count.
        gain: shape (slow, fast), or (1, fast) for all rows, or NO_GAIN.
        threshold: the parameters.
        extended: dispersion_extended instead of dispersion.
    """
    valid = np.ascontiguousarray(usable & (pixels >= lowest) & (pixels <= highest))
    pixels = np.array(pixels, np.float64, order="C")  # so that all is compiled once
    kernel = (threshold.kernel_slow, threshold.kernel_fast)
    strong = np.empty(pixels.shape, np.bool_)
    stage = _SIGNAL if extended else _STRONG
    _threshold_rows(pixels, valid, valid, strong, gain, threshold, kernel, stage)
    if extended:
        if not threshold.masked_pixels_block_erosion:
            strong |= ~valid
        _erode(strong, min(kernel) - 1)
        background = valid & ~strong
        kernel = (kernel[0] + 2, kernel[1] + 2)
        _threshold_rows(
            pixels, valid, background, strong, gain, threshold, kernel, _ABOVE_MEAN
        )
    return np.flatnonzero(strong)


@njit(cache=True, nogil=True)
def _threshold_rows(
    pixels: Pixels,
    valid: Mask,
    counted: Mask,
    result: Mask,
    gain: Doubles,
    threshold: Threshold,
    kernel: tuple[int, int],
    stage: int,
) -> None:
    """Slide the tables over the image and apply one test to each row.

    Args:
        pixels: counts (slow, fast).
        valid: pixels that may be strong.
        counted: pixels that enter the sums (those below COUNT_LIMIT).
        result: set, or narrowed by the test _ABOVE_MEAN.
        gain: see `strong_by_tables`.
        threshold: the parameters.
        kernel: half sizes of the window (slow, fast).
        stage: which test; see the constants.
    """
    n_rows, n = pixels.shape
    slow, fast = min(kernel[0], n_rows), min(kernel[1], n)
    n_ring = min(2 * slow + 2, n_rows + 1)
    ring = np.zeros((n_ring, 3, n + 2 * fast + 1))
    none = np.zeros((3, n + 2 * fast + 1))
    gain_row = np.ones(n)
    filled = 0
    for j in range(n_rows):
        while filled < min(j + slow + 1, n_rows):
            before, table = ring[filled % n_ring], ring[(filled + 1) % n_ring]
            _add_row(pixels[filled], counted[filled], before, table, fast)
            filled += 1
        above = ring[(j - slow) % n_ring] if j > slow else none
        if gain.size:
            gain_row = gain[j % gain.shape[0]]
        if stage == _ABOVE_MEAN:
            _keep_above_mean(
                pixels[j],
                valid[j],
                above,
                ring[filled % n_ring],
                gain_row,
                threshold.sigma_strong,
                threshold.global_threshold,
                result[j],
            )
        else:
            _test_row(
                pixels[j],
                valid[j],
                above,
                ring[filled % n_ring],
                gain_row,
                gain.size > 0,
                threshold,
                stage,
                result[j],
            )


@njit(cache=True, nogil=True)
def _add_row(
    row: Pixels, counted: Mask, before: Doubles, table: Doubles, fast: int
) -> None:
    """Set one row of the tables of count, sum and sum of squares, (3, fast + padding).

    Column i stands at i + fast + 1, after zeros and before copies of the last one, so
    that windows over the edges need no case of their own.
    """
    n, first = row.size, fast + 1
    count, total, squares = 0.0, 0.0, 0.0
    for i in range(n):
        value = np.float64(row[i])
        one = np.float64(counted[i] & (value < COUNT_LIMIT))
        count += one
        total += one * value
        squares += one * value * value
        table[0, first + i] = before[0, first + i] + count
        table[1, first + i] = before[1, first + i] + total
        table[2, first + i] = before[2, first + i] + squares
    for k in range(3):
        table[k, first + n :] = table[k, first + n - 1]


@njit(cache=True, nogil=True)
def _box(above: Doubles, below: Doubles, width: int, i: int) -> float:
    """Return the sum over a window, added up in DIALS's order."""
    return float((above[i] - (below[i] + above[i + width])) + below[i + width])


@njit(cache=True, nogil=True)
def _test_row(
    row: Pixels,
    valid: Mask,
    above: Doubles,
    below: Doubles,
    gain: Doubles,
    has_gain: bool,
    threshold: Threshold,
    stage: int,
    result: Mask,
) -> None:
    """Test a row for signal or strong pixels, `gain` (fast,) being 1 without a gain."""
    width = below.shape[1] - row.size
    sigma_b, sigma_s = threshold.sigma_background, threshold.sigma_strong
    for i in range(row.size):
        m = _box(above[0], below[0], width, i)
        x = _box(above[1], below[1], width, i)
        y = _box(above[2], below[2], width, i)
        value, g = np.float64(row[i]), gain[i]
        ok = valid[i] & (m >= threshold.min_count) & (x >= 0)
        if stage == _STRONG:
            ok &= value > threshold.global_threshold
            ok &= m * value - x > sigma_s * sqrt(g * x * m)
        root = sqrt(2 * (m - 1))
        if has_gain:
            is_signal = m * y - x * x > g * x * (m - 1 + sigma_b * root)
        else:  # the same but for rounding
            is_signal = m * y - x * x - x * (m - 1) > x * sigma_b * root
        result[i] = ok & is_signal


@njit(cache=True, nogil=True)
def _keep_above_mean(
    row: Pixels,
    valid: Mask,
    above: Doubles,
    below: Doubles,
    gain: Doubles,
    sigma_strong: float,
    global_threshold: float,
    result: Mask,
) -> None:
    """Keep those pixels of `result` that are above the mean of the background."""
    width = below.shape[1] - row.size
    for i in range(row.size):
        m = _box(above[0], below[0], width, i)
        x = _box(above[1], below[1], width, i)
        mean = x / m if m >= 2 else 0.0
        value = np.float64(row[i])
        ok = valid[i] & (x >= 0) & (value > global_threshold)
        result[i] &= ok & (value >= mean + sigma_strong * sqrt(gain[i] * mean))


@njit(cache=True, nogil=True)
def _erode(signal: Mask, reach: int) -> None:
    """Keep pixels if all those within `reach` in the image are signal, in place."""
    n_rows, n = signal.shape
    for j in range(n_rows):
        _erode_row(signal[j], reach)
    kept = np.empty(signal.shape, np.bool_)
    blocked = np.zeros(n, np.int64)
    for j in range(min(reach, n_rows)):
        blocked += ~signal[j]
    for j in range(n_rows):
        if j + reach < n_rows:
            blocked += ~signal[j + reach]
        if j > reach:
            blocked -= ~signal[j - reach - 1]
        kept[j] = blocked == 0
    signal[:] = kept


@njit(cache=True, nogil=True)
def _erode_row(row: Mask, reach: int) -> None:
    """Keep pixels of one row if all those within `reach` are signal, in place."""
    original = row.copy()
    for i in range(row.size):
        if not original[i]:
            row[max(i - reach, 0) : i + reach + 1] = False
