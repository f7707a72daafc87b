"""X-ray centring in the LIMS: what was found in a grid scan, in two or in three."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from zocelery.lims.payloads import read_payload
from zocelery.lims.rows import CENTRING, CENTRING_RESULT
from zocelery.lims.tables import table
from zocelery.lims.values import is_same
from zocelery.lims.writer import Writer

AXES = "XYZ"


class CentringResult(BaseModel):
    """One crystal; all that the LIMS has no column for is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    centre_of_mass: tuple[float, ...] | None = Field(None, min_length=2, max_length=3)
    """(x, y) or (x, y, z) in boxes."""
    max_voxel: tuple[int, ...] | None = Field(None, min_length=2, max_length=3)
    n_voxels: int | None = None
    total_count: float | None = None
    bounding_box: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    """First box, and last box + 1."""
    sample_id: int | None = None

    def columns(self, dimensions: int) -> dict[str, Any]:
        """Return the values of its row; in two dimensions there is no z."""
        low, high = self.bounding_box or ((), ())
        places: dict[str, Sequence[float]] = {
            "centreOfMass": self.centre_of_mass or (),
            "maxVoxel": self.max_voxel or (),
            "boundingBoxMin": low,
            "boundingBoxMax": high,
        }
        found: dict[str, Any] = {
            f"{name}{axis}": value
            for name, place in places.items()
            for axis, value in zip(AXES[:dimensions], place, strict=False)
        }
        return {
            **found,
            "numberOfVoxels": self.n_voxels,
            "totalCount": self.total_count,
            "blSampleId": self.sample_id,
        }


class Centring(BaseModel):
    """What a centring has found in one data collection group."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dcgid: int = Field(ge=1)
    type: Literal["2d", "3d"]
    status: Literal["success", "failed", "pending"] = "success"
    results: tuple[CentringResult, ...] = ()

    @classmethod
    def parse(cls, described: Mapping[str, Any]) -> "Centring":
        """Read what `xray_centering` says, with `dcgid`.

        Raises:
            PermanentError: names the key and its value.
        """
        return read_payload(cls, "X-ray centring", described)

    def rows(self) -> list[dict[str, Any]]:
        """Return the values of the crystals' rows; a grid without one has none."""
        dimensions = int(self.type[0])
        found = [result for result in self.results if result.centre_of_mass]
        return [result.columns(dimensions) for result in found]


def store_centring(writer: Writer, centring: Centring) -> int:
    """Return the id of the centring's row; its crystals are stored with it.

    The same again is the same centring if it is the newest of its group and type: a
    later one that finds something else is another, and so is what follows on that.

    Raises:
        PermanentError: there is no such data collection group or sample.
    """
    values = {
        "dataCollectionGroupId": centring.dcgid,
        "status": centring.status,
        "xrayCentringType": centring.type,
    }
    writer.lock(f"dataCollectionGroupId={centring.dcgid}")
    rows = [writer.fitting(CENTRING_RESULT, row) for row in centring.rows()]
    where = {
        name: values[name] for name in ("dataCollectionGroupId", "xrayCentringType")
    }
    before = writer.rows(CENTRING, where, ("status",))
    if before:
        newest = before[-1]
        key = int(newest[CENTRING.key])
        if newest["status"] == centring.status and _has(writer, key, rows):
            return key
    made = writer.add(CENTRING, writer.fitting(CENTRING, values))
    for row in rows:
        writer.add(CENTRING_RESULT, {"xrayCentringId": made, **row})
    return made


def _has(writer: Writer, centring: int, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a centring has these crystals, in this order, and no others."""
    target = table(CENTRING_RESULT.table).columns
    stored = writer.rows(
        CENTRING_RESULT, {"xrayCentringId": centring}, CENTRING_RESULT.columns
    )
    return len(stored) == len(rows) and all(
        is_same(target[name], there[name], row.get(name))
        for there, row in zip(stored, rows, strict=True)
        for name in CENTRING_RESULT.columns
    )
