"""What the row of a data collection says: its files, images, class and detector."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

Row = Mapping[str, Any]
DETECTOR_NAMES = {
    "Eiger2 XE 16M": "Eiger16M",
    "Eiger2 X 4M": "Eiger4M",
    "Eiger2 X CdTe 9M": "Eiger9MCdTe",
}
"""By model: the names that Diamond's fast-feedback service knows."""
_SERIAL = ("Serial Fixed", "Serial Jet")


def first_and_last(row: Row) -> tuple[int | None, int | None]:
    """Return the numbers of the first and of the last image, None where unknown."""
    first, number = row.get("startImageNumber"), row.get("numberOfImages")
    if first is None or number is None:
        return first, None
    return first, first + number - 1


def image_pattern(row: Row) -> str | None:
    """Return the file template with `%05d` for `#####`, None if there is none."""
    template = row.get("fileTemplate")
    if not template:
        return None
    if "#" not in template:
        return str(template)
    template = str(template).replace("%", "%%")
    width = template.count("#")
    return f"{template.split('#')[0]}%0{width}d{template.split('#')[-1]}"


def first_file(row: Row) -> str | None:
    """Return the path of the first image's file, None if that cannot be known."""
    pattern, directory = image_pattern(row), row.get("imageDirectory")
    if pattern is None or directory is None:
        return None
    if "%" not in pattern:
        return str(PurePosixPath(directory, pattern))
    if not row.get("startImageNumber"):
        return None
    return str(PurePosixPath(directory, pattern % row["startImageNumber"]))


def image_range(row: Row) -> str | None:
    """Return `FILE:FIRST:LAST`, None if one of them is not known."""
    first, last = first_and_last(row)
    file = first_file(row)
    if first is None or last is None:
        return None
    return f"{file}:{first:d}:{last:d}"


def sweep_range(row: Row, first: int, last: int) -> str | None:
    """Return `FILE:FIRST:LAST` of some images of a data collection."""
    directory, template = row.get("imageDirectory"), row.get("fileTemplate")
    if not directory or not template:
        return None
    path = str(PurePosixPath(directory, template))

    def _number(found: re.Match[str]) -> str:
        return f"{first:0{len(found.group())}d}"

    return f"{re.sub('#+', _number, path, count=1)}:{first:d}:{last:d}"


def is_rotation(row: Row) -> bool | None:
    """Whether the images follow one another in a rotation; None if not known."""
    overlap, axis_range = row.get("overlap"), row.get("axisRange")
    if overlap is None or axis_range is None:
        return None
    return bool(overlap == 0.0 and axis_range > 0)


def is_screening(row: Row) -> bool | None:
    """Whether these are single shots; None if not known."""
    number = row.get("numberOfImages")
    if number is None:
        return None
    return bool(number == 1 or (number > 1 and row.get("overlap") != 0.0))


def classify(row: Row, experiment_type: str | None) -> dict[str, bool | None]:
    """Return of which classes a data collection is."""
    screening = is_screening(row)
    return {
        "grid": bool(row.get("gridinfo")),
        "screen": screening and experiment_type not in _SERIAL,
        "characterization": experiment_type == "Characterization",
        "rotation": is_rotation(row),
        "serial_fixed": experiment_type == "Serial Fixed",
        "serial_jet": experiment_type == "Serial Jet",
        "diamond_anvil_cell": experiment_type == "Diamond Anvil High Pressure",
    }


def detector_class(row: Row, model: str | None) -> str | None:
    """Return "eiger" or "pilatus", None for what is neither."""
    for name in ("eiger", "pilatus"):
        if str(model).lower().startswith(name):
            return name
    template = str(row.get("fileTemplate") or "")
    if template.endswith("master.h5"):
        return "eiger"
    return "pilatus" if template.endswith(".cbf") else None


def crystal_name(row: Row) -> str:
    """Return what programs may call the crystal: `x` and letters and digits."""
    prefix, number = row.get("imagePrefix"), row.get("dataCollectionNumber")
    if not prefix or not number:
        return "DEFAULT"
    return "x" + re.sub("[^A-Za-z0-9]+", "", f"{prefix}{number}")
