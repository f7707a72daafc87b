"""Per-image analysis: how many spots an image has, and how far they reach."""

import math
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zocelery.errors import ImageError
from zocelery_tasks.images.image import Image
from zocelery_tasks.kernels.resolution import (
    d_spacing,
    map_to_reciprocal_space,
    within_resolution,
)
from zocelery_tasks.kernels.statistics import SpotStatistics, spot_statistics
from zocelery_tasks.kernels.threshold import Algorithm
from zocelery_tasks.per_image_parameters import PerImageAnalysisParameters
from zocelery_tasks.spot_finding import SpotFinder, SpotFindingSettings, SpotTable


@dataclass(frozen=True, eq=False)
class ImageAnalysis:
    """What was found on one image."""

    file: Path
    image_number: int
    statistics: SpotStatistics
    """Of the spots within the resolution limits."""
    spots: SpotTable = field(repr=False)
    """All that were found, in the order of their first pixels."""
    d: npt.NDArray[np.float64] = field(repr=False)
    """Their resolution in Å, shape (n,); infinite at the beam centre."""

    def counts(self) -> dict[str, int | float]:
        """Return the number of all spots found and the nine statistics, by name."""
        return {"n_spots_found": len(self.d), **asdict(self.statistics)}

    def spot_list(self) -> list[dict[str, Any]]:
        """Return all spots found, for JSON.

        `x` (fast) and `y` (slow) are in pixels from the corner of the first, `bbox` is
        (x0, x1, y0, y1), its ends not included, `d` in Å, null at the beam centre.
        """
        columns = zip(
            self.spots.x.tolist(),
            self.spots.y.tolist(),
            self.spots.intensity.tolist(),
            self.spots.variance.tolist(),
            self.spots.bbox.tolist(),
            self.d.tolist(),
            strict=True,
        )
        return [
            {
                "x": x,
                "y": y,
                "intensity": intensity,
                "variance": variance,
                "bbox": bbox,
                "d": d if math.isfinite(d) else None,
            }
            for x, y, intensity, variance, bbox, d in columns
        ]


def analyse_image(
    image: Image, parameters: PerImageAnalysisParameters | None = None
) -> ImageAnalysis:
    """Find the spots of an image and compute its statistics.

    Raises:
        ImageError: if so many pixels are strong that it is no diffraction image; the
            message names file and image number.
    """
    parameters = parameters or PerImageAnalysisParameters()
    detector = image.detector
    spots = _find_spots(image, parameters)
    scattering = map_to_reciprocal_space(
        spots.x,
        spots.y,
        pixel_to_lab=detector.pixel_to_lab,
        wavelength=image.beam.wavelength,
        source_direction=image.beam.source_direction,
    )
    q = np.linalg.norm(scattering, axis=-1)
    kept = within_resolution(q, parameters.d_min, parameters.d_max)
    statistics = spot_statistics(
        q[kept],
        spots.intensity[kept],
        spots.variance[kept],
        filter_ice=parameters.filter_ice,
        ice_rings_width=parameters.ice_rings_width,
    )
    return ImageAnalysis(
        image.file, image.image_number, statistics, spots, d_spacing(q)
    )


class _Finders(threading.local):
    """The spot finders of one thread: they keep memory from image to image."""

    def __init__(self) -> None:
        self._finders: dict[tuple[str, str], SpotFinder] = {}

    def get(self, parameters: PerImageAnalysisParameters) -> SpotFinder:
        key = (parameters.threshold_algorithm, parameters.dials_rule)
        if key not in self._finders:
            self._finders[key] = SpotFinder(
                SpotFindingSettings(
                    algorithm=Algorithm(parameters.threshold_algorithm),
                    dials_rule=parameters.dials_rule,
                )
            )
        return self._finders[key]


_finders = _Finders()


def _find_spots(image: Image, parameters: PerImageAnalysisParameters) -> SpotTable:
    detector = image.detector
    try:
        return _finders.get(parameters).find(
            image.pixels,
            detector.mask,
            detector.trusted.limits(parameters.dials_rule),
            detector.min_spot_size,
        )
    except ImageError as error:
        place = f"{image.file}: image {image.image_number}"
        raise ImageError(f"{place}: {error}") from error
