"""X-ray centring as the gather of a grid scan: from its members to its answer."""

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zocelery.errors import InputFileError, ParameterError
from zocelery.messages import Member, Step
from zocelery_tasks.centring_files import (
    allowed_results,
    report_2d,
    report_3d,
    write_results,
)
from zocelery_tasks.centring_results import Centre2DResult, Centring3D, success_message
from zocelery_tasks.grid_info import GridInfo
from zocelery_tasks.xray_centering import centre_2d, centre_3d
from zocelery_tasks.xray_centering_parameters import XrayCenteringParameters

logger = logging.getLogger(__name__)
Size = tuple[int, ...]
"""Pixels (slow, fast)."""
LEAST_FREE_BYTES = 1_000_000


@dataclass
class _Scan:
    """One grid scan: its geometry and what its images gave."""

    grid: GridInfo
    source: str | None = None
    """The stream of its members; None for all."""
    counts: dict[int, float] = field(default_factory=dict)
    failed: list[dict[str, Any]] = field(default_factory=list)

    def add(self, member: Member, size: Size | None = None) -> None:
        """Take the count of a member, or note why it has none.

        Images of another `size` than most are not from this scan.
        """
        value = member.value if isinstance(member.value, Mapping) else {}
        number = value.get("file-number", member.item)
        if not str(number).isdecimal():
            self.failed.append({"image": member.item, "error": _reason(member)})
        elif size is not None and _size_of(value) not in (None, size):
            error = f"{value.get('file')}: has {_size_of(value)} pixels, most {size}"
            self.failed.append({"image": int(number), "error": error})
        elif member.ok and "n_spots_total" in value:
            self.counts[int(number)] = value["n_spots_total"]
        else:
            self.failed.append({"image": int(number), "error": _reason(member)})

    def describe(self) -> dict[str, Any]:
        """Return what the answer says of this scan."""
        return {
            "failed": self.failed,
            "counts": self.data,
            "grid": [self.grid.steps_x, self.grid.steps_y],
            "snaked": self.grid.snaked,
            "orientation": self.grid.orientation.value,
        }

    @property
    def data(self) -> list[float | None]:
        """The counts in the order of the scan; None where there is none."""
        numbers = range(1, self.grid.image_count + 1)
        return [self.counts.get(number) for number in numbers]


def centre_members(step: Step) -> dict[str, Any]:
    """Find the centre from the members that reached the gather.

    Returns:
        Zocalo's message with `results`, `status`, `type`, `missing` and `unexpected`,
        and beside it `failed` (image and error), `counts` in the order of the scan and
        `grid` (steps x, y), `snaked`, `orientation`; for 3-D as lists of two.

    Raises:
        ParameterError: no grid is given, or one that cannot be.
        PermanentError: the two grids do not fit one another.
    """
    parameters = XrayCenteringParameters.parse(step.parameters)
    scans = read_scans(step.parameters, step.extra)
    size = _usual_size(step.members)
    for member in step.members:
        for scan in scans:
            if scan.source in (None, member.source):
                scan.add(member, size)
    result, report = _centre(scans, parameters)
    write_results(result, report, parameters)
    _log_latency(step.members, parameters)
    shown = [scan.describe() for scan in scans]
    if len(shown) == 1:
        return {**success_message(result), **shown[0]}
    beside = {key: [scan[key] for scan in shown] for key in shown[0]}
    return {**success_message(result), **beside}


def read_scans(
    parameters: Mapping[str, Any], extra: Mapping[str, Any] | None = None
) -> list[_Scan]:
    """Return the grids that a node describes: one, or two at right angles.

    Args:
        parameters: `grid` ("19x1") or `gridinfo`, or `grids`: a list of such objects
            with the `source` (NODE/CHANNEL) of their images.
        extra: the node's other keys; Zocalo's recipes have `gridinfo` there.

    Raises:
        ParameterError: there is none, or one that cannot be used.
    """
    several = parameters.get("grids")
    if several:
        return [_Scan(_read_grid(one, {}), one.get("source")) for one in several]
    return [_Scan(_read_grid(parameters, extra or {}))]


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Look at a node's parameters before a run starts.

    Raises:
        ParameterError: a value cannot be used, a file is outside of the allowed
            folders.
        InputFileError: a file cannot be written where it is asked for.
    """
    parsed = XrayCenteringParameters.parse(parameters)
    if any(parameters.get(key) for key in ("grid", "gridinfo", "grids")):
        read_scans(parameters)
    for path in allowed_results(parsed):
        if path is not None:
            _check_writable(path)


def draw_answer(answer: Mapping[str, Any]) -> str:
    """Return an answer of `centre_members` as text: heat map, centre, gaps."""
    from zocelery_tasks.heat_map import draw_grid

    keys = ("grid", "counts", "snaked", "orientation")
    one = answer["type"] == "2d"
    scans = zip(*([answer[key]] if one else answer[key] for key in keys), strict=True)
    lines = []
    for axis, ((nx, ny), counts, snaked, orientation) in enumerate(scans, start=1):
        order = {"snaked": snaked, "orientation": orientation}
        lines.append(draw_grid(counts, (nx, ny), {**answer, **order}, axis=axis))
    lines += [_describe(result) for result in answer["results"]]
    if not answer["results"]:
        lines.append("nothing diffracts")
    missing = answer["missing"]
    if any(missing):
        lines.append(f"images without a count: {missing}")
    return "\n".join(lines)


def _read_grid(described: Mapping[str, Any], extra: Mapping[str, Any]) -> GridInfo:
    for value in (described.get("grid"), described.get("gridinfo")):
        if value:
            return GridInfo.parse(value)
    if extra.get("gridinfo"):
        return GridInfo.parse(extra["gridinfo"])
    raise ParameterError("X-ray centring: give the grid, -p grid=19x1, or gridinfo")


def _centre(
    scans: Sequence[_Scan], parameters: XrayCenteringParameters
) -> tuple[Centre2DResult | Centring3D, str]:
    if len(scans) == 1:
        (scan,) = scans
        flat = centre_2d(scan.counts, scan.grid, parameters)
        data = [count or 0 for count in scan.data]
        return flat, report_2d(flat, data, scan.grid.geometry)
    solid = centre_3d([(scan.counts, scan.grid) for scan in scans], parameters)
    return solid, report_3d(solid)


def _size_of(value: Mapping[str, Any]) -> Size | None:
    size = value.get("image_size")
    return tuple(size) if isinstance(size, list) else None


def _usual_size(members: Sequence[Member]) -> Size | None:
    """Return the size (slow, fast) that most images have, if they tell theirs."""
    values = [m.value for m in members if isinstance(m.value, Mapping)]
    sizes = Counter(size for value in values if (size := _size_of(value)) is not None)
    return max(sizes, key=lambda size: (sizes[size], size)) if sizes else None


def _reason(member: Member) -> str:
    return member.error or "its answer has no n_spots_total"


def _describe(result: Mapping[str, Any]) -> str:
    if result.get("status") == "fail":
        return str(result["message"])
    place = ", ".join(f"{value:.2f}" for value in result["centre_of_mass"])
    text = f"centre ({place}) in boxes"
    if "best_image" in result:
        spots, image = result["reflections_in_best_image"], result["best_image"]
        text += f", pixel ({result['centre_x']:.1f}, {result['centre_y']:.1f})"
        text += f"; best image {image} with {spots} spots"
    return text


def _check_writable(path: Path) -> None:
    folder = path.parent
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise InputFileError(f"{path}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputFileError(f"{path}: no right to write in {existing}")
    free = shutil.disk_usage(existing).free
    if free < LEAST_FREE_BYTES:
        raise InputFileError(f"{path}: the disk is full ({free} bytes are free)")


def _log_latency(
    members: Sequence[Member], parameters: XrayCenteringParameters
) -> None:
    """Log how long the centre took from the moment the last image was seen."""
    values = [m.value for m in members if isinstance(m.value, Mapping)]
    seen = [v["file-seen-at"] for v in values if "file-seen-at" in v]
    if not seen:
        return
    latency = time.time() - max(seen)
    level = logging.INFO
    if latency > parameters.latency_log_error:
        level = logging.ERROR
    elif latency > parameters.latency_log_warning:
        level = logging.WARNING
    logger.log(level, "X-ray centring took %.3f s after the last image", latency)
