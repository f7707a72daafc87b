"""Masks of usable pixels, made once and shared by the images that have them alike."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from zocelery_tasks.images.panel import Panel

Mask = npt.NDArray[np.bool_]
"""Shape (slow, fast); True where a pixel is usable."""

_MAX_MASKS = 4
"""Kept of each kind: one of 16 million pixels takes 18 MB."""


@lru_cache(maxsize=_MAX_MASKS)
def all_usable(shape: tuple[int, int]) -> Mask:
    """Return the read-only mask of a detector without any known dead pixel."""
    mask = np.ones(shape, dtype=np.bool_)
    mask.flags.writeable = False
    return mask


@lru_cache(maxsize=_MAX_MASKS)
def mask_of_panels(panels: tuple[Panel, ...], shape: tuple[int, int]) -> Mask:
    """Return a read-only mask of `shape` (slow, fast), True inside the panels."""
    if any(panel.size is None for panel in panels):
        return all_usable(shape)
    mask = np.zeros(shape, dtype=np.bool_)
    for panel in panels:
        mask[panel.region(shape)] = True
    mask.flags.writeable = False
    return mask


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


def share(mask: Mask) -> Mask:
    """Return a read-only array that equals `mask`, which may become that array."""
    return _shared_masks.share(mask)


class _SplitMasks:
    """The parts of masks that belong to panels, least recently used first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[object, tuple[Mask, tuple[Mask, ...]]] = OrderedDict()

    def split(self, mask: Mask, panels: Sequence[Panel]) -> tuple[Mask, ...]:
        """Return the parts of `mask` that belong to `panels`."""
        key = (id(mask), tuple((panel.first, panel.size) for panel in panels))
        with self._lock:
            # The mask is kept with its parts: no other can have its id meanwhile.
            known = self._known.pop(key, None) or (mask, _split(mask, panels))
            self._known[key] = known
            if len(self._known) > _MAX_MASKS:
                self._known.popitem(last=False)
        return known[1]


_split_masks = _SplitMasks()


def split_mask(mask: Mask, panels: Sequence[Panel]) -> tuple[Mask, ...]:
    """Return the parts of an image's mask that belong to panels.

    Those of a read-only mask are read-only too, and the same objects each time.
    """
    if mask.flags.writeable:
        return _split(mask, panels)
    return _split_masks.split(mask, panels)


def _split(mask: Mask, panels: Sequence[Panel]) -> tuple[Mask, ...]:
    slow, fast = mask.shape
    parts = [np.ascontiguousarray(mask[p.region((slow, fast))]) for p in panels]
    for part in parts:
        part.flags.writeable = mask.flags.writeable
    return tuple(parts)
