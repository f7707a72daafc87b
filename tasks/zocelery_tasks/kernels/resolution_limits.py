"""Three estimates of how far the spots of one image reach.

Each gives what `dials.algorithms.spot_finding.per_image_analysis` of DIALS 3.12 gives,
rounding included: the order of the sums and the scalar `math.log` and `**` where a spot
can lie exactly on an edge are chosen so. -1 stands for "not computed".

References:
    Methods 1 and 2: Zhang, Sauter, van den Bedem, Snell & Deacon (2006),
    J. Appl. Cryst. 39, 112-119, section 2.4.4, https://doi.org/10.1107/S0021889805040677
    Outliers: Read (1999), Acta Cryst. D55, 1759-1764,
    https://doi.org/10.1107/S0907444999008471
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NOT_COMPUTED = -1.0

_OUTLIER_AMPLITUDE = math.sqrt(-math.log(0.01))
"""A normalised amplitude that Wilson statistics exceed once in a hundred spots."""
_PERCENTILES = (0.1, 0.9)
_MIN_SPOTS_METHOD_1 = 10
"""Fewer give fewer than five points, and no slope to choose from."""
_MAX_POINTS_METHOD_1 = 40
_SHELLS_METHOD_2 = (20, 40)


def _shell_of(d: Floats, edges: Floats) -> npt.NDArray[np.intp]:
    """Return which shell each d falls into: edges[i + 1] <= d < edges[i].

    `edges` descend. -1 and len(edges) - 1 stand for outside on either side.
    """
    return np.asarray(np.searchsorted(-edges, -d, side="left") - 1)


def _equal_population_edges(d: Floats) -> Floats:
    """Return descending edges in d of 5 to 20 shells with as many spots in each."""
    count = len(d)
    shells = max(min(count // 20, 20), 5)
    d_descending = np.sort(d)[::-1]
    per_shell = count / shells
    last_of_shell = [math.floor((i + 1) * per_shell + 0.5) - 1 for i in range(shells)]
    return np.asarray(d_descending[[0, *last_of_shell]])


def _wilson_outliers(
    intensity: Floats, shell: npt.NDArray[np.intp], shells: int
) -> Flags:
    """Flag spots too strong for their shell, again and again until none is left.

    Spots outside of all shells are never flagged.
    """
    amplitude = np.sqrt(intensity)
    active = (shell >= 0) & (shell < shells)
    flagged = np.zeros(len(shell), dtype=bool)
    while True:
        inside = shell[active]
        sums = np.bincount(inside, weights=intensity[active], minlength=shells)
        counts = np.bincount(inside, minlength=shells)
        scale = np.sqrt(sums / np.maximum(counts, 1))[inside]
        too_strong = amplitude[active] / scale >= _OUTLIER_AMPLITUDE
        if not too_strong.any():
            return flagged
        where = np.flatnonzero(active)[too_strong]
        flagged[where] = True
        active[where] = False


def _fit_line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Return slope and intercept by least squares; (0, 0) where x has no spread."""
    if not x or min(x) == max(x):
        return 0.0, 0.0
    if min(y) == max(y):
        return 0.0, y[0]
    count = float(len(x))
    sum_x, sum_y, sum_xx, sum_xy = x[0], y[0], x[0] * x[0], x[0] * y[0]
    for x_i, y_i in zip(x[1:], y[1:], strict=True):
        sum_x += x_i
        sum_y += y_i
        sum_xx += x_i * x_i
        sum_xy += x_i * y_i
    spread = count * sum_xx - sum_x * sum_x
    if spread == 0:
        return 0.0, 0.0
    slope = (count * sum_xy - sum_x * sum_y) / spread
    return slope, (sum_xx * sum_y - sum_x * sum_xy) / spread


def _percentile_spots(
    y: Floats, shell: npt.NDArray[np.intp], shells: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the spots at the lower and the upper percentile of y in each shell.

    Shells without a spot are left out; among equal y the first spot comes first.
    """
    order = np.lexsort((y, shell))
    order = order[(shell[order] >= 0) & (shell[order] < shells)]
    counts = np.bincount(shell[order], minlength=shells)
    starts = np.cumsum(counts) - counts
    counts, starts = counts[counts > 0], starts[counts > 0]
    lower, upper = (
        order[starts + np.floor(fraction * counts).astype(np.intp)]
        for fraction in _PERCENTILES
    )
    return lower, upper


def estimate_d_min(
    d: Floats, intensity: Floats, variance: Floats, is_ice: Flags
) -> float:
    """Estimate d_min from where ln(I/σ) of the strong spots falls off.

    In shells of equal population the 10th and 90th percentile of ln(I/σ) are found,
    ice and outliers left out, and a line is laid through each series. The highest
    resolution of all spots below the upper line is the answer.

    The lines pair the position of one percentile's spot with the height of the
    other's: so does DIALS, and its numbers are the reference.

    Args:
        d: in Å.
        intensity: positive.
        variance: positive.
        is_ice: which spots lie on ice rings.

    Returns:
        d_min in Å, or -1 where the lines are parallel or no spot lies below.
    """
    if not len(d) or is_ice.all():
        return NOT_COMPUTED
    edges = _equal_population_edges(d)
    shells = len(edges) - 1
    d, intensity, variance = d[~is_ice], intensity[~is_ice], variance[~is_ice]
    s = 1 / (d * d)
    shell = _shell_of(d, edges)
    # numpy's own log may differ in the last digit from one processor to the next
    ratios = (intensity / np.sqrt(variance)).tolist()
    y = np.fromiter(map(math.log, ratios), np.float64, len(ratios))
    outlier = _wilson_outliers(intensity, shell, shells)
    kept = np.flatnonzero(~outlier)
    lower, upper = _percentile_spots(y[kept], shell[kept], shells)
    lower, upper = kept[lower], kept[upper]
    slope, intercept = _fit_line(s[lower].tolist(), y[upper].tolist())
    if slope == _fit_line(s[upper].tolist(), y[lower].tolist())[0]:
        return NOT_COMPUTED
    rise = (slope + intercept) - intercept
    below = ((y - intercept) - s * rise < 0) & ~outlier
    return 1 / math.sqrt(s[below].max()) if below.any() else NOT_COMPUTED


def _widest_gap(t: Floats, chord_end: int) -> int:
    """Return the last point whose distance from the chord is close to the largest.

    The chord runs from point 0 to point `chord_end`; close is within half a standard
    deviation of the distances.
    """
    i = np.arange(1, chord_end)
    run, rise = float(chord_end), t[chord_end] - t[0]
    length = math.sqrt(rise * rise + run * run)
    distances = np.abs(rise / length * -i + -run / length * (t[0] - t[1:chord_end]))
    gaps = np.concatenate(([0.0], distances))
    peak = int(np.argmax(gaps))
    near = gaps > gaps[peak] - 0.5 * gaps.std(ddof=1)
    near[: peak + 1] = False
    return int(np.flatnonzero(near)[-1]) if near.any() else peak


def distl_method_1(q: Floats) -> tuple[float, float]:
    """Estimate d_min where the curve of 1/d³ against rank bends away from its chord.

    Args:
        q: 1/d of all spots in 1/Å.

    Returns:
        d_min in Å and the noisiness, 0 (the curve only steepens) to 1; both -1 for
        fewer than ten spots.
    """
    if len(q) < _MIN_SPOTS_METHOD_1:
        return NOT_COMPUTED, NOT_COMPUTED
    step = max(2, -(-len(q) // _MAX_POINTS_METHOD_1))
    q = np.sort(q)[::step][: len(q) // step]
    t = q * q * q
    slopes = (t[1:] - t[0]) / np.arange(1, len(t))
    chord_end = int(np.argmax(slopes[3:])) + 4
    d_min = 1 / math.sqrt(q[_widest_gap(t, chord_end)] ** 2)
    pairs = np.triu(slopes[:, None] >= slopes[None, :], k=1)
    return d_min, int(pairs.sum()) / ((len(t) - 1) * (len(t) - 2) / 2)


def _equal_volume_edges(d: Floats) -> Floats | None:
    """Return descending edges in d of 20 to 40 shells of equal reciprocal volume.

    The first shell is to hold the 25 (or 5 %, at most a quarter) lowest-resolution
    d-spacings. None if all spots share one d-spacing.
    """
    d = np.unique(d)[::-1]
    if len(d) < 2:
        return None
    low_count = math.ceil(min(max(25, 0.05 * len(d)), 0.25 * len(d)))
    first, low, last = ((1 / x) ** 3.0 for x in d[[0, low_count, -1]].tolist())
    if not first < low:
        return None
    least, most = _SHELLS_METHOD_2
    shells = max(least, math.ceil(min((last - first) / (low - first), most)))
    step = (last - first) / shells
    return np.array(
        [1 / (first + i * step) ** (1 / 3) for i in range(shells + 1)], dtype=np.float64
    )


def distl_method_2(d: Floats) -> tuple[float, float]:
    """Estimate d_min where shells of equal reciprocal volume run out of spots.

    Args:
        d: of all spots in Å.

    Returns:
        d_min in Å and the noisiness, 0 (counts only fall) to 1; both -1 if the spots
        share one d-spacing.
    """
    edges = _equal_volume_edges(d)
    if edges is None:
        return NOT_COMPUTED, NOT_COMPUTED
    shells = len(edges) - 1
    shell = _shell_of(d, edges)
    counts = np.bincount(shell[(shell >= 0) & (shell < shells)], minlength=shells)
    few = counts < 0.15 * ((counts[0] + counts[1]) / 2)
    empty = np.flatnonzero(few[:-1] & few[1:])
    last_shell = int(empty[0]) if len(empty) else shells - 2
    pairs = np.triu(counts[:, None] <= counts[None, :], k=1)
    return float(edges[last_shell + 1]), int(pairs.sum()) / (
        0.5 * shells * (shells - 1)
    )
