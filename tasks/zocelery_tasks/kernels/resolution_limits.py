"""Three estimates of how far the spots of one image reach.

Each gives what `dials.algorithms.spot_finding.per_image_analysis` of DIALS 3.12 gives,
rounding included: the order of the sums and the scalar logarithm and powers, C's as
Python's are, are chosen so, because a spot can lie exactly on an edge. -1 stands for
"not computed".

References:
    Methods 1 and 2: Zhang, Sauter, van den Bedem, Snell & Deacon (2006),
    J. Appl. Cryst. 39, 112-119, section 2.4.4, https://doi.org/10.1107/S0021889805040677
    Outliers: Read (1999), Acta Cryst. D55, 1759-1764,
    https://doi.org/10.1107/S0907444999008471
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.inner import inner

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

NOT_COMPUTED = -1.0

_OUTLIER_AMPLITUDE = math.sqrt(-math.log(0.01))
"""A normalised amplitude that Wilson statistics exceed once in a hundred spots."""
_LOWER_PERCENTILE, _UPPER_PERCENTILE = 0.1, 0.9
_MIN_SPOTS_METHOD_1 = 10
"""Fewer give fewer than five points, and no slope to choose from."""
_MAX_POINTS_METHOD_1 = 40
_LEAST_SHELLS, _MOST_SHELLS = 20, 40
"""Of method 2."""


class ResolutionLimits(NamedTuple):
    """Resolution limits, d_min in Å; the noisiness of a method is from 0 to 1."""

    d_min_distl_method_1: float = NOT_COMPUTED
    d_min_distl_method_2: float = NOT_COMPUTED
    estimated_d_min: float = NOT_COMPUTED
    noisiness_method_1: float = NOT_COMPUTED
    noisiness_method_2: float = NOT_COMPUTED


def resolution_limits(
    sorted_q: Floats, q: Floats, intensity: Floats, variance: Floats, is_ice: Flags
) -> ResolutionLimits:
    """Return the limits of an image's spots.

    Args:
        sorted_q: the same as `q`, ascending.
        q: 1/d of all spots in 1/Å, shape (n,), above 1e-30 and below 1e30, as are
            intensities and variances.
        intensity: in counts.
        variance: of the intensity.
        is_ice: which spots lie on ice rings; `estimated_d_min` does without them.
    """
    return ResolutionLimits(*_limits(sorted_q, q, intensity, variance, is_ice))


@njit(cache=True, nogil=True)
def _limits(
    sorted_q: Floats, q: Floats, intensity: Floats, variance: Floats, is_ice: Flags
) -> tuple[float, float, float, float, float]:
    d_min_1, noisiness_1 = _method_1(sorted_q)
    d = 1 / np.sqrt(sorted_q * sorted_q)  # descending
    d_min_2, noisiness_2 = _method_2(d)
    estimate = NOT_COMPUTED
    if d.size > 0:
        edges = _equal_population_edges(d)
        estimate = _estimate_d_min(edges, q, intensity, variance, is_ice)
    return d_min_1, d_min_2, estimate, noisiness_1, noisiness_2


@njit(cache=True, nogil=True)
def _method_1(sorted_q: Floats) -> tuple[float, float]:
    """Find where the curve of 1/d³ against rank bends away from its chord.

    Its noisiness is 0 if it only steepens.
    """
    n = sorted_q.size
    if n < _MIN_SPOTS_METHOD_1:
        return NOT_COMPUTED, NOT_COMPUTED
    step = max(2, -(-n // _MAX_POINTS_METHOD_1))
    q = sorted_q[::step][: n // step]
    t = q * q * q
    slopes = np.empty(t.size - 1)
    for i in range(slopes.size):
        slopes[i] = (t[i + 1] - t[0]) / (i + 1)
    steepest = q[_widest_gap(t, int(np.argmax(slopes[3:])) + 4)]
    falls = 0
    for i in range(slopes.size):
        for j in range(i + 1, slopes.size):
            falls += slopes[i] >= slopes[j]
    pairs = (t.size - 1) * (t.size - 2) / 2
    return 1 / math.sqrt(steepest * steepest), falls / pairs


@njit(cache=True, nogil=True)
def _widest_gap(t: Floats, chord_end: int) -> int:
    """Return the last point whose distance from the chord is close to the largest.

    The chord runs from point 0 to point `chord_end`; close is within half a standard
    deviation of the distances.
    """
    run, rise = float(chord_end), t[chord_end] - t[0]
    length = math.sqrt(rise * rise + run * run)
    gaps = np.zeros(chord_end)
    for i in range(1, chord_end):
        gaps[i] = abs(rise / length * -i + -run / length * (t[0] - t[i]))
    squares, mean = 0.0, gaps.sum() / chord_end
    for i in range(chord_end):
        squares += (gaps[i] - mean) * (gaps[i] - mean)
    peak = int(np.argmax(gaps))
    close = gaps[peak] - 0.5 * math.sqrt(squares / (chord_end - 1))
    last = peak
    for i in range(peak + 1, chord_end):
        if gaps[i] > close:
            last = i
    return last


@njit(cache=True, nogil=True)
def _method_2(d: Floats) -> tuple[float, float]:
    """Find where shells of equal reciprocal volume run out of spots.

    The noisiness is 0 if their numbers only fall. Not computed if all spots share one
    d-spacing.

    Args:
        d: of all spots, descending.
    """
    edges = _equal_volume_edges(d)
    shells = edges.size - 1
    if shells < 1:
        return NOT_COMPUTED, NOT_COMPUTED
    counts = _count_in_shells(d, edges)
    few = 0.15 * ((counts[0] + counts[1]) / 2)
    last_shell = shells - 2
    for i in range(shells - 2, -1, -1):
        if counts[i] < few and counts[i + 1] < few:
            last_shell = i
    rises = 0
    for i in range(shells):
        for j in range(i + 1, shells):
            rises += counts[i] <= counts[j]
    return edges[last_shell + 1], rises / (0.5 * shells * (shells - 1))


@njit(cache=True, nogil=True)
def _count_in_shells(d: Floats, edges: Floats) -> Indices:
    """Return how many of `d`, which descends, are in each shell between edges."""
    shells = edges.size - 1
    counts, shell = np.zeros(shells, np.int64), -1
    for i in range(d.size):
        while shell < shells and edges[shell + 1] > d[i]:
            shell += 1
        if 0 <= shell < shells:
            counts[shell] += 1
    return counts


@njit(cache=True, nogil=True)
def _equal_volume_edges(d: Floats) -> Floats:
    """Return descending edges in d of 20 to 40 shells of equal reciprocal volume.

    The first shell is to hold the 25 (or 5 %, at most a quarter) lowest-resolution
    d-spacings of `d`, which descends. Empty if all spots share one d-spacing.
    """
    unique, n = np.empty_like(d), 0
    for i in range(d.size):
        if n == 0 or d[i] != unique[n - 1]:
            unique[n] = d[i]
            n += 1
    if n < 2:
        return np.empty(0)
    low_count = math.ceil(min(max(25, 0.05 * n), 0.25 * n))
    first = (1 / unique[0]) ** 3.0
    low, last = (1 / unique[low_count]) ** 3.0, (1 / unique[n - 1]) ** 3.0
    if not first < low:
        return np.empty(0)
    wanted = math.ceil(min((last - first) / (low - first), float(_MOST_SHELLS)))
    shells = max(_LEAST_SHELLS, wanted)
    step = (last - first) / shells
    edges = np.empty(shells + 1)
    for i in range(shells + 1):
        edges[i] = 1 / (first + i * step) ** (1 / 3)
    return edges


@njit(cache=True, nogil=True)
def _equal_population_edges(d: Floats) -> Floats:
    """Return descending edges in d of 5 to 20 shells with as many spots in each."""
    shells = max(min(d.size // 20, 20), 5)
    per_shell = d.size / shells
    edges = np.empty(shells + 1)
    edges[0] = d[0]
    for i in range(shells):
        edges[i + 1] = d[math.floor((i + 1) * per_shell + 0.5) - 1]
    return edges


@njit(cache=True, nogil=True)
def _estimate_d_min(
    edges: Floats, q: Floats, intensity: Floats, variance: Floats, is_ice: Flags
) -> float:
    """Find where ln(I/σ) of the strong spots falls off.

    In shells of equal population the 10th and 90th percentile of ln(I/σ) are found,
    ice and outliers left out, and a line is laid through each series. The highest
    resolution of all spots below the upper line is the answer.

    The lines pair the position of one percentile's spot with the height of the
    other's: so does DIALS, and its numbers are the reference.

    Returns:
        d_min in Å, or -1 where the lines are parallel or no spot lies below.
    """
    s, y = np.empty_like(q), np.empty_like(q)
    shell = np.empty(q.size, np.int64)
    for k in range(q.size):
        d = 1 / math.sqrt(q[k] * q[k])
        s[k] = 1 / (d * d)
        y[k] = math.log(intensity[k] / math.sqrt(variance[k]))
        shell[k] = _shell_of(d, edges)
    is_out = _wilson_outliers(intensity, shell, edges.size - 1, is_ice)
    lower, upper = _percentile_spots(y, shell, edges.size - 1, is_out)
    slope, intercept = _fit_line(s[lower], y[upper])
    if slope == _fit_line(s[upper], y[lower])[0]:
        return NOT_COMPUTED
    rise, highest_s = (slope + intercept) - intercept, 0.0
    for k in range(q.size):
        if not is_out[k] and (y[k] - intercept) - s[k] * rise < 0:
            highest_s = max(highest_s, s[k])
    return 1 / math.sqrt(highest_s) if highest_s > 0 else NOT_COMPUTED


@inner
def _shell_of(d: float, edges: Floats) -> int:
    """Return the shell with edges[i + 1] <= d < edges[i]; outside -1 and the last."""
    shell = -1
    while shell < edges.size - 1 and edges[shell + 1] > d:
        shell += 1
    return shell


@njit(cache=True, nogil=True)
def _wilson_outliers(
    intensity: Floats, shell: Indices, shells: int, is_ice: Flags
) -> Flags:
    """Flag spots too strong for their shell, again and again until none is left.

    Ice is flagged from the beginning; spots outside of all shells never are.
    """
    is_out, found = is_ice.copy(), True
    while found:
        found = False
        sums, counts = np.zeros(shells), np.zeros(shells, np.int64)
        for k in range(shell.size):
            if not is_out[k] and 0 <= shell[k] < shells:
                sums[shell[k]] += intensity[k]
                counts[shell[k]] += 1
        scale = np.sqrt(sums / np.maximum(counts, 1))
        for k in range(shell.size):
            if not is_out[k] and 0 <= shell[k] < shells:
                amplitude = math.sqrt(intensity[k]) / scale[shell[k]]
                if amplitude >= _OUTLIER_AMPLITUDE:
                    is_out[k] = found = True
    return is_out


@njit(cache=True, nogil=True)
def _percentile_spots(
    y: Floats, shell: Indices, shells: int, is_out: Flags
) -> tuple[Indices, Indices]:
    """Return the spots at the lower and the upper percentile of y in each shell.

    Shells without a spot are left out; among equal y the first spot comes first.
    """
    counts = np.zeros(shells, np.int64)
    for k in range(y.size):
        if not is_out[k] and 0 <= shell[k] < shells:
            counts[shell[k]] += 1
    lower, upper = np.zeros(shells, np.int64), np.zeros(shells, np.int64)
    passed = np.zeros(shells, np.int64)
    for k in np.argsort(y, kind="mergesort"):  # which is stable
        i = shell[k]
        if not is_out[k] and 0 <= i < shells:
            if passed[i] == math.floor(_LOWER_PERCENTILE * counts[i]):
                lower[i] = k
            if passed[i] == math.floor(_UPPER_PERCENTILE * counts[i]):
                upper[i] = k
            passed[i] += 1
    return lower[counts > 0], upper[counts > 0]


@njit(cache=True, nogil=True)
def _fit_line(x: Floats, y: Floats) -> tuple[float, float]:
    """Return slope and intercept by least squares; (0, 0) where x has no spread."""
    if x.size == 0 or x.min() == x.max():
        return 0.0, 0.0
    if y.min() == y.max():
        return 0.0, y[0]
    sum_x, sum_y, sum_xx, sum_xy = 0.0, 0.0, 0.0, 0.0
    for i in range(x.size):
        sum_x += x[i]
        sum_y += y[i]
        sum_xx += x[i] * x[i]
        sum_xy += x[i] * y[i]
    spread = x.size * sum_xx - sum_x * sum_x
    if spread == 0:
        return 0.0, 0.0
    slope = (x.size * sum_xy - sum_x * sum_y) / spread
    return slope, (sum_xx * sum_y - sum_x * sum_xy) / spread
