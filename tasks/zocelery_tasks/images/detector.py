"""The detector of one image: where its pixels are, which of them to trust."""

import math
from dataclasses import dataclass, field
from enum import StrEnum

from zocelery_tasks.images.dials_rule import DialsRule
from zocelery_tasks.images.masks import Mask, split_mask
from zocelery_tasks.images.panel import Panel


class SensorType(StrEnum):
    """How a detector counts, as far as spot finding cares."""

    PAD = "PAD"
    """Pixel array: photons are counted where they fall."""
    CCD = "CCD"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class TrustedRange:
    """The counts that are measurements."""

    lowest: int
    """Lowest trusted count."""
    saturation: float
    """What the file gives as cut-off, overload or saturation value."""
    saturation_is_lost: bool = False
    """The file's format says that `saturation` itself is saturated (imgCIF)."""
    highest_possible: int | None = None
    """Highest count that the file can hold; above are marks of dead pixels."""

    def limits(self, rule: DialsRule = DialsRule.V3_12) -> tuple[int, int]:
        """Return the lowest and the highest trusted count."""
        if rule is DialsRule.V3_12 or self.saturation_is_lost:
            highest = math.ceil(self.saturation) - 1
        else:
            highest = math.floor(self.saturation)
        if self.highest_possible is not None:
            highest = min(highest, self.highest_possible)
        return self.lowest, highest


@dataclass(frozen=True, eq=False)
class Detector:
    """A detector of one or more flat panels, all of one kind of sensor."""

    panels: tuple[Panel, ...]
    """At least one; all within the image."""
    shape: tuple[int, int]
    """Pixels of the whole image along (slow, fast)."""
    trusted: TrustedRange
    sensor: SensorType = SensorType.UNKNOWN
    sensor_material: str | None = None
    """Chemical formula."""
    sensor_thickness: float | None = None
    """In mm."""
    sensor_attenuation: float | None = None
    """Linear attenuation coefficient in 1/mm; None leaves it to the material."""
    mask: Mask = field(repr=False, kw_only=True)
    """Of the whole image; if read-only, the same object for images that share it."""

    @property
    def panel(self) -> Panel:
        """The panel of a detector that has only one.

        ValueError if it has more.
        """
        (panel,) = self.panels
        return panel

    @property
    def panel_masks(self) -> tuple[Mask, ...]:
        """The panels' masks, in order; the same objects for images that share them."""
        if all(panel.size is None for panel in self.panels):
            return (self.mask,) * len(self.panels)
        return split_mask(self.mask, self.panels)

    @property
    def min_spot_size(self) -> int:
        """The fewest pixels of a spot, as DIALS sets it for the kind of sensor."""
        return 3 if self.sensor is SensorType.PAD else 6
