"""The rows and columns between a detector's modules, where there are no pixels."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from zocelery_tasks.images.masks import Mask, all_usable


@dataclass(frozen=True)
class ModuleLayout:
    """A family of detectors tiled from one kind of module; sizes in pixels."""

    module: tuple[int, int]
    """Size of a module, (slow, fast)."""
    gap: tuple[int, int]
    """Between neighbours, (slow, fast)."""

    def fits(self, shape: tuple[int, int]) -> bool:
        """Whether a detector of `shape` (slow, fast) is tiled from such modules."""
        return all(
            size >= module and (size + gap) % (module + gap) == 0
            for size, module, gap in zip(shape, self.module, self.gap, strict=True)
        )


PILATUS = ModuleLayout(module=(195, 487), gap=(17, 7))
EIGER = ModuleLayout(module=(514, 1030), gap=(37, 10))
EIGER2 = ModuleLayout(module=(512, 1028), gap=(38, 12))


@lru_cache(maxsize=8)
def mask_of_gaps(shape: tuple[int, int], *layouts: ModuleLayout) -> Mask:
    """Return a read-only mask, False between the modules.

    The first of `layouts` that fits `shape` (slow, fast) counts; with none that fits,
    as for a region of interest, there are no gaps.
    """
    layout = next((layout for layout in layouts if layout.fits(shape)), None)
    if layout is None:
        return all_usable(shape)
    inside = [
        np.arange(size) % (module + gap) < module
        for size, module, gap in zip(shape, layout.module, layout.gap, strict=True)
    ]
    mask: Mask = np.logical_and.outer(*inside)
    mask.flags.writeable = False
    return mask
