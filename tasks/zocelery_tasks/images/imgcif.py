"""Full imgCIF headers: tables of axes that say where every pixel is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zocelery.errors import ImageError
from zocelery_tasks.images.axes import Axis, move, scale, turn
from zocelery_tasks.images.beam import Beam
from zocelery_tasks.images.cbf import CbfFile
from zocelery_tasks.images.cif import Row, read_tables
from zocelery_tasks.images.detector import Detector, SensorType, TrustedRange
from zocelery_tasks.images.masks import all_usable, mask_of_panels
from zocelery_tasks.images.mini_cbf import MiniHeader
from zocelery_tasks.images.panel import Panel, Vector

_NOT_GIVEN = (".", "?", "")
_NO_OVERLOAD = 1_000_000
_BINARY = "binary"
"""Stands for a binary section in the text of a file."""


def has_imgcif_tables(header: str) -> bool:
    """Whether a CBF header describes the geometry in imgCIF tables."""
    return "_diffrn.id" in header or "_diffrn_source" in header


def imgcif_geometry(cbf: CbfFile) -> tuple[Detector, Beam]:
    """Return detector and beam of a file with imgCIF tables.

    Raises:
        ImageError: if a table or value is missing or strange.
    """
    tables = _Tables(cbf.file, read_tables(cbf.header))
    arrays = {row.get("array_id") for row in tables.rows("array_structure_list")}
    if len(arrays) > 1 or len(tables.rows("diffrn_detector_element")) > 1:
        raise ImageError(f"{cbf.file}: the image of only one of several elements")
    mini = MiniHeader(cbf.file, cbf.header)
    sensor, material, thickness = mini.sensor()
    is_pilatus = mini.is_pilatus_convention
    detector = Detector(
        panels=(_panel(tables),),
        shape=cbf.shape,
        trusted=_trusted_range(tables),
        sensor=SensorType.PAD if is_pilatus else sensor,
        sensor_material=material,
        sensor_thickness=thickness,
        mask=mini.module_gaps(cbf.shape) if is_pilatus else all_usable(cbf.shape),
    )
    return detector, _beam(tables)


def imgcif_panels_geometry(
    cbf: CbfFile, shape: tuple[int, int], places: Sequence[tuple[int, int]]
) -> tuple[Detector, Beam]:
    """Return detector and beam of a file with a binary section for each panel.

    Args:
        cbf: the file.
        shape: of the image that the panels are put into, (slow, fast).
        places: where they begin in it, (slow, fast).

    Raises:
        ImageError: if a table or value is missing or strange.
    """
    sections = (cbf, *cbf.others)
    text = "".join(
        f"{section.header.strip().removeprefix(';').removesuffix(';')} {_BINARY}\n"
        for section in sections
    )
    tables = _Tables(cbf.file, read_tables(text))
    ids = [row.get("array_id", "") for row in tables.rows("array_data")]
    if len(ids) != len(sections) or len(set(ids)) != len(ids):
        raise ImageError(f"{cbf.file}: {len(sections)} images for the arrays {ids}")
    ranges = {_trusted_range(tables, array_id) for array_id in ids}
    if len(ranges) > 1:
        raise ImageError(f"{cbf.file}: panels of different ranges are not supported")
    panels = tuple(
        replace(_panel(tables, array_id), first=first, size=section.shape)
        for array_id, section, first in zip(ids, sections, places, strict=True)
    )
    sensor, material, thickness = MiniHeader(cbf.file, cbf.header).sensor()
    detector = Detector(
        panels=panels,
        shape=shape,
        trusted=ranges.pop(),
        sensor=sensor,
        sensor_material=material,
        sensor_thickness=thickness,
        mask=mask_of_panels(panels, shape),
    )
    return detector, _beam(tables)


@dataclass(frozen=True)
class _SurfaceAxis:
    """An axis along which the pixels lie."""

    name: str
    start: float
    """Of the first pixel, in mm along the axis."""
    step: float
    """From pixel to pixel, in mm; may be negative."""


class _Tables:
    """The tables of a header, with errors that name the file."""

    def __init__(self, file: Path, tables: dict[str, list[Row]]) -> None:
        self.file = file
        self._tables = tables
        self._axes = {row.get("id", ""): row for row in self.rows("axis")}

    def rows(self, category: str) -> list[Row]:
        """Return the rows of a category, none if the header lacks it."""
        return self._tables.get(category, [])

    def find(self, category: str, **wanted: str) -> Row:
        """Return the first row with the wanted values, an empty one without any."""
        for row in self.rows(category):
            if all(row.get(key) == value for key, value in wanted.items()):
                return row
        return {}

    def number(self, row: Row, key: str, default: float | None = None) -> float:
        """Return a finite number of a row.

        Raises:
            ImageError: it is missing, without a `default`, or no finite number.
        """
        text = row.get(key, "")
        if text in _NOT_GIVEN and default is not None:
            return default
        try:
            number = float(text)
        except ValueError:
            raise ImageError(f"{self.file}: header lacks {key}") from None
        if not math.isfinite(number):
            raise ImageError(f"{self.file}: {key} is {text!r}")
        return number

    def chain(self, name: str) -> list[str]:
        """Return the names of an axis and of all that it stands on."""
        names: list[str] = []
        while name not in _NOT_GIVEN:
            if name not in self._axes or name in names:
                raise ImageError(f"{self.file}: axis {name} is missing or in a circle")
            names.append(name)
            name = self._axes[name].get("depends_on", ".")
        return names

    def axis(self, name: str, setting: float | None = None) -> Axis:
        """Return an axis, set to `setting` or as the file says."""
        row = self._axes[name]
        return Axis(
            vector=self.vector(row, "vector"),
            is_rotation=self._is_rotation(name),
            setting=self._setting(name) if setting is None else setting,
            offset=self.vector(row, "offset"),
        )

    def vector(self, row: Row, key: str) -> Vector:
        """Return the three numbers `key[1]` to `key[3]`, 0 where not given."""
        x, y, z = (self.number(row, f"{key}[{i}]", 0.0) for i in (1, 2, 3))
        return x, y, z

    def lab_direction(self, axis: _SurfaceAxis) -> Vector:
        """Return the direction in the laboratory in which pixel numbers grow."""
        rotations = filter(self._is_rotation, self.chain(axis.name))
        along = self.vector(self._axes[axis.name], "vector")
        towards = scale(along, math.copysign(1.0, axis.step))
        return turn(towards, map(self.axis, rotations))

    def _is_rotation(self, name: str) -> bool:
        return self._axes[name].get("type", "").lower() == "rotation"

    def _setting(self, name: str) -> float:
        key = "angle" if self._is_rotation(name) else "displacement"
        start = self.number(
            self.find("diffrn_scan_axis", axis_id=name), f"{key}_start", 0.0
        )
        return self.number(
            self.find("diffrn_scan_frame_axis", axis_id=name), key, start
        )


def _panel(tables: _Tables, array_id: str | None = None) -> Panel:
    """Return the panel of an array, or of the only one."""
    which = {} if array_id is None else {"array_id": array_id}
    fast, slow = (
        _along(tables, precedence=precedence, **which) for precedence in ("1", "2")
    )
    inner, outer = (
        (fast, slow) if slow.name in tables.chain(fast.name) else (slow, fast)
    )
    if outer.name not in tables.chain(inner.name):
        raise ImageError(
            f"{tables.file}: axes {fast.name} and {slow.name} are not linked"
        )
    starts = {fast.name: fast.start, slow.name: slow.start}
    chain = [tables.axis(name, starts.get(name)) for name in tables.chain(inner.name)]
    return Panel(
        fast_axis=tables.lab_direction(fast),
        slow_axis=tables.lab_direction(slow),
        origin=move((0.0, 0.0, 0.0), chain),
        pixel_size=(abs(fast.step), abs(slow.step)),
    )


def _along(tables: _Tables, **which: str) -> _SurfaceAxis:
    listed = tables.find("array_structure_list", **which)
    if listed.get("direction", "increasing") != "increasing":
        raise ImageError(f"{tables.file}: pixels in decreasing order are not supported")
    axis_set = listed.get("axis_set_id", "")
    row = tables.find("array_structure_list_axis", axis_set_id=axis_set)
    step = tables.number(row, "displacement_increment")
    if step == 0:
        raise ImageError(f"{tables.file}: pixels of no size along {axis_set}")
    return _SurfaceAxis(
        name=row.get("axis_id", axis_set),
        start=tables.number(row, "displacement", 0.0),
        step=step,
    )


def _trusted_range(tables: _Tables, array_id: str | None = None) -> TrustedRange:
    which = {} if array_id is None else {"array_id": array_id}
    row = tables.find("array_intensities", **which)
    gain = tables.number(row, "gain", 1.0)
    if gain != 1:
        raise ImageError(
            f"{tables.file}: gain is {gain:g}: only counting detectors are supported"
        )
    return TrustedRange(
        lowest=math.floor(tables.number(row, "undefined_value", -1.0)) + 1,
        saturation=tables.number(row, "overload", _NO_OVERLOAD),
        saturation_is_lost=True,
    )


def _beam(tables: _Tables) -> Beam:
    wavelength_id = next(iter(tables.rows("diffrn_radiation")), {}).get("wavelength_id")
    rows = tables.rows("diffrn_radiation_wavelength")
    row = next((row for row in rows if row.get("id") == wavelength_id), None)
    wavelength = tables.number(row or next(iter(rows), {}), "wavelength")
    if wavelength <= 0:
        raise ImageError(f"{tables.file}: wavelength is {wavelength:g}")
    source = tables.vector(tables.find("axis", equipment="source"), "vector")
    return Beam(wavelength, source if any(source) else (0.0, 0.0, 1.0))
