"""One image as compiled code sees it."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.mask_runs import MaskRuns

Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.integer]


class Frame(NamedTuple):
    """An image, and which of its pixels count."""

    pixels: Pixels
    """Counts (slow, fast), uint16 or uint32, C-contiguous and read-only."""
    usable: Mask
    """The detector's usable pixels (slow, fast), read-only."""
    runs: MaskRuns
    """The same."""
    limits: Pixels
    """Lowest usable count, and the highest above that; of the pixels' type."""
    tops: Indices
    """Highest usable count of each row, or more: set by those who look at the row."""
