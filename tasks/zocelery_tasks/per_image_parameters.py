"""How an image is analysed, as recipes say it."""

import re
from typing import Any, ClassVar, Literal, Self

from pydantic import AliasChoices, Field, field_validator, model_validator

from zocelery_tasks.image_backends import Backend
from zocelery_tasks.images.dials_rule import DialsRule
from zocelery_tasks.lenient_values import LenientParameters

Algorithm = Literal["dispersion", "dispersion_extended"]
"""DIALS's names of what tells spots from background."""

_RANGE = re.compile(r"\s*(\d+)\s*(?:[,:]\s*(\d+)\s*)?")


class PerImageAnalysisParameters(LenientParameters):
    """A node's parameters for `per_image_analysis`."""

    whose: ClassVar[str] = "per image analysis"

    d_min: float | None = Field(default=None, ge=0)
    """Spots with d below count for nothing, in Å."""
    d_max: float | None = Field(default=40, gt=0)
    """Spots with d above count for nothing, in Å."""
    threshold_algorithm: Algorithm = Field(
        default="dispersion",
        validation_alias=AliasChoices("threshold_algorithm", "algorithm"),
    )
    disable_parallax_correction: bool = True
    """Changes nothing: in DIALS it concerns masks of resolution ranges alone, and
    spots are always corrected for parallax."""
    scan_range: tuple[int, int] | None = None
    """`n,n`: the number of the one image of the file that is analysed, from 1."""
    filter_ice: bool = True
    """Leave spots on ice rings out of most statistics."""
    ice_rings_width: float = Field(default=0.004, ge=0)
    """Full width of an ice ring in 1/d², Å⁻²."""
    dials_rule: DialsRule = DialsRule.V3_12
    backend: Backend = Backend.NATIVE
    """Who opens the image: `dials` opens every detector that DIALS knows."""
    keep_strong_pixels: bool = False
    """Leave the image's strong pixels in a file, for `dials.join_spots`."""
    working_directory: str | None = None
    """The folder below which that file is; by default the configuration's."""

    @property
    def image_number(self) -> int | None:
        """The image that `scan_range` names."""
        return None if self.scan_range is None else self.scan_range[0]

    @field_validator("scan_range", mode="before")
    @classmethod
    def _read_range(cls, value: Any) -> Any:
        if isinstance(value, int):
            return value, value
        if not isinstance(value, str):
            return value
        match = _RANGE.fullmatch(value)
        if match is None:
            raise ValueError("is not like 'n,n'")
        return match[1], match[2] or match[1]

    @field_validator("scan_range")
    @classmethod
    def _require_one_image(cls, value: tuple[int, int] | None) -> Any:
        if value is not None and not 1 <= value[0] == value[1]:
            raise ValueError("must name one image as 'n,n', with n from 1")
        return value

    @field_validator("dials_rule", mode="before")
    @classmethod
    def _take_number_for_version(cls, value: Any) -> Any:
        return str(value) if isinstance(value, float) else value

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        if self.d_min and self.d_max and self.d_min > self.d_max:
            raise ValueError(f"d_min {self.d_min:g} is above d_max {self.d_max:g}")
        return self
