"""What DIALS's programs print: progress while they run, numbers afterwards."""

import re
from pathlib import Path
from typing import Any

from zocelery_tasks.wrappers.program_log import ProgressParser

_GROUP = re.compile(
    r"(?:Recommended space group|Space group being used during scaling is"
    r"|Space group)[: ]\s*(?P<group>[A-Z] [-0-9A-Za-z/ ]+?)\s*$",
    re.MULTILINE,
)
_SAVED = re.compile(r"Saved (\d+) reflections")
_RMSD = re.compile(r"^\|\s*0 \|\s*(\d+) \|((?:\s*[\d.]+ \|){3})$", re.MULTILINE)
_INTEGRATED = re.compile(r"^\s*Integrate:\s+(\d+)$", re.MULTILINE)
_STRONG = re.compile(r"Found \d+ strong pixels on image (\d+)")
_RANGE = re.compile(r"Finding spots in image (\d+) to (\d+)")
_STAGES = re.compile(
    r"^(?:RMSDs by experiment|Refinement steps|Integrating reflections|Candidate "
    r"solutions|Performing profile modelling|Predicting reflections|Calculating E\.S\.D"
    r"|Scoring (?:all possible|individual) |Performing scaling|Error model details|"
    r"Estimated resolution|Found max_cell|Summary of merging statistics).*"
)


class DialsProgress:
    """Reads progress: the image of spot finding, the stage of everything else."""

    def __init__(self) -> None:
        """Know of no images yet."""
        self._first, self._last = 1, 0

    def __call__(self, line: str) -> tuple[str, int, int | None] | None:
        """Return what a line tells of progress."""
        if found := _RANGE.search(line):
            self._first, self._last = int(found[1]), int(found[2])
        if found := _STRONG.search(line):
            seen = int(found[1]) - self._first + 1
            expected = self._last - self._first + 1 if self._last else None
            return f"spots of image {found[1]}", seen, expected
        stage = _STAGES.match(line)
        return (stage[0].strip(" :"), 0, None) if stage else None


def dials_progress() -> ProgressParser:
    """Return a parser of what a program of DIALS prints."""
    return DialsProgress()


def found_space_group(log: Path) -> str | None:
    """Return the space group that was named last."""
    groups = _GROUP.findall(_text(log))
    return str(groups[-1]) if groups else None


def saved_reflections(log: Path) -> int | None:
    """Return how many spots were written."""
    found = _SAVED.findall(_text(log))
    return int(found[-1]) if found else None


def refined_rmsds(log: Path) -> dict[str, Any]:
    """Return how far observed spots are from predicted ones, in px and images."""
    found = _RMSD.findall(_text(log))
    if not found:
        return {}
    x, y, z = (float(number) for number in found[-1][1].split("|")[:3])
    return {"rmsd_x_px": x, "rmsd_y_px": y, "rmsd_z_images": z}


def integrated_count(log: Path) -> dict[str, Any]:
    """Return how many reflections were integrated."""
    found = _INTEGRATED.findall(_text(log))
    return {"integrated": sum(map(int, found))} if found else {}


def _text(log: Path) -> str:
    return log.read_text(errors="replace")
