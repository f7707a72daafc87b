"""The Pilatus 12M of Diamond's beamline I23: rows of modules, bent round the sample.

Its header says no more than a flat detector's. Where the rows are, and which modules
were dead when, is known from the detector's drawings and logs; the numbers are those
that dxtbx uses (FormatCBFMiniPilatusDLS12M).
"""

import math
from datetime import UTC, datetime
from functools import lru_cache

from zocelery.errors import ImageError
from zocelery_tasks.images.masks import Mask, mask_of_panels, share
from zocelery_tasks.images.panel import Panel

SERIAL_NUMBER = "S/N 120-0100"

_ROWS = 24
_ROW = (195, 2463)
"""Pixels of a row of five modules, (slow, fast)."""
_GAP = 17
"""Rows of the image between rows of modules."""
_MODULE_STEP = 487 + 7
_SHAPE = (_ROWS * (_ROW[0] + _GAP) - _GAP, _ROW[1])
_PIXEL = 0.172
_RADIUS = 250.0
"""Of the barrel, in mm, and so are the next three."""
_BEFORE_CENTRE = (184.9, 16.8)
"""From the first pixel of a row to its middle, along fast and slow."""
_FIRST_ANGLE = -12.2 + 7.903 / 2
"""Of the first row, in degrees."""
_ANGLE_STEP = 7.903 + 0.441
_IDEAL_BEAM = (1075, 2594)
"""Where the beam meets the detector that is not shifted, pixels (fast, slow)."""

_Module = tuple[int, int]
"""Row, and number within it."""
_CHIP = (60, 97)
"""Pixels of a chip, (fast, slow)."""
_DEAD_MODULES: tuple[tuple[datetime, tuple[_Module, ...], bool], ...] = (
    (datetime(2022, 7, 1, tzinfo=UTC), (), False),
    (datetime(2022, 1, 24, tzinfo=UTC), ((10, 3),), False),
    (datetime(2020, 9, 8, tzinfo=UTC), (), False),
    (datetime(2020, 2, 21, tzinfo=UTC), ((1, 4), (17, 0), (17, 4)), True),
    (datetime(2019, 11, 26, tzinfo=UTC), ((17, 0), (17, 4)), False),
    (datetime(2019, 9, 3, tzinfo=UTC), ((15, 2), (17, 0)), False),
)
"""After which time which modules were dead, latest first, and whether a chip was."""
_DEAD_CHIP_OF = (15, 4)
"""The module of which the second chip of the first row was blank."""


def barrel_panels(
    shape: tuple[int, int], distance: float, beam_centre: tuple[float, float], name: str
) -> tuple[Panel, ...]:
    """Return the panels, one for each row of modules.

    Args:
        shape: pixels of the image, (slow, fast).
        distance: how far the barrel's axis is behind the sample, in mm.
        beam_centre: as the header has it, pixels (fast, slow).
        name: of the file, for messages.

    Raises:
        ImageError: if the image is not of the whole detector.
    """
    if shape != _SHAPE:
        raise ImageError(
            f"{name}: the 12M detector has images of {_SHAPE[1]} x {_SHAPE[0]} pixels, "
            f"not {shape[1]} x {shape[0]}"
        )
    shift_x, shift_y = (
        _PIXEL * (ideal - seen)
        for ideal, seen in zip(_IDEAL_BEAM, beam_centre, strict=True)
    )
    return tuple(_row(row, (-shift_x, shift_y, -distance)) for row in range(_ROWS))


def _row(row: int, axis: tuple[float, float, float]) -> Panel:
    """Return a row of modules of a barrel about a point `axis`, in mm."""
    angle = math.radians(_FIRST_ANGLE + row * _ANGLE_STEP)
    sine, cosine = math.sin(angle), math.cos(angle)
    x, y, z = axis
    along, across = _BEFORE_CENTRE
    return Panel(
        fast_axis=(-1.0, 0.0, 0.0),
        slow_axis=(0.0, sine, -cosine),
        origin=(
            x + along,
            y - _RADIUS * cosine - across * sine,
            z - _RADIUS * sine + across * cosine,
        ),
        pixel_size=(_PIXEL, _PIXEL),
        first=(row * (_ROW[0] + _GAP), 0),
        size=_ROW,
    )


@lru_cache(maxsize=8)
def _mask(
    panels: tuple[Panel, ...], modules: tuple[_Module, ...], has_dead_chip: bool
) -> Mask:
    mask = mask_of_panels(panels, _SHAPE).copy()
    width, height = _CHIP
    for row, number in modules:
        top, left = panels[row].first[0], number * _MODULE_STEP
        mask[top : top + _ROW[0], left : left + _MODULE_STEP - 7] = False
    if has_dead_chip:
        row, number = _DEAD_CHIP_OF
        top, left = panels[row].first[0], number * _MODULE_STEP + width
        mask[top : top + height, left : left + width] = False
    return share(mask)


def barrel_mask(panels: tuple[Panel, ...], taken: datetime | None) -> Mask:
    """Return a read-only mask of the whole image without the dead modules.

    Args:
        panels: of the detector.
        taken: when the image was; with None no module is taken for dead.
    """
    for since, modules, has_dead_chip in _DEAD_MODULES:
        if taken is not None and taken > since:
            return _mask(panels, modules, has_dead_chip)
    return _mask(panels, (), False)
