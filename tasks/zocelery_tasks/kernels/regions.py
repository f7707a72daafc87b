"""Which boxes of a grid belong together."""

import itertools

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.intp]


def connected_regions(places: Places) -> list[Places]:
    """Sort boxes into regions whose boxes touch at a side, an edge or a corner.

    Made for the few thousand boxes of a grid scan: to import scipy.ndimage would take
    longer than the centring of a grid.

    Args:
        places: of the boxes in any number of dimensions, shape (n, dimensions), in
            raster order and each but once.

    Returns:
        For each region the indices of its boxes in `places`, ascending. The regions
        come in the order of their first boxes.
    """
    if not len(places):
        return []
    first, second = _touching(places)
    region = np.arange(len(places))
    while len(first):
        # every region joins the earliest one that it touches, and whoever joined it
        lower, upper = np.sort((region[first], region[second]), axis=0)
        np.minimum.at(region, upper, lower)
        while not np.array_equal(region[region], region):
            region = region[region]
        apart = region[first] != region[second]
        first, second = first[apart], second[apart]
    order = np.argsort(region, kind="stable")
    _, starts = np.unique(region[order], return_index=True)
    return np.split(order, starts[1:])


def _touching(places: Places) -> tuple[Places, Places]:
    """Return the pairs of boxes that touch, each pair once."""
    corner = places.min(axis=0) - 1
    shape = tuple(places.max(axis=0) - corner + 2)
    numbers = np.full(shape, -1, dtype=np.intp)
    flat = np.ravel_multi_index(tuple((places - corner).T), shape)
    numbers.ravel()[flat] = np.arange(len(places))
    strides = np.array(numbers.strides) // numbers.itemsize
    steps = [
        int(strides @ offset)
        for offset in itertools.product((-1, 0, 1), repeat=len(shape))
        if offset > (0,) * len(shape)
    ]
    neighbours = [numbers.ravel()[flat + step] for step in steps]
    pairs = [(np.flatnonzero(there >= 0), there[there >= 0]) for there in neighbours]
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return first, second
