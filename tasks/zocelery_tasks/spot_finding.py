"""Find the spots of an image as `dials.find_spots` does, bit for bit.

Compared with DIALS 3.12.1; `SpotFindingSettings.dials_rule` is what changed later.
"""

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from zocelery.errors import ImageError
from zocelery_tasks.images.dials_rule import DialsRule
from zocelery_tasks.kernels.photons import strong_photons
from zocelery_tasks.kernels.resolution import Plane, inverse_resolution
from zocelery_tasks.kernels.spots import SpotTable, find_spots
from zocelery_tasks.kernels.statistics import (
    MIN_SPOTS_FOR_RESOLUTION,
    spot_statistics,
)
from zocelery_tasks.kernels.strong_pixels import StrongPixelFinder
from zocelery_tasks.kernels.threshold import Algorithm, DispersionSettings

__all__ = [
    "SpotFinder",
    "SpotFindingSettings",
    "SpotTable",
    "StrongPixels",
    "warm_up",
]

Pixels = npt.NDArray[Any]
"""Counts, or photons as doubles, shape (slow, fast)."""
Mask = npt.NDArray[np.bool_]
"""Shape (slow, fast); True where a pixel is usable."""

_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, eq=False)
class StrongPixels:
    """The strong pixels of one panel of one image, in raster order."""

    shape: tuple[int, int]
    """Of the panel, (slow, fast), pixels."""
    index: npt.NDArray[np.int64]
    """Flat indices, shape (n,)."""
    counts: npt.NDArray[Any]
    """Counts or photons of each, shape (n,)."""

    @classmethod
    def of(
        cls, pixels: npt.NDArray[Any], index: npt.NDArray[np.int64]
    ) -> "StrongPixels":
        """Return those of `pixels` (slow, fast) that `index` chooses."""
        slow, fast = pixels.shape
        return cls((slow, fast), index, pixels.reshape(-1)[index])


class SpotFindingSettings(BaseModel):
    """Parameters of spot finding, with DIALS's meaning and defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: Algorithm = Algorithm.DISPERSION_EXTENDED
    kernel_size: tuple[PositiveInt, PositiveInt] = (3, 3)
    """Half sizes of the window (slow, fast), pixels."""
    sigma_background: _NotNegative = 6.0
    """Standard deviations of the index of dispersion that make a window signal."""
    sigma_strong: _NotNegative = 3.0
    """Standard deviations above the mean that make a pixel strong."""
    min_local: int = 2
    """Usable pixels that a window needs; 0 or less means all of them."""
    global_threshold: _NotNegative = 0.0
    """A strong pixel has more counts than this."""
    gain: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Counts per photon."""
    max_strong_pixel_fraction: Annotated[float, Field(gt=0, le=1)] = 0.25
    """An image with a larger share of strong pixels is refused; 1 refuses none."""
    min_spot_size: PositiveInt | None = None
    """Fewest pixels of a spot; None leaves it to the kind of detector."""
    max_spot_size: PositiveInt = 1000
    """Most pixels of a spot."""
    max_separation: _NotNegative | None = 2.0
    """Largest distance of a spot's highest pixel from its centroid, pixels."""
    dials_rule: DialsRule = DialsRule.V3_12
    """From 3.24 on, pixels near unusable ones may be strong in dispersion_extended
    (dials pull request 2790). What counts as usable is the caller's."""

    @model_validator(mode="after")
    def _check_threshold(self) -> Self:
        self.threshold_settings()
        return self

    def threshold_settings(self) -> DispersionSettings:
        """Return the settings of the threshold alone."""
        return DispersionSettings(
            algorithm=self.algorithm,
            kernel=self.kernel_size,
            sigma_background=self.sigma_background,
            sigma_strong=self.sigma_strong,
            min_count=self.min_local,
            global_threshold=self.global_threshold,
            gain=self.gain,
            masked_pixels_block_erosion=self.dials_rule is DialsRule.V3_12,
        )


class SpotFinder:
    """Finds spots in one image after the other.

    Keeps memory for the shape of the last image: a few megabytes, and 8 bytes for
    each strong pixel that an image has had. One finder is for one thread at a time;
    while it works, other threads run.
    """

    def __init__(self, settings: SpotFindingSettings | None = None) -> None:
        self.settings = settings or SpotFindingSettings()
        self._strong_pixels: list[StrongPixelFinder] = []
        """One for each panel, since each remembers its mask."""

    def find(
        self,
        pixels: Pixels,
        valid_mask: Mask,
        trusted: tuple[int, int],
        min_spot_size: int,
    ) -> SpotTable:
        """Find the spots of one image.

        Args:
            pixels: counts (slow, fast), integers of up to 32 bits; or photons, doubles,
                for which the threshold takes a slower way.
            valid_mask: True for the detector's usable pixels (slow, fast). A read-only
                array is taken not to change, and looked through only once.
            trusted: lowest and highest usable count, both included; of photons the mask
                alone says which are usable.
            min_spot_size: fewest pixels of a spot, unless the settings say. DIALS takes
                3 for pixel-array detectors (SENSOR_PAD) and 6 for others.

        Raises:
            ImageError: if the pixels are no such numbers, if shapes do not agree, or
                if too large a share of the pixels is strong.
        """
        panel = (pixels, valid_mask)
        return self.find_on_panels([panel], trusted, min_spot_size)[0]

    def find_on_panels(
        self,
        panels: Sequence[tuple[Pixels, Mask]],
        trusted: tuple[int, int],
        min_spot_size: int,
    ) -> list[SpotTable]:
        """Find the spots of an image that has been taken by several panels.

        Each panel is an image of its own to the threshold, and no spot reaches from
        one to the next; only the share of strong pixels is one for all.

        Args:
            panels: pixels and mask of each, as `find` takes them.
            trusted: lowest and highest usable count, both included, of any panel.
            min_spot_size: see `find`.

        Returns:
            The spots of each panel, their positions from the panel's first pixel.

        Raises:
            ImageError: see `find`.
        """
        strong = self.strong_pixels(panels, trusted)
        return self.group(strong, min_spot_size)

    def strong_pixels(
        self, panels: Sequence[tuple[Pixels, Mask]], trusted: tuple[int, int]
    ) -> list[StrongPixels]:
        """Return each panel's strong pixels.

        Takes, and raises, what `find_on_panels` does.
        """
        most = self.settings.max_strong_pixel_fraction
        try:
            strong = self._find_strong_pixels(panels, trusted)
        except (TypeError, ValueError) as error:
            raise ImageError(f"spots cannot be found: {error}") from error
        found, n_pixels = sum(map(len, strong)), sum(p.size for p, _ in panels)
        if found > ceil(most * n_pixels):
            raise ImageError(
                f"{found} of {n_pixels} pixels are strong, more than "
                f"max_strong_pixel_fraction={most} allows"
            )
        pairs = zip(panels, strong, strict=True)
        return [StrongPixels.of(pixels, index) for (pixels, _), index in pairs]

    def group(
        self, strong: Sequence[StrongPixels], min_spot_size: int
    ) -> list[SpotTable]:
        """Return the spots that the strong pixels of each panel make."""
        settings = self.settings
        return [
            find_spots(
                panel.index,
                panel.counts,
                panel.shape[1],
                settings.min_spot_size or min_spot_size,
                settings.max_spot_size,
                settings.max_separation,
            )
            for panel in strong
        ]

    def _find_strong_pixels(
        self,
        panels: Sequence[tuple[Pixels, Mask]],
        trusted: tuple[int, int],
    ) -> list[npt.NDArray[np.int64]]:
        """Return the flat indices of each panel's strong pixels."""
        while len(self._strong_pixels) < len(panels):
            settings = self.settings.threshold_settings()
            self._strong_pixels.append(StrongPixelFinder(settings))
        found = []
        for finder, (pixels, mask) in zip(self._strong_pixels, panels, strict=False):
            if pixels.dtype == np.float64:
                found.append(strong_photons(pixels, mask, finder.settings))
            else:
                found.append(finder.find(pixels, mask, *trusted))
        return found


def warm_up(algorithms: Iterable[Algorithm] = tuple(Algorithm)) -> None:
    """Compile, or load from Numba's cache, whatever finding spots may need.

    For counts of any type, photons, and gains, and for what is told of spots. Takes up
    to a minute the first time and a second or two later; without it the first images
    pay.
    """
    chosen = list(algorithms)
    if not _are_compiled(chosen):
        # a process that has compiled needs hundreds of megabytes more, for good;
        # whatever that one leaves undone is done below
        subprocess.run([sys.executable, "-c", _COMPILE, *chosen], check=False)
    find_in_small_images(chosen)


_COMPILE = (
    "import sys; from zocelery_tasks.spot_finding import find_in_small_images; "
    "find_in_small_images(sys.argv[1:])"
)


def _are_compiled(algorithms: Iterable[Algorithm]) -> bool:
    """Return whether Numba's cache holds the main functions of these algorithms."""
    cache = Path(os.environ["NUMBA_CACHE_DIR"])  # see `kernels`
    return all(any(cache.rglob(f"{a}.find_{a}-*.nbi")) for a in algorithms)


def find_in_small_images(algorithms: Iterable[str]) -> None:
    """Find spots in images of all the types that there is compiled code for."""
    background = np.arange(24 * 24).reshape(24, 24) % 3
    background[10:13, 10:13] = 100
    usable = np.ones(background.shape, np.bool_)
    for algorithm in algorithms:
        finder = SpotFinder(SpotFindingSettings(algorithm=Algorithm(algorithm)))
        for dtype in (np.uint16, np.uint32, np.int32):
            finder.find(background.astype(dtype), usable, (0, 1000), 3)
            finder.find((background + 30).astype(dtype), usable, (0, 1000), 3)
        finder.find(background.astype(np.int32), usable, (-1, 1000), 3)
        finder.find(background.astype(np.float64), usable, (0, 1000), 3)
    _judge_a_few_spots()


def _judge_a_few_spots() -> None:
    """Compute the resolution and statistics of as many spots as all of them need."""
    some = np.arange(1.0, 1.0 + 2 * MIN_SPOTS_FOR_RESOLUTION)
    plane = Plane((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -20.0), (1.0, 1.0))
    spot_statistics(inverse_resolution(some, some, plane, wavelength=1.0), some)
