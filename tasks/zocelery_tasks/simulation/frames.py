"""Frames: expected counts plus Poisson noise, as a detector would report them.

A frame is a pure function of the settings and its number.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from zocelery_tasks.simulation.background import expected_background
from zocelery_tasks.simulation.crystal import Crystal, random_orientation
from zocelery_tasks.simulation.detector import find_detector
from zocelery_tasks.simulation.diffraction import disturb, predict
from zocelery_tasks.simulation.geometry import Geometry, mask_pixels
from zocelery_tasks.simulation.settings import ExperimentSettings
from zocelery_tasks.simulation.spots import Exposure, exposed_spots, lit_pixels

Frame = npt.NDArray[np.uint16]
"""Counts, shape (slow, fast); `MASKED` where a pixel does not count."""

MASKED = 65535
SATURATED = 65533
"""The highest count: the two values above it are flags (DECTRIS)."""

_PATTERN_STREAM = 10**7
"""Seed word of the first shared background pattern: no image has this number."""


class FrameSimulator:
    """Simulates the frames of one crystal on one detector."""

    def __init__(
        self, settings: ExperimentSettings, sweep: tuple[float, float], distinct: int
    ) -> None:
        """Predict all reflections.

        Args:
            settings: of the experiment.
            sweep: omega at the start of the first and at the end of the last image,
                degrees.
            distinct: number of background noise patterns that frames share; 0 for
                noise of its own in every frame.

        Raises:
            ParameterError: if the detector is unknown or catches no reflection.
        """
        self._settings = settings
        self._distinct = distinct
        detector = find_detector(settings.detector)
        distance = settings.distance or detector.usual_distance_mm
        self.geometry = Geometry(detector, distance, settings.wavelength)
        # One stream for both, in this order: a seed's pixels are a promise.
        rng = np.random.default_rng(settings.seed)
        self.mask = mask_pixels(detector, rng)
        """Pixels that do not count, (slow, fast)."""
        self.crystal = Crystal(random_orientation(rng), settings.seed)
        self.predicted = predict(self.crystal, self.geometry, settings.d_min, sweep)
        """What an analysis should find, before `scatter` and `wobble`."""
        strong = np.percentile(self.predicted.recorded, 90)
        self.scale = float(settings.brightness / strong)
        """Counts per unit of `predicted.recorded`."""
        self._flashes = disturb(
            self.predicted,
            seed=settings.seed,
            scatter=settings.scatter,
            wobble=settings.wobble,
            mosaicity=settings.mosaicity,
        )
        self._background = expected_background(self.geometry, settings.background)
        self._beam_stop = self.geometry.beam_stop()
        self._pattern: Callable[[int], Frame] = lru_cache(distinct)(self._new_pattern)

    def repeat_key(self, exposure: Exposure) -> int | None:
        """Return a number that exposures with equal frames share; None if unique."""
        if self._distinct and exposure.factor == 0:
            return exposure.number % self._distinct
        return None

    def frame(self, exposure: Exposure) -> Frame:
        """Return the counts of one image, shape (slow, fast); not to be changed."""
        rng = np.random.default_rng((self._settings.seed, exposure.number))
        pixels, counts = self._spots(exposure)
        if not self._distinct:
            expected = self._background.copy()
            np.add.at(expected.reshape(-1), pixels, counts)
            return self._read_out(rng.poisson(expected))
        pattern = self._pattern(exposure.number % self._distinct)
        return self._with_spots(pattern, pixels, rng.poisson(counts))

    def _spots(
        self, exposure: Exposure
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Return pixel numbers and expected counts, but for the beam stop's shadow."""
        settings = self._settings
        spots = exposed_spots(
            self._flashes,
            exposure,
            settings.mosaicity,
            self.scale * np.exp(-settings.decay * exposure.number),
        )
        shape = self.geometry.detector.shape
        pixels, counts = lit_pixels(spots, shape, settings.point_spread)
        lit = ~self._beam_stop.reshape(-1)[pixels]
        return pixels[lit], counts[lit]

    def _with_spots(
        self,
        pattern: Frame,
        pixels: npt.NDArray[np.int64],
        counts: npt.NDArray[np.int64],
    ) -> Frame:
        """Return `pattern` with more counts: a sum of Poisson counts is one, too."""
        lit, position = np.unique(pixels, return_inverse=True)
        total = np.bincount(position, counts, len(lit)) + pattern.reshape(-1)[lit]
        frame = pattern.copy()
        frame.reshape(-1)[lit] = np.minimum(total, SATURATED)
        frame[self.mask] = MASKED
        return frame

    def _new_pattern(self, number: int) -> Frame:
        """Return a frame without crystal."""
        rng = np.random.default_rng((self._settings.seed, _PATTERN_STREAM + number))
        return self._read_out(rng.poisson(self._background))

    def _read_out(self, counts: npt.NDArray[np.int64]) -> Frame:
        """Return counts as the detector stores them."""
        frame = np.minimum(counts, SATURATED).astype(np.uint16)
        frame[self.mask] = MASKED
        return frame
