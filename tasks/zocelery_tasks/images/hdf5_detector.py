"""The detector that a NeXus entry describes."""

import logging
from functools import lru_cache

import numpy as np

from zocelery.errors import ImageError
from zocelery_tasks.images.detector import Detector, SensorType, TrustedRange
from zocelery_tasks.images.eiger_master import eiger_panel
from zocelery_tasks.images.hdf5_node import Node
from zocelery_tasks.images.image import PixelType
from zocelery_tasks.images.masks import Mask, mask_of_panels, share
from zocelery_tasks.images.module_gaps import EIGER, EIGER2, mask_of_gaps
from zocelery_tasks.images.nexus import nexus_panels
from zocelery_tasks.images.panel import Panel
from zocelery_tasks.images.units import mm_per

logger = logging.getLogger(__name__)

_MATERIALS = {"Silicon": "Si", "Sillicon": "Si"}
_NO_SATURATION = 2.0**31 - 1
_CUTOFFS = (
    "detectorSpecific/countrate_correction_count_cutoff",
    "detectorSpecific/detectorModule_000/countrate_correction_count_cutoff",
)
_MASKS = ("pixel_mask", "detectorSpecific/pixel_mask")


class DetectorEntry:
    """An NXdetector group: NXmx, or of DECTRIS's own file writer."""

    def __init__(self, node: Node) -> None:
        """Read the geometry.

        Raises:
            ImageError: if an entry is missing or strange.
        """
        self._node = node
        modules = nexus_panels(node)
        self._is_nxmx = bool(modules)
        self._panels: list[Panel] = modules or [eiger_panel(node)]
        self._known: dict[tuple[tuple[int, int], PixelType], Detector] = {}

    def detector(self, shape: tuple[int, int], dtype: PixelType) -> Detector:
        """Return the detector for images of `shape` (slow, fast) and `dtype`.

        Raises:
            ImageError: if the detector has another shape, or an entry is strange.
        """
        if (shape, dtype) not in self._known:
            thickness = self._node.number("sensor_thickness", mm_per, "m")
            material = self._node.text("sensor_material")
            self._known[shape, dtype] = Detector(
                self._panels_of(shape),
                shape,
                self._trusted(dtype),
                SensorType.PAD,
                _MATERIALS.get(material, material) or None,
                thickness,
                mask=self._mask(shape),
            )
        return self._known[shape, dtype]

    def _panels_of(self, shape: tuple[int, int]) -> tuple[Panel, ...]:
        """Return the panels, which must lie within images of `shape`."""
        panels = self._panels
        if len(panels) == 1:
            panels = [panels[0].alone(shape)]
        elif any(panel.size is None for panel in panels):
            raise ImageError(f"{self._node}: modules without data_size")
        return tuple(panel.within(shape, str(self._node)) for panel in panels)

    def _trusted(self, dtype: PixelType) -> TrustedRange:
        keys = ("saturation_value",) if self._is_nxmx else _CUTOFFS
        values = (self._node.number(key) for key in keys)
        saturation = next((value for value in values if value), _NO_SATURATION)
        lowest = self._node.number("underload_value") if self._is_nxmx else None
        depth = self._node.number("bit_depth_readout") if self._is_nxmx else None
        return TrustedRange(
            lowest=int(lowest or 0),
            saturation=int(saturation) if self._is_nxmx else saturation,  # as DIALS
            highest_possible=_highest_count(dtype, depth),
        )

    def _mask(self, shape: tuple[int, int]) -> Mask:
        usable = mask_of_panels(self._panels_of(shape), shape)
        if not self._is_nxmx:
            usable = mask_of_gaps(shape, EIGER2, EIGER)
        stored = next((node for key in _MASKS if (node := self._node.find(key))), None)
        if stored is None:
            return usable
        values = np.squeeze(stored.content())
        if values.shape == shape:
            usable = share(usable & (values == 0))
        elif values.shape == shape[::-1]:  # as at Diamond until 2021; so does DIALS
            logger.warning("%s has its sides exchanged and is not used", stored)
        else:
            raise ImageError(
                f"{stored} of shape {values.shape} does not fit images of {shape}"
            )
        return usable


@lru_cache(maxsize=16)
def _highest_count(dtype: PixelType, bit_depth: float | None) -> int:
    """Return the highest count that is no mark of a dead pixel.

    Eiger files mark dead pixels with the highest value of their type. With a
    `bit_depth_readout`, DIALS takes the two highest values for marks.
    """
    highest = int(np.iinfo(dtype).max)
    is_unsigned = np.issubdtype(dtype, np.unsignedinteger)
    highest = min(highest, 2**31 - 1)
    if bit_depth == dtype.itemsize * 8:
        return highest - 2
    return highest - 1 if is_unsigned else highest
