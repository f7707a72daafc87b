"""What is known of a grid scan before its images are."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from zocelery.errors import ParameterError
from zocelery_tasks.kernels.grid import GridGeometry, Orientation
from zocelery_tasks.lenient_values import LenientParameters

MOST_IMAGES = 1_000_000
"""Of a grid: more is a mistake."""
_SHORT_FORM = re.compile(r"\s*(\d+)\s*[xX×]\s*(\d+)\s*")


class GridInfo(LenientParameters):
    """Size, place and order of a grid scan, under ISPyB's names.

    Only the steps are necessary: a grid is horizontal and not snaked, starts at pixel 0
    and has boxes of one pixel, unless it is said otherwise. ISPyB's old columns
    `pixelsPerMicronX` and `pixelsPerMicronY`, which hold microns per pixel in spite of
    their names, are not read.
    """

    whose: ClassVar[str] = "gridinfo"

    steps_x: int = Field(gt=0)
    """Number of boxes along x."""
    steps_y: int = Field(gt=0)
    dx_mm: float | None = Field(default=None, gt=0)
    """Size of a box along x."""
    dy_mm: float | None = Field(default=None, gt=0)
    microns_per_pixel_x: float | None = Field(
        default=None, gt=0, alias="micronsPerPixelX"
    )
    """Of the snapshot from the microscope."""
    microns_per_pixel_y: float | None = Field(
        default=None, gt=0, alias="micronsPerPixelY"
    )
    snapshot_offset_x_pixel: float = Field(default=0, alias="snapshot_offsetXPixel")
    """Where in the snapshot the grid's corner lies."""
    snapshot_offset_y_pixel: float = Field(default=0, alias="snapshot_offsetYPixel")
    snaked: bool = False
    """Every second row (vertical: column) was scanned backwards."""
    orientation: Orientation = Orientation.HORIZONTAL

    @field_validator("orientation", mode="before")
    @classmethod
    def _ignore_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _require_possible_size(self) -> Self:
        if self.image_count > MOST_IMAGES:
            raise ValueError(
                f"a grid of {self.steps_x} x {self.steps_y} has {self.image_count} "
                f"images, {MOST_IMAGES} may be"
            )
        return self

    @model_validator(mode="after")
    def _require_both_sizes_or_none(self) -> Self:
        for axis, size_mm, scale in (
            ("x", self.dx_mm, self.microns_per_pixel_x),
            ("y", self.dy_mm, self.microns_per_pixel_y),
        ):
            if (size_mm is None) != (scale is None):
                raise ValueError(
                    f"d{axis}_mm and micronsPerPixel{axis.upper()} are given together "
                    "or not at all"
                )
        return self

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Return the grid that a parameter describes.

        Args:
            value: an object with the keys above, or the short form "19x1" (steps along
                x and y; the rest as it stands above).

        Raises:
            ParameterError: if it describes no grid; the message names the key.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            found = _SHORT_FORM.fullmatch(value)
            if found is None:
                raise ParameterError(
                    f"grid {value!r}: expected STEPSxSTEPS, such as 19x1"
                )
            value = dict(zip(("steps_x", "steps_y"), found.groups(), strict=True))
        if not isinstance(value, Mapping):
            raise ParameterError(f"gridinfo: an object is expected, not {value!r}")
        return super().parse(value)

    @property
    def image_count(self) -> int:
        """Number of images that the scan has."""
        return self.steps_x * self.steps_y

    @property
    def step_um(self) -> float:
        """Size of a box along x in µm, 1 if it is not known."""
        return 1.0 if self.dx_mm is None else 1000 * self.dx_mm

    @property
    def geometry(self) -> GridGeometry:
        """Where the images lie in the grid and the boxes in the snapshot."""
        return GridGeometry(
            steps=(self.steps_x, self.steps_y),
            snaked=self.snaked,
            orientation=self.orientation,
            box_size_px=(
                _size_px(self.dx_mm, self.microns_per_pixel_x),
                _size_px(self.dy_mm, self.microns_per_pixel_y),
            ),
            snapshot_offset=(
                self.snapshot_offset_x_pixel,
                self.snapshot_offset_y_pixel,
            ),
        )


def _size_px(size_mm: float | None, microns_per_pixel: float | None) -> float:
    if size_mm is None or microns_per_pixel is None:
        return 1.0
    return 1000 * size_mm / microns_per_pixel
