"""What a run of xia2 has found: `xia2.json`, `xia2.txt`, `xia2-report.json`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from zocelery.errors import PermanentError
from zocelery_tasks.wrappers.json_files import read_json_file
from zocelery_tasks.wrappers.merging import NAMES, SHELLS
from zocelery_tasks.wrappers.panel_geometry import PanelGeometry

CELL = ("a", "b", "c", "alpha", "beta", "gamma")
_COMMAND_LINE = "Command line:"
ERROR_FILES = ("xia2-error.txt", "xia2.error")
_WRONG_GROUP = "may be assigned to the wrong space group"
_INCOMPLETE = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError)
"""What comes of reading a project in which something is missing or of another kind."""
Found = dict[str, Any]


def read_results(folder: Path, place: Path, program: str = "xia2") -> Found:
    """Return a run's results as the LIMS takes them.

    Args:
        folder: where xia2 has worked.
        place: where its files will be found, for attachments.
        program: the name under which it stands in the LIMS.

    Raises:
        PermanentError: the files cannot be read or are not those of a complete run.
    """
    project = _read_object(folder / "xia2.json")
    try:
        crystals = project["_crystals"]
        if len(crystals) != 1:
            raise PermanentError(f"xia2.json: {len(crystals)} crystals, not one")
        crystal = next(iter(crystals.values()))
        return _result(crystal, folder, place, program)
    except _INCOMPLETE as error:
        raise PermanentError(
            f"{folder / 'xia2.json'}: is not of a complete run: {error!r}"
        ) from error


def _result(crystal: Found, folder: Path, place: Path, program: str) -> Found:
    scaler = crystal["_scaler"]
    key, statistics = list(scaler["_scalr_statistics"].items())[-1]
    wavelength = json.loads(key)[2]
    sweeps = crystal["_wavelengths"][wavelength]["_sweeps"]
    written = datetime.fromtimestamp((folder / "xia2.json").stat().st_mtime)
    files = scaler["_scalr_scaled_reflection_files"]
    return {
        "AutoProc": {
            "spaceGroup": scaler["_scalr_likely_spacegroups"][0],
            **_cell("refinedCell", scaler["_scalr_cell"]),
        },
        "AutoProcScalingContainer": {
            "AutoProcScaling": {
                "recordTimeStamp": written.strftime("%Y-%m-%d %H:%M:%S")
            },
            "AutoProcScalingStatistics": [
                {"scalingStatisticsType": shell, **_shell(statistics, position)}
                for position, shell in enumerate(SHELLS)
            ],
            "AutoProcIntegrationContainer": [_integration(sweep) for sweep in sweeps],
        },
        "AutoProcProgramContainer": {
            "AutoProcProgram": {
                "processingCommandLine": command_line(folder),
                "processingProgram": program,
            },
            "AutoProcProgramAttachment": [
                *_merged_files(files, place),
                {
                    "fileType": "Log",
                    "fileName": "xia2.txt",
                    "filePath": str(place),
                },
            ],
        },
    }


def command_line(folder: Path) -> str:
    """Return the command line as xia2 has written it down, "" if it has not."""
    text = folder / "xia2.txt"
    lines = text.read_text(errors="replace").splitlines() if text.exists() else []
    for line in lines:
        if line.startswith(_COMMAND_LINE):
            return line.removeprefix(_COMMAND_LINE).strip()
    return ""


def _shell(statistics: Mapping[str, Sequence[float]], position: int) -> Found:
    known = ((key, statistics.get(name)) for name, key in NAMES.items())
    values = ((key, v[position]) for key, v in known if v and len(v) > position)
    return {key: value for key, value in values if value is not None}


def _cell(prefix: str, numbers: Sequence[float]) -> Found:
    names = (f"{prefix}_{name}" for name in CELL)
    return dict(zip(names, numbers, strict=True))


def _merged_files(files: Mapping[str, Any], place: Path) -> Iterator[Found]:
    for file in files.values():
        if isinstance(file, str):
            yield {
                "fileType": "Result",
                "fileName": Path(file).name,
                "filePath": str(place / "DataFiles"),
            }


def _integration(sweep: Found) -> Found:
    integrater = sweep["_integrater"]
    first, last = integrater.get("_intgr_wedge") or sweep["_frames_to_process"]
    geometry = _geometry(sweep["_indexer"]["_indxr_experiment_list"])
    return {
        "Image": {
            "fileName": _first_image(sweep["_template"], first),
            "fileLocation": sweep["_directory"].replace("//", "/"),
        },
        "AutoProcIntegration": {
            **_cell("cell", integrater["_intgr_cell"]),
            "startImageNumber": first,
            "endImageNumber": last,
            **geometry,
        },
    }


def _first_image(template: str, number: int) -> str:
    width = template.count("#")
    return template.replace("#" * width, f"{number:0{width}d}") if width else template


def _geometry(experiments: Found) -> Found:
    """Return distance and beam centre; x is along the slow axis, as Mosflm has it."""
    experiment = experiments["experiment"][0]
    panels = [
        PanelGeometry.read(panel)
        for panel in experiments["detector"][experiment["detector"]]["panels"]
    ]
    beam = experiments["beam"][experiment["beam"]]
    direction = [-part / beam["wavelength"] for part in beam["direction"]]
    centres = [(panel, panel.beam_centre(direction)) for panel in panels]
    hit = [c for panel, c in centres if c is not None and panel.contains(*c)]
    centre = hit[0] if hit else centres[0][1] or (None, None)
    return {
        "refinedDetectorDistance": panels[0].distance,
        "refinedXBeam": centre[1],
        "refinedYBeam": centre[0],
    }


def read_xtriage(folder: Path) -> list[Found]:
    """Return what xtriage has to say of the data: level 0 (good) to 2, text, summary.

    What it says of space groups that a protein's data often only seem to have is left
    out, as at Diamond.
    """
    report = folder / "xia2-report.json"
    if not report.exists():
        return []
    messages = _read_object(report).get("xtriage") or []
    return [
        {key: message.get(key) for key in ("level", "text", "summary", "header")}
        for message in messages
        if isinstance(message, dict)
        and message.get("text")
        and _WRONG_GROUP not in str(message["text"])
    ]


def says_it_failed(folder: Path) -> bool:
    """Whether xia2 has left one of its files that are there only when it fails."""
    return any((folder / name).exists() for name in ERROR_FILES)


def error_line(folder: Path) -> str | None:
    """Return what xia2 calls an error: its words for why it failed, if it has failed.

    One that has ended well may have got over an error all the same.
    """
    text = folder / "xia2.txt"
    lines = text.read_text(errors="replace").splitlines() if text.exists() else []
    errors = [line for line in lines if line.startswith("Error:")]
    for name in ERROR_FILES:
        file = folder / name
        if file.exists():
            own = file.read_text(errors="replace").strip().splitlines()
            errors = errors or own[-1:] or [f"{name} was written"]
    return errors[-1].strip() if errors else None


def _read_object(file: Path) -> Found:
    found = read_json_file(file)
    if not isinstance(found, dict):
        raise PermanentError(f"{file}: is no JSON object")
    return found
