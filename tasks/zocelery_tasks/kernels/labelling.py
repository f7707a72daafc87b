"""Connected strong pixels, from their list alone."""

import numpy as np
import numpy.typing as npt
from numba import njit

Indices = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def label_pixels(indices: Indices, width: int) -> tuple[Indices, int]:
    """Number the groups of pixels that touch along an edge.

    Args:
        indices: flat indices of pixels, in raster order.
        width: pixels in an image row.

    Returns:
        For each pixel the number of its group, from 0 on in the order of the groups'
        first pixels; and how many groups there are.
    """
    root = np.arange(indices.size)
    above = 0
    for k in range(indices.size):
        at = indices[k]
        if k > 0 and indices[k - 1] == at - 1 and at % width != 0:
            _join(root, k, k - 1)
        while indices[above] < at - width:
            above += 1
        if indices[above] == at - width:
            _join(root, k, above)
    return root, _number_groups(root)


@njit(cache=True, nogil=True)
def _join(root: Indices, first: int, second: int) -> None:
    """Make one group of those of two pixels; its root is its first pixel."""
    a, b = _find_root(root, first), _find_root(root, second)
    root[max(a, b)] = min(a, b)


@njit(cache=True, nogil=True)
def _find_root(root: Indices, k: int) -> int:
    """Return the root of a pixel's group, shortening the way to it."""
    while root[k] != k:
        root[k] = root[root[k]]
        k = root[k]
    return k


@njit(cache=True, nogil=True)
def _number_groups(root: Indices) -> int:
    """Replace roots, which come before their pixels, by numbers; return how many."""
    count = 0
    for k in range(root.size):
        if root[k] == k:
            root[k] = count
            count += 1
        else:
            root[k] = root[root[k]]
    return count
