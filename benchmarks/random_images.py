"""Images of many kinds, to compare ways of finding strong pixels."""

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Image = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]
Shape = tuple[int, int]

DTYPES: tuple[type[np.integer], ...] = (np.uint8, np.uint16, np.uint32, np.int32)
SPOT_REACH = 20
"""Pixels from its middle to where a spot has nothing left."""


def random_image(
    rng: np.random.Generator, most: int = 48, shape: Shape | None = None
) -> tuple[Image, Mask]:
    """Return an image and its mask.

    Args:
        rng: draws it.
        most: pixels of a side, at most.
        shape: (slow, fast) instead.
    """
    if shape is None:
        shape = int(rng.integers(1, most)), int(rng.integers(1, most))
    counts = background(rng, shape)
    add_spots(rng, counts, int(rng.integers(0, 8)))
    if rng.random() < 0.3:
        add_extremes(rng, counts)
    mask = random_mask(rng, shape)
    return _recorded(rng, counts, mask, DTYPES[rng.integers(len(DTYPES))])


def image_on_edge(rng: np.random.Generator, shape: Shape) -> tuple[Image, Mask]:
    """Return an image with a smooth background, mostly high, and its mask.

    The higher the mean, the less do windows differ in what decides whether they are
    signal, and the more of them are on the edge of it.
    """
    level = 10 ** rng.uniform(0.3 if rng.random() < 0.3 else 2.5, 3.9)
    mean = np.full(shape, level)
    for _ in range(rng.integers(0, 60)):
        at = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        width, height = rng.uniform(0.6, 3), 10 ** rng.uniform(0, 2)
        y, x = np.ogrid[: shape[0], : shape[1]]
        r2 = (y - at[0]) ** 2 + (x - at[1]) ** 2
        mean += height * np.sqrt(level) * np.exp(-r2 / (2 * width**2))
    if rng.random() < 0.3:
        mean *= rng.gamma(1 / 0.02, 0.02, shape)
    mask = rng.random(shape) > rng.choice([0, 0.001, 0.02])
    if rng.random() < 0.5:
        mask[shape[0] // 2 :][: rng.integers(1, 20)] = False
    return _recorded(rng, rng.poisson(mean), mask, _drawn_wide(rng))


def overdispersed_image(rng: np.random.Generator, shape: Shape) -> tuple[Image, Mask]:
    """Return an image whose mean, up to 3 million, varies from pixel to pixel."""
    mean = 10 ** rng.uniform(0, 6.5 if rng.random() < 0.25 else 3.8)
    width = rng.uniform(0.02, 2)
    counts = rng.poisson(np.minimum(mean * rng.gamma(1 / width, width, shape), 3e7))
    add_spots(rng, counts, int(rng.integers(0, 6)))
    if rng.random() < 0.3:
        add_extremes(rng, counts)
    return _recorded(rng, counts, random_mask(rng, shape), _drawn_wide(rng))


def _drawn_wide(rng: np.random.Generator) -> type[np.integer]:
    """Draw a pixel type of more than 8 bits."""
    wide = DTYPES[1:]
    return wide[rng.integers(len(wide))]


def _recorded(
    rng: np.random.Generator, counts: Counts, mask: Mask, dtype: type[np.integer]
) -> tuple[Image, Mask]:
    """Return counts in a pixel type, most unusable ones flagged, and the mask."""
    top = np.iinfo(dtype).max
    image: Image = np.minimum(counts, top - 1).astype(dtype)
    flagged = ~mask & (rng.random(counts.shape) < 0.7)
    image[flagged] = -1 if dtype is np.int32 else top
    return image, mask


def background(rng: np.random.Generator, shape: Shape) -> Counts:
    """Return Poisson counts of any mean up to 5000, even, overdispersed or striped."""
    mean = np.full(shape, 10 ** rng.uniform(-2, 3.7 if rng.random() < 0.5 else 1.2))
    kind = rng.integers(4)
    if kind == 0:
        width = rng.uniform(0.05, 3)
        mean *= rng.gamma(1 / width, width, shape)
    if kind == 1:
        mean[:, rng.integers(shape[1]) :] *= 20
    return rng.poisson(mean)


def add_spots(rng: np.random.Generator, counts: Counts, n: int) -> None:
    """Add spots of random place, width and height."""
    for _ in range(n):
        at = rng.uniform(0, counts.shape[0]), rng.uniform(0, counts.shape[1])
        width, height = rng.uniform(0.4, 3), 10 ** rng.uniform(0.5, 4.5)
        corner = [max(0, int(place) - SPOT_REACH) for place in at]
        patch = counts[tuple(slice(c, c + 2 * SPOT_REACH) for c in corner)]
        y, x = np.ogrid[: patch.shape[0], : patch.shape[1]]
        r2 = (y + corner[0] - at[0]) ** 2 + (x + corner[1] - at[1]) ** 2
        patch += rng.poisson(height * np.exp(-r2 / (2 * width**2)))


def add_extremes(rng: np.random.Generator, counts: Counts) -> None:
    """Add hot pixels, also beyond 2**24, and one even patch."""
    rows, columns = counts.shape
    for _ in range(3):
        hot = int(10 ** rng.uniform(1, 8))
        counts[rng.integers(rows), rng.integers(columns)] += hot
    j, i, size = rng.integers(rows), rng.integers(columns), rng.integers(1, 12)
    counts[j : j + size, i : i + size] = int(10 ** rng.uniform(1, 7.5))


def random_mask(rng: np.random.Generator, shape: Shape) -> Mask:
    """Return a mask with bad pixels, gaps between modules, both or neither."""
    mask = np.ones(shape, np.bool_)
    if rng.random() < 0.5:
        mask &= rng.random(shape) > rng.uniform(0, 0.15)
    for _ in range(rng.integers(0, 3)):
        j, i = rng.integers(shape[0]), rng.integers(shape[1])
        mask[j : j + rng.integers(0, 14)] = False
        mask[:, i : i + rng.integers(0, 14)] = False
    return mask
