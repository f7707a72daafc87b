"""Per-image analysis: how many spots an image has, and how far they reach."""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zocelery.errors import ImageError
from zocelery_tasks.images.image import Image, PixelBuffers
from zocelery_tasks.images.panel import Panel
from zocelery_tasks.images.sensor_material import attenuation_coefficient
from zocelery_tasks.kernels.resolution import (
    Sensor,
    d_spacing,
    inverse_resolution,
    within_resolution,
)
from zocelery_tasks.kernels.statistics import SpotStatistics, spot_statistics
from zocelery_tasks.kernels.threshold import Algorithm
from zocelery_tasks.per_image_parameters import PerImageAnalysisParameters
from zocelery_tasks.spot_finding import (
    SpotFinder,
    SpotFindingSettings,
    SpotTable,
    StrongPixels,
)

_STATISTICS = tuple(each.name for each in fields(SpotStatistics))


@dataclass(frozen=True, eq=False)
class ImageAnalysis:
    """What was found on one image."""

    file: Path
    image_number: int
    n_spots_found: int
    """Of any resolution."""
    statistics: SpotStatistics
    spots: SpotTable = field(repr=False)
    """Those within the resolution limits, in the order of their first pixels."""
    d: npt.NDArray[np.float64] = field(repr=False)
    """Their resolution in Å, shape (n,); infinite at the beam centre."""
    panel: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    """The number of their panel, from 0, shape (n,); None if there is only one."""
    strong: tuple[StrongPixels, ...] = field(default=(), repr=False)
    """The strong pixels of each panel, whether they have become spots or not."""

    def counts(self) -> dict[str, int | float]:
        """Return the number of spots found and the nine statistics, by name."""
        statistics = {name: getattr(self.statistics, name) for name in _STATISTICS}
        return {"n_spots_found": self.n_spots_found, **statistics}

    def spot_list(self) -> list[dict[str, Any]]:
        """Return the spots within the resolution limits, for JSON.

        `x` (fast) and `y` (slow) are in pixels from the corner of the first, `bbox` is
        (x0, x1, y0, y1), its ends not included, `d` in Å, null at the beam centre.
        Detectors of several panels add `panel`, the number of the spot's, from 0.
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
        spots = [
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
        if self.panel is None:
            return spots
        numbers = self.panel.tolist()
        return [
            {**spot, "panel": number}
            for spot, number in zip(spots, numbers, strict=True)
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
    tables, strong = _find_spots(image, parameters)
    sensor = _sensor(image)
    positions = [
        inverse_resolution(
            spots.x,
            spots.y,
            panel.plane,
            wavelength=image.beam.wavelength,
            source_direction=image.beam.source_direction,
            sensor=sensor,
        )
        for panel, spots in zip(image.detector.panels, tables, strict=True)
    ]
    q = positions[0] if len(positions) == 1 else np.concatenate(positions)
    found = chosen = _join(tables, image.detector.panels)
    panel_numbers = _panel_numbers(tables) if len(tables) > 1 else None
    kept = within_resolution(q, parameters.d_min, parameters.d_max)
    if not kept.all():
        q, chosen = q[kept], found.select(kept)
        panel_numbers = None if panel_numbers is None else panel_numbers[kept]
    statistics = spot_statistics(
        q,
        chosen.intensity,
        chosen.variance,
        filter_ice=parameters.filter_ice,
        ice_rings_width=parameters.ice_rings_width,
    )
    return ImageAnalysis(
        image.file,
        image.image_number,
        len(found),
        statistics,
        chosen,
        d_spacing(q),
        panel_numbers,
        strong,
    )


def _join(tables: Sequence[SpotTable], panels: Sequence[Panel]) -> SpotTable:
    """Return the spots of all panels, their positions from the image's first pixel."""
    placed = [
        spots.moved(panel.first) if any(panel.first) else spots
        for spots, panel in zip(tables, panels, strict=True)
    ]
    return placed[0] if len(placed) == 1 else SpotTable.concatenate(placed)


def _panel_numbers(tables: Sequence[SpotTable]) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(len(tables)), [len(spots) for spots in tables])


def _sensor(image: Image) -> Sensor | None:
    """Return what corrects for parallax, None if too little is known of the sensor."""
    material = image.detector.sensor_material
    thickness = image.detector.sensor_thickness
    attenuation = image.detector.sensor_attenuation
    if not thickness:
        return None
    if attenuation is None and material:
        attenuation = attenuation_coefficient(material, image.beam.wavelength)
    return None if attenuation is None else Sensor(attenuation, thickness)


def pixel_buffers() -> PixelBuffers:
    """Return this thread's memory for the pixels of one image after the other."""
    return _memory.buffers


class _Memory(threading.local):
    """What one thread keeps from image to image: pixels and spot finders."""

    def __init__(self) -> None:
        self.buffers = PixelBuffers()
        self._finders: dict[tuple[str, str], SpotFinder] = {}

    def finder(self, parameters: PerImageAnalysisParameters) -> SpotFinder:
        """Return the thread's spot finder for this algorithm and DIALS's rule."""
        key = (parameters.threshold_algorithm, parameters.dials_rule)
        if key not in self._finders:
            self._finders[key] = SpotFinder(
                SpotFindingSettings(
                    algorithm=Algorithm(parameters.threshold_algorithm),
                    dials_rule=parameters.dials_rule,
                )
            )
        return self._finders[key]


_memory = _Memory()


def _find_spots(
    image: Image, parameters: PerImageAnalysisParameters
) -> tuple[list[SpotTable], tuple[StrongPixels, ...]]:
    """Return spots and strong pixels of each panel, placed from its first pixel."""
    detector, finder = image.detector, _memory.finder(parameters)
    regions = (panel.region(detector.shape) for panel in detector.panels)
    parts = [np.ascontiguousarray(image.pixels[region]) for region in regions]
    try:
        strong = finder.strong_pixels(
            list(zip(parts, detector.panel_masks, strict=True)),
            detector.trusted.limits(parameters.dials_rule),
        )
    except ImageError as error:
        place = f"{image.file}: image {image.image_number}"
        raise ImageError(f"{place}: {error}") from error
    return finder.group(strong, detector.min_spot_size), tuple(strong)
