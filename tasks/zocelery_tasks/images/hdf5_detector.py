"""The detector that a NeXus entry describes."""

import logging
import threading
import weakref
from functools import lru_cache

import numpy as np

from zocelery.errors import ImageError
from zocelery_tasks.images.detector import Detector, Mask, SensorType, TrustedRange
from zocelery_tasks.images.eiger_master import eiger_panel
from zocelery_tasks.images.hdf5_node import Node
from zocelery_tasks.images.image import PixelType
from zocelery_tasks.images.module_gaps import EIGER, EIGER2, mask_of_gaps
from zocelery_tasks.images.nexus import nexus_panels
from zocelery_tasks.images.panel import Panel, join_panels, mask_of_panels
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
            ImageError: if an entry is missing or strange, or the detector is not flat.
        """
        self._node = node
        self._panels = nexus_panels(node)
        self._is_nxmx = bool(self._panels)
        if not self._panels:
            self._panels = [eiger_panel(node)]
        self._panel: Panel = join_panels(self._panels, str(node))
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
                self._panel.fast_axis,
                self._panel.slow_axis,
                self._panel.origin,
                self._panel.pixel_size,
                shape,
                self._trusted(dtype),
                SensorType.PAD,
                _MATERIALS.get(material, material) or None,
                thickness,
                mask=self._mask(shape),
            )
        return self._known[shape, dtype]

    def _trusted(self, dtype: PixelType) -> TrustedRange:
        keys = ("saturation_value",) if self._is_nxmx else _CUTOFFS
        values = (self._node.number(key) for key in keys)
        saturation = next((value for value in values if value), _NO_SATURATION)
        lowest = self._node.number("underload_value") if self._is_nxmx else None
        depth = self._node.number("bit_depth_readout") if self._is_nxmx else None
        return TrustedRange(
            lowest=int(lowest or 0),
            saturation=saturation,
            highest_possible=_highest_count(dtype, depth),
        )

    def _mask(self, shape: tuple[int, int]) -> Mask:
        usable = mask_of_panels(self._panels, shape, str(self._node))
        if not self._is_nxmx:
            usable = mask_of_gaps(shape, EIGER2, EIGER)
        stored = next((node for key in _MASKS if (node := self._node.find(key))), None)
        if stored is None:
            return usable
        values = np.squeeze(stored.item[()])
        if values.shape == shape:
            usable = _shared_masks.share(usable & (values == 0))
        elif values.shape == shape[::-1]:  # as at Diamond until 2021; so does DIALS
            logger.warning("%s has its sides exchanged and is not used", stored)
        else:
            raise ImageError(
                f"{stored} of shape {values.shape} does not fit images of {shape}"
            )
        return usable


class _SharedMasks:
    """Makes equal masks one array, so that collections of a detector share theirs.

    A mask of a large detector takes 18 MB, and spot finding looks through a mask that
    it has not met before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: list[weakref.ref[Mask]] = []

    def share(self, mask: Mask) -> Mask:
        """Return a read-only array that equals `mask`."""
        with self._lock:
            known = [array for ref in self._known if (array := ref()) is not None]
            for array in known:
                if np.array_equal(array, mask):
                    return array
            mask.flags.writeable = False
            self._known = [weakref.ref(array) for array in (*known, mask)]
        return mask


_shared_masks = _SharedMasks()


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
