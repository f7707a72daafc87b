"""The plane of a detector, put together from its modules."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zocelery.errors import ImageError
from zocelery_tasks.images.detector import Mask, Vector
from zocelery_tasks.images.module_gaps import all_usable

_DIRECTION_TOLERANCE = 1e-4
"""A pixel at the far end of 4000 is then off by less than half a pixel."""
_POSITION_TOLERANCE = 0.5
"""In pixels."""


@dataclass(frozen=True)
class Panel:
    """A rectangle of pixels in the laboratory."""

    fast_axis: Vector
    """Of length 1."""
    slow_axis: Vector
    """Of length 1."""
    origin: Vector
    """Outer corner of the first pixel, in mm."""
    pixel_size: tuple[float, float]
    """Along fast and slow, in mm."""
    first: tuple[int, int] = (0, 0)
    """Where in the image the rectangle begins, (slow, fast)."""
    size: tuple[int, int] | None = None
    """Pixels along (slow, fast), None for the whole image."""

    def corner_of_image(self) -> npt.NDArray[np.float64]:
        """Return where the image's first pixel is, in mm, if it is in this plane."""
        slow, fast = self.first
        return (
            np.asarray(self.origin)
            - fast * self.pixel_size[0] * np.asarray(self.fast_axis)
            - slow * self.pixel_size[1] * np.asarray(self.slow_axis)
        )

    def continues(self, other: "Panel") -> bool:
        """Whether both lie on one grid of pixels."""
        axes = np.subtract(
            (self.fast_axis, self.slow_axis), (other.fast_axis, other.slow_axis)
        )
        apart = np.linalg.norm(self.corner_of_image() - other.corner_of_image())
        return bool(
            np.abs(axes).max() < _DIRECTION_TOLERANCE
            and np.allclose(self.pixel_size, other.pixel_size, rtol=1e-6)
            and apart < _POSITION_TOLERANCE * max(self.pixel_size)
        )


def join_panels(panels: Sequence[Panel], name: str) -> Panel:
    """Return the panel of the whole image that `panels` are rectangles of.

    Args:
        panels: at least one.
        name: of the detector, for messages.

    Raises:
        ImageError: if they do not lie on one grid of pixels.
    """
    first = panels[0]
    if not all(panel.continues(first) for panel in panels[1:]):
        raise ImageError(f"{name}: detectors of more than one plane are not supported")
    x, y, z = first.corner_of_image()
    return Panel(
        first.fast_axis,
        first.slow_axis,
        (float(x), float(y), float(z)),
        first.pixel_size,
    )


def mask_of_panels(panels: Sequence[Panel], shape: tuple[int, int], name: str) -> Mask:
    """Return a read-only mask of `shape` (slow, fast), True inside the panels.

    A single panel whose sides are exchanged is the whole image: so did Diamond's
    beamlines write it until 2021.

    Raises:
        ImageError: if a panel reaches beyond the image.
    """
    if any(panel.size is None for panel in panels):
        return all_usable(shape)
    if len(panels) == 1 and panels[0].size in (shape, shape[::-1]):
        return all_usable(shape)
    mask = np.zeros(shape, dtype=np.bool_)
    for panel in panels:
        size = panel.size or shape
        ends = [at + length for at, length in zip(panel.first, size, strict=True)]
        if min(panel.first) < 0 or ends[0] > shape[0] or ends[1] > shape[1]:
            raise ImageError(
                f"{name}: images of {shape[1]} x {shape[0]} pixels do not hold a "
                f"module of {size[1]} x {size[0]} pixels"
            )
        mask[panel.first[0] : ends[0], panel.first[1] : ends[1]] = True
    mask.flags.writeable = False
    return mask
