"""Random images with settings, looked at by us and by DIALS."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from benchmarks.dials import Dials
from benchmarks.random_images import (
    Image,
    Mask,
    Shape,
    image_on_edge,
    overdispersed_image,
    random_image,
)
from benchmarks.wire import Array
from zocelery_tasks.images.dials_rule import DialsRule
from zocelery_tasks.kernels.spots import find_spots
from zocelery_tasks.kernels.strong_pixels import StrongPixelFinder
from zocelery_tasks.kernels.threshold import Algorithm, DispersionSettings

SMALLEST, LARGEST = 3, 1000
"""Pixels of a spot."""
MAX_SEPARATION = 2.0
"""DIALS's default: pixels between a spot's highest pixel and its centroid."""


PLANTS: dict[str, Callable[[Any], Any]] = {
    "sigma_background": lambda sigma: sigma + 0.05,
    "sigma_strong": lambda sigma: sigma + 0.05,
    "global_threshold": lambda counts: counts + 3,
    "masked_pixels_block_erosion": lambda blocks: not blocks,
}
"""Mistakes that a comparison must notice, by the setting that is wrong."""


class Aim(StrEnum):
    """What cases are drawn to find."""

    ANYTHING = "anything"
    EDGE = "edge"
    """Windows that are as good as on the edge of being signal."""
    OVERDISPERSED = "overdispersed"
    """Images in which hardly a window can be rejected by a cheap test."""


@dataclass(frozen=True, eq=False)
class RandomCase:
    """An image, its mask, and how spots are to be found on it."""

    seed: int
    image: Image
    mask: Mask
    settings: DispersionSettings
    aim: Aim

    @property
    def highest(self) -> int:
        """The highest count that is usable; the lowest is 0."""
        return int(np.iinfo(self.image.dtype).max) - 1

    @property
    def valid(self) -> Mask:
        """Pixels that count."""
        return self.mask & (self.image >= 0) & (self.image <= self.highest)


@dataclass(frozen=True, eq=False)
class Answer:
    """What was found."""

    strong: Array
    """Flat indices in raster order."""
    spots: Array
    """A row for each; see `Dials.spots`."""


def random_case(
    seed: int,
    most: int = 60,
    shape: Shape | None = None,
    rule: DialsRule = DialsRule.V3_12,
    aim: Aim = Aim.ANYTHING,
) -> RandomCase:
    """Return a case that depends on nothing but the arguments.

    Args:
        seed: chooses all.
        most: pixels of a side, at most; those on the edge have 20 at least.
        shape: (slow, fast) instead.
        rule: which DIALS it is for.
        aim: what for.
    """
    rng = np.random.default_rng(seed)
    if aim is Aim.ANYTHING:
        image, mask = random_image(rng, most, shape)
        chosen = random_settings(rng, image.shape, rule)
        return RandomCase(seed, image, mask, chosen, aim)
    is_edge = aim is Aim.EDGE
    if shape is None:
        slow, fast = rng.integers(min(20, most), most + 1, 2).tolist()
        shape = slow, fast
    image, mask = (image_on_edge if is_edge else overdispersed_image)(rng, shape)
    chosen = (_settings_on_edge if is_edge else _settings_beside_defaults)(rng, rule)
    return RandomCase(seed, image, mask, chosen, aim)


def random_settings(
    rng: np.random.Generator, shape: tuple[int, ...], rule: DialsRule
) -> DispersionSettings:
    """Return mostly DIALS's defaults, sometimes anything."""
    chosen: dict[str, Any] = {"algorithm": list(Algorithm)[rng.integers(2)]}
    if rng.random() < 0.3:
        chosen["kernel"] = tuple(int(k) for k in rng.integers(1, 6, 2))
        chosen["sigma_background"] = rng.uniform(0, 8)
        chosen["sigma_strong"] = rng.uniform(0, 5)
        chosen["min_count"] = int(rng.choice([0, 2, 5]))
        chosen["global_threshold"] = rng.uniform(0, 10)
    if rng.random() < 0.15:
        chosen["gain"] = rng.uniform(0.3, 4, shape)
    chosen["masked_pixels_block_erosion"] = rule is DialsRule.V3_12
    return DispersionSettings(**chosen)


def _settings_on_edge(rng: np.random.Generator, rule: DialsRule) -> DispersionSettings:
    """Return settings by which some windows of a smooth image are signal, not all."""
    is_plain = rng.random() < 0.15
    return DispersionSettings(
        algorithm=Algorithm.DISPERSION if is_plain else Algorithm.DISPERSION_EXTENDED,
        sigma_background=float(rng.choice([1.0, 1.5, 2.0, 3.0, 4.0, 6.0])),
        sigma_strong=float(rng.choice([1.0, 2.0, 3.0])),
        masked_pixels_block_erosion=rule is DialsRule.V3_12,
    )


def _settings_beside_defaults(
    rng: np.random.Generator, rule: DialsRule
) -> DispersionSettings:
    """Return mostly DIALS's defaults, sometimes others with the same window."""
    chosen: dict[str, Any] = {"algorithm": list(Algorithm)[rng.integers(2)]}
    if rng.random() < 0.3:
        chosen["sigma_background"] = float(rng.choice([0.0, 1.0, 3.0, 6.0]))
        chosen["sigma_strong"] = float(rng.choice([0.0, 0.5, 1.0, 3.0, 5.0]))
        chosen["min_count"] = int(rng.choice([2, 0, 5, 30]))
        chosen["global_threshold"] = float(rng.choice([0.0, 3.5, 50.0, 1e5]))
    chosen["masked_pixels_block_erosion"] = rule is DialsRule.V3_12
    return DispersionSettings(**chosen)


def with_plant(case: RandomCase, name: str) -> RandomCase:
    """Return the case with one setting of `PLANTS` a little off."""
    changed: dict[str, Any] = {name: PLANTS[name](getattr(case.settings, name))}
    return replace(case, settings=replace(case.settings, **changed))


def our_answer(case: RandomCase) -> Answer:
    """Return what we find."""
    finder = StrongPixelFinder(case.settings)
    strong = finder.find(case.image, case.mask, 0, case.highest)
    return Answer(strong, our_spots(case, strong))


def our_spots(case: RandomCase, strong: Array) -> Array:
    """Return the spots that strong pixels make, as rows like DIALS's."""
    counts = case.image.reshape(-1)[strong]
    width = case.image.shape[1]
    table = find_spots(strong, counts, width, SMALLEST, LARGEST, MAX_SEPARATION)
    columns = (
        *(table.x0, table.x1, table.y0, table.y1, table.n_pixels),
        *(table.intensity, table.variance, table.x, table.y),
        *(table.variance_x, table.variance_y, table.peak),
    )
    return np.column_stack(columns).astype(np.float64)


def answer_of_dials(case: RandomCase, dials: Dials) -> Answer:
    """Return what DIALS finds."""
    dials.load(case.image, case.valid, case.settings.gain)
    _, strong = dials.threshold(case.settings)
    _, spots = dials.spots(SMALLEST, LARGEST)
    return Answer(strong, spots)
