"""Grids of counts in a file, as `zocelery centre` reads them."""

import json
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from zocelery.errors import InputFileError
from zocelery_tasks.kernels.grid import GridGeometry, Orientation
from zocelery_tasks.kernels.multipin import Pin
from zocelery_tasks.lenient_values import first_error

Count = Annotated[float, Field(ge=0)]
Size = Annotated[float, Field(gt=0)]


class _Case(BaseModel):
    """What the two kinds of files share."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sample_id: int | None = None
    multipin_sample_ids: dict[int, int] = {}
    """Samples by the number of their well, from 1."""
    well_limits: list[tuple[float, float]] = []
    """Where the wells begin and end along x, in boxes."""
    expected: Any = None
    """What a test expects: read over."""

    @property
    def pin(self) -> Pin:
        """The samples along the x axis."""
        return Pin(self.sample_id, self.multipin_sample_ids, self.well_limits)


class Case2D(_Case):
    """The counts of one grid scan."""

    data: list[Count]
    """In the order of the scan."""
    steps: tuple[PositiveInt, PositiveInt]
    """Number of boxes along x and y."""
    snaked: bool = False
    orientation: Orientation = Orientation.HORIZONTAL
    box_size_px: tuple[Size, Size] = (1.0, 1.0)
    snapshot_offset: tuple[float, float] = (0.0, 0.0)

    @model_validator(mode="after")
    def _require_a_whole_grid(self) -> Self:
        nx, ny = self.steps
        if len(self.data) != nx * ny:
            raise ValueError(
                f"steps {nx} x {ny} need {nx * ny} values in data, not {len(self.data)}"
            )
        return self

    @property
    def geometry(self) -> GridGeometry:
        """Where the counts belong."""
        return GridGeometry(
            steps=self.steps,
            snaked=self.snaked,
            orientation=self.orientation,
            box_size_px=self.box_size_px,
            snapshot_offset=self.snapshot_offset,
        )


class Case3D(_Case):
    """The counts of two perpendicular grid scans."""

    xy: list[list[Count]]
    """xy[x][y]."""
    xz: list[list[Count]]
    """xz[x][z]."""
    threshold: float = Field(default=0.25, ge=0)
    threshold_absolute: float = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _require_two_grids(self) -> Self:
        for name, grid in (("xy", self.xy), ("xz", self.xz)):
            lengths = {len(row) for row in grid}
            if len(lengths) != 1 or 0 in lengths:
                raise ValueError(f"{name} must be rows of one length")
        if len(self.xy) != len(self.xz):
            raise ValueError(
                f"xy and xz must be of one length along x, not {len(self.xy)} and "
                f"{len(self.xz)}"
            )
        return self


def parse_case(text: str, name: str) -> Case2D | Case3D:
    """Return the grid or grids that a JSON text describes.

    Args:
        text: one object with the keys of `Case2D` or of `Case3D`.
        name: of the file, for messages.

    Raises:
        InputFileError: if it describes none; the message names the key.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputFileError(f"{name}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InputFileError(f"{name}: one object is expected, with data and steps")
    is_3d = "xy" in document or "xz" in document
    try:
        return (Case3D if is_3d else Case2D).model_validate(document)
    except ValueError as error:
        raise InputFileError(f"{name}: {first_error(error)}") from error
