"""What X-ray centring is told by a recipe."""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from zocelery_tasks.grid_info import GridInfo
from zocelery_tasks.kernels.multipin import Pin, well_limits
from zocelery_tasks.lenient_values import (
    LenientParameters,
    from_text,
    without_empty,
)


class XrayCenteringParameters(LenientParameters):
    """A node's parameters for X-ray centring; lists may be text, too."""

    whose: ClassVar[str] = "X-ray centring"

    dcid: int | None = None
    """Data collection that the grid belongs to."""
    experiment_type: str | None = None
    """"Mesh3D" for one of two perpendicular grid scans."""
    dcg_dcids: list[int] = Field(default_factory=list)
    """The other data collections of a pair: centred together in three dimensions."""
    output: Path | None = None
    """JSON file for the result."""
    log: Path | None = None
    """Text file for people."""
    results_symlink: str | None = None
    """Name of a link to the folder of `output`, made beside that folder."""
    latency_log_warning: float = 30
    """Seconds from the last image to the centre from which on a warning is logged."""
    latency_log_error: float = 300
    beamline: str | None = None
    sample_id: int | None = None
    loop_type: str | None = None
    """`multipin_NxW+O` for a pin with wells."""
    msp_sample_ids: dict[int, int] = Field(default_factory=dict)
    """Samples of a pin with wells by the number of the well, from 1."""
    threshold: float = Field(default=0.25, ge=0)
    """3-D: part of the strongest voxel that a voxel must reach."""
    threshold_absolute: float = Field(default=0, ge=0)
    """3-D: spots that an image must have."""
    threshold_msp: float = Field(default=0.25, ge=0)
    """`threshold` for pins with wells."""
    threshold_absolute_msp: float = Field(default=3, ge=0)
    """`threshold_absolute` for pins with wells."""

    @field_validator("dcg_dcids", "msp_sample_ids", mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        return from_text(value)

    @field_validator("msp_sample_ids", mode="before")
    @classmethod
    def _leave_out_empty_wells(cls, value: Any) -> Any:
        return without_empty(value)

    @field_validator("results_symlink")
    @classmethod
    def _require_a_name(cls, value: str | None) -> str | None:
        if value is not None and (value != Path(value).name or value == ".."):
            raise ValueError("a link's name is expected, not a path")
        return value

    def pin(self, grid: GridInfo) -> Pin:
        """Return the samples along the x axis of `grid`."""
        return Pin(
            sample_id=self.sample_id,
            sample_ids=self.msp_sample_ids,
            limits=well_limits(self.loop_type, grid.step_um),
        )
