"""What makes a pixel strong: the parameters of DIALS's two thresholds."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

COUNT_LIMIT = 1 << 24
"""Pixels of this value and above are left out of the sums over a window; they may be
strong themselves (DIALS `local.h`, constant BIG)."""


class Algorithm(StrEnum):
    """DIALS's names for its two thresholds."""

    DISPERSION = "dispersion"
    DISPERSION_EXTENDED = "dispersion_extended"


@dataclass(frozen=True, slots=True, eq=False)
class DispersionSettings:
    """The parameters of a dispersion threshold, with DIALS's meaning and defaults.

    Raises:
        ValueError: where DIALS would refuse the value, naming it.
    """

    algorithm: Algorithm = Algorithm.DISPERSION_EXTENDED
    kernel: tuple[int, int] = (3, 3)
    """Half sizes of the window (slow, fast): (3, 3) is a window of 7 × 7 pixels."""
    sigma_background: float = 6.0
    """Excess of the index of dispersion, in standard deviations, that makes a window
    signal."""
    sigma_strong: float = 3.0
    """Excess of a pixel over the mean, in standard deviations."""
    min_count: int = 2
    """Usable pixels that a window needs; 0 or less means all of them."""
    global_threshold: float = 0.0
    """A strong pixel has more counts than this."""
    gain: float | npt.NDArray[np.float64] | None = None
    """Counts per photon, one number or one for each pixel (slow, fast); None is not
    quite 1.0: DIALS rounds differently without a gain."""
    masked_pixels_block_erosion: bool = True
    """True: pixels within min(kernel) - 1 of an unusable one are never strong
    (dispersion_extended of DIALS up to 3.23); False: as DIALS 3.24 and later."""

    def __post_init__(self) -> None:
        window = (2 * self.kernel[0] + 1) * (2 * self.kernel[1] + 1)
        if min(self.kernel) < 1:
            raise ValueError(f"kernel {self.kernel} is not two sizes of 1 or more")
        if self.min_count == 1 or self.min_count > window:
            raise ValueError(f"min_count {self.min_count} is not 0 or 2 to {window}")
        for name in ("sigma_background", "sigma_strong", "global_threshold"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} {getattr(self, name)} is not 0 or more")
        if self.gain is not None and not np.all(np.asarray(self.gain) > 0):
            raise ValueError("gain is not above 0 everywhere")

    @property
    def threshold(self) -> "Threshold":
        """The numbers among the settings, for compiled code."""
        slow, fast = self.kernel
        full_window = (2 * slow + 1) * (2 * fast + 1)
        return Threshold(
            kernel_slow=slow,
            kernel_fast=fast,
            sigma_background=float(self.sigma_background),
            sigma_strong=float(self.sigma_strong),
            min_count=self.min_count if self.min_count > 0 else full_window,
            global_threshold=float(self.global_threshold),
            masked_pixels_block_erosion=self.masked_pixels_block_erosion,
        )


class Threshold(NamedTuple):
    """The numbers among the settings; compiled code takes tuples, not dataclasses."""

    kernel_slow: int
    kernel_fast: int
    sigma_background: float
    sigma_strong: float
    min_count: int
    global_threshold: float
    masked_pixels_block_erosion: bool
