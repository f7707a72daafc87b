"""What X-ray centring answers."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from zocelery_tasks.kernels.centring_2d import Centre2D
from zocelery_tasks.kernels.centring_3d import Centre3D
from zocelery_tasks.kernels.grid import GridGeometry
from zocelery_tasks.kernels.multipin import Pin

Number = int | float
Triple = tuple[int, int, int]


def _number(value: float) -> Number:
    """Return a count as an integer where it is one."""
    return int(value) if value.is_integer() else value


class Centre2DResult(BaseModel):
    """The centre of one grid scan; the first 18 fields are those that GDA reads.

    Without any spot the status is "fail" and what would describe the centre is None.
    """

    model_config = ConfigDict(frozen=True)

    centre_of_mass: tuple[float, float] | None = None
    """(x, y) in boxes; the middle of the first box is at (0.5, 0.5)."""
    max_voxel: tuple[int, int] | None = None
    """(x, y) of the best box of the region, 0-based."""
    max_count: Number | None = None
    n_voxels: int | None = None
    """Number of boxes in the region."""
    total_count: Number | None = None
    sample_id: int | None = None
    steps: tuple[int, int]
    box_size_px: tuple[float, float]
    snapshot_offset: tuple[float, float]
    centre_x: float | None = None
    """In pixels of the snapshot."""
    centre_y: float | None = None
    centre_x_box: float | None = None
    centre_y_box: float | None = None
    status: Literal["ok", "fail"] = "fail"
    message: str = "No good images found"
    best_image: int | None = None
    """1-based, in the order of the scan."""
    reflections_in_best_image: Number | None = None
    best_region: list[tuple[int, int]] | None = None
    """Boxes as (y, x), 0-based."""
    missing: list[int] = []
    """Numbers of the images without a count: they were taken for empty."""
    unexpected: list[int] = []
    """Image numbers outside of the grid: their counts were left out."""

    def bare(self) -> dict[str, Any]:
        """Return the 18 fields that describe the centre, as a JSON object."""
        return self.model_dump(mode="json", exclude={"missing", "unexpected"})


class Centre3DResult(BaseModel):
    """One crystal in two perpendicular grid scans; places are (x, y, z) in boxes."""

    model_config = ConfigDict(frozen=True)

    centre_of_mass: tuple[float, float, float]
    """The middle of the first voxel is at (0.5, 0.5, 0.5)."""
    max_voxel: Triple
    max_count: Number
    """Product of the two counts in the best voxel."""
    n_voxels: int
    total_count: Number
    sample_id: int | None = None
    bounding_box: tuple[Triple, Triple]
    """First voxel and last voxel + 1."""


class Centring3D(BaseModel):
    """The crystals in two perpendicular grid scans, those with most signal first."""

    model_config = ConfigDict(frozen=True)

    results: list[Centre3DResult]
    missing: list[list[int]] = []
    """For each grid the numbers of the images without a count."""
    unexpected: list[list[int]] = []
    """For each grid the image numbers outside of it."""


def describe_2d(
    found: Centre2D | None, geometry: GridGeometry, pin: Pin
) -> Centre2DResult:
    """Return the answer for what was found in a grid, None for no spot at all."""
    if found is None:
        return Centre2DResult(
            steps=geometry.steps,
            box_size_px=geometry.box_size_px,
            snapshot_offset=geometry.snapshot_offset,
        )
    x, y = found.centre
    (left, top), (width, height) = geometry.snapshot_offset, geometry.box_size_px
    return Centre2DResult(
        centre_of_mass=found.centre,
        max_voxel=found.max_voxel,
        max_count=_number(found.max_count),
        n_voxels=found.n_voxels,
        total_count=_number(found.total_count),
        sample_id=pin.sample_at(x),
        steps=geometry.steps,
        box_size_px=geometry.box_size_px,
        snapshot_offset=geometry.snapshot_offset,
        centre_x=left + x * width,
        centre_y=top + y * height,
        centre_x_box=x,
        centre_y_box=y,
        status="ok",
        message="ok",
        best_image=found.best_image,
        reflections_in_best_image=_number(found.max_count),
        best_region=list(found.region),
    )


def describe_3d(found: Centre3D, pin: Pin) -> Centre3DResult:
    """Return the answer for one region in space."""
    return Centre3DResult(
        centre_of_mass=found.centre,
        max_voxel=found.max_voxel,
        max_count=_number(found.max_count),
        n_voxels=found.n_voxels,
        total_count=_number(found.total_count),
        sample_id=pin.sample_at(found.centre[0]),
        bounding_box=found.bounding_box,
    )


def success_message(result: Centre2DResult | Centring3D) -> dict[str, Any]:
    """Return what the channel `success` carries, as Zocalo's clients expect it.

    Beside Zocalo's keys `results`, `status` and `type` ("2d" or "3d") it names the
    images that are `missing` and those that were `unexpected`.
    """
    if isinstance(result, Centre2DResult):
        kind, results = "2d", [result.bare()]
    else:
        kind = "3d"
        results = [centre.model_dump(mode="json") for centre in result.results]
    return {
        "results": results,
        "status": "success",
        "type": kind,
        "missing": result.missing,
        "unexpected": result.unexpected,
    }
