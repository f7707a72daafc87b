"""What a simulation is asked for, checked before anything is computed."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from zocelery.errors import ParameterError
from zocelery_tasks.simulation.detector import find_detector

MAX_IMAGES = 100_000


def _check_stem(stem: str) -> str:
    """Return a name that is safe on every file system, unchanged."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", stem):
        raise ValueError(f"{stem!r} is not a plain name of letters, digits, _ . -")
    return stem


Stem = Annotated[str, AfterValidator(_check_stem)]
"""A file name without folder and ending."""


class ImageFormat(StrEnum):
    """Which files are written."""

    NXMX = "nxmx"
    """STEM.nxs, STEM_meta.h5 and STEM_000001.h5 ..., bitshuffle-LZ4."""
    CBF = "cbf"
    """One STEM_00001.cbf ... per image, byte-offset compressed."""
    BOTH = "both"


class FastDirection(StrEnum):
    """Along which direction a grid scan runs fast."""

    HORIZONTAL = "horizontal"
    VERTICAL = "vertical"


class ExperimentSettings(BaseModel):
    """The crystal, the beam and the detector."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    detector: str = "eiger2_1m"
    """A name in `detector.DETECTORS`."""
    distance: float | None = Field(default=None, ge=10, le=5000)
    """Crystal to detector, mm; None: where the spots fill the detector."""
    wavelength: float = Field(default=0.9795, ge=0.4, le=3)
    """Å."""
    d_min: float = Field(default=1.7, ge=0.8, le=10)
    """No reflection has a smaller d-spacing, Å."""
    start: float = Field(default=0.0, ge=-3600, le=3600)
    """Omega, degrees: at the start of a rotation, at the middle of a still."""
    exposure_time: float = Field(default=0.02, gt=0, le=3600)
    """Seconds per image, as the headers say where no `frame_rate` is given."""
    mosaicity: float = Field(default=0.08, ge=0.01, le=1)
    """Standard deviation of the rocking curve, degrees."""
    point_spread: float = Field(default=0.75, ge=0.3, le=2)
    """Standard deviation of a spot on the detector, pixels."""
    brightness: float = Field(default=350.0, ge=0, le=60000)
    """Counts in a fully recorded strong (90th percentile) reflection."""
    background: float = Field(default=0.6, ge=0, le=1000)
    """Counts per pixel at the top of the solvent ring, about."""
    scatter: float = Field(default=0.03, ge=0, le=0.5)
    """Relative error of each intensity beyond counting noise."""
    wobble: float = Field(default=0.12, ge=0, le=2)
    """Standard deviation of spots from where they are expected, pixels."""
    decay: float = Field(default=0.0, ge=0, le=10)
    """Radiation damage: intensities fall by exp(-decay) per image."""
    seed: int = Field(default=1, ge=0, lt=2**32)
    """Chooses orientation, structure factors, dead pixels and noise."""

    @field_validator("detector")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return find_detector(name).name


class OutputSettings(ExperimentSettings):
    """What is written, and how fast."""

    format: ImageFormat = ImageFormat.NXMX
    images_per_file: int | None = Field(default=None, ge=1)
    """Images per HDF5 data file; None: all in one."""
    frame_rate: float | None = Field(default=None, gt=0, le=10_000)
    """Images per second at which the files grow; None: as fast as possible."""
    distinct: int = Field(default=0, ge=0, le=1000)
    """Number of background noise patterns that the images share; 0: each its own."""
    truth: bool = False
    """Also write what an analysis should find."""
    overwrite: bool = False
    """Replace files of the same names."""


class RotationRequest(OutputSettings):
    """A rotation data set."""

    stem: Stem = "lyso_1"
    images: int = Field(default=100, ge=1, le=MAX_IMAGES)
    width: float = Field(default=0.4, gt=0, le=10)
    """Rotation per image, degrees."""
    seed: int = Field(default=29, ge=0, lt=2**32)
    """With 29 the first 40 degrees show the absences along both screw axes, so that
    programs find the space group: few orientations do."""

    @model_validator(mode="after")
    def _at_most_ten_turns(self) -> Self:
        if self.images * self.width > 3600:
            total = self.images * self.width
            raise ValueError(f"images x width is {total:g} degrees, more than 3600")
        return self


class GridRequest(OutputSettings):
    """A grid scan of stills, or two orthogonal ones of the same crystal.

    Positions and sizes are in boxes: box i reaches from i to i + 1, so that the middle
    of the first box is 0.5, as in the results of X-ray centring.
    """

    stem: Stem = "grid_1"
    steps: tuple[int, int] = (10, 8)
    """Boxes along x and along y."""
    third_axis: int | None = Field(default=None, ge=1)
    """Boxes along z of a second scan, of x and z, with omega turned by 90 degrees."""
    snaked: bool = False
    """Every other line is run backwards."""
    orientation: FastDirection = FastDirection.HORIZONTAL
    width: float = Field(default=0.2, gt=0, le=10)
    """Rotation during each still, degrees; the headers say 0."""
    centre: tuple[float, ...] | None = None
    """Middle of the crystal in boxes, x y [z]; None: right of and above the middle."""
    crystal_size: tuple[float, ...] | None = None
    """Width of the crystal in boxes, x y [z]; None: about a third of the grid."""
    box_size_um: float = Field(default=20.0, gt=0, le=1000)
    """Step between boxes in every direction, µm."""
    distinct: int = Field(default=8, ge=0, le=1000)

    @property
    def shape(self) -> tuple[int, ...]:
        """Boxes along x, y and, where there is a third axis, z."""
        third = () if self.third_axis is None else (self.third_axis,)
        return (*self.steps, *third)

    @model_validator(mode="after")
    def _sensible_grid(self) -> Self:
        nx, *others = self.shape
        if min(self.shape) < 1 or max(nx * n for n in others) > MAX_IMAGES:
            steps = "x".join(map(str, self.shape))
            raise ValueError(f"a scan of {steps} has no or over {MAX_IMAGES} boxes")
        for name in ("centre", "crystal_size"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.shape):
                expected = len(self.shape)
                raise ValueError(f"{name} {value} needs {expected} numbers")
        if self.crystal_size is not None and min(self.crystal_size) <= 0:
            raise ValueError(f"crystal_size {self.crystal_size} is not positive")
        return self


Request = TypeVar("Request", RotationRequest, GridRequest)


def parse_request(model: type[Request], options: Mapping[str, Any]) -> Request:
    """Return `options` as a checked request; options that are None are left out.

    Raises:
        ParameterError: naming the first option that cannot be used, and its value.
    """
    given = {key: value for key, value in options.items() if value is not None}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ParameterError(_first_complaint(error)) from error


def _first_complaint(error: ValidationError) -> str:
    """Return what is wrong with which option, in one line."""
    first = error.errors()[0]
    option = ".".join(map(str, first["loc"])).replace("_", "-")
    if first["type"] == "value_error":  # ours: it tells the value
        message = first["msg"].removeprefix("Value error, ")
        return f"{option}: {message}" if option else message
    return f"{option}: {first['msg']} (got {first['input']!r})"
