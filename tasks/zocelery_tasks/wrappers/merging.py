"""Merging statistics: as DIALS and xia2 tell them, under the names of the LIMS."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zocelery.errors import PermanentError

NAMES: Mapping[str, str] = {
    "High resolution limit": "resolutionLimitHigh",
    "Low resolution limit": "resolutionLimitLow",
    "Completeness": "completeness",
    "Multiplicity": "multiplicity",
    "I/sigma": "meanIOverSigI",
    "Rmerge(I+/-)": "rMerge",
    "CC half": "ccHalf",
    "Anomalous completeness": "anomalousCompleteness",
    "Anomalous correlation": "ccAnomalous",
    "Anomalous multiplicity": "anomalousMultiplicity",
    "Total observations": "nTotalObservations",
    "Total unique": "nTotalUniqueObservations",
    "Rmeas(I)": "rMeasAllIPlusIMinus",
    "Rmeas(I+/-)": "rMeasWithinIPlusIMinus",
    "Rpim(I)": "rPimAllIPlusIMinus",
    "Rpim(I+/-)": "rPimWithinIPlusIMinus",
}
"""DIALS's and xia2's names of statistics, and the columns of the LIMS."""
SHELLS = ("overall", "innerShell", "outerShell")
_COUNTS = ("nTotalObservations", "nTotalUniqueObservations")
_COLUMNS = re.compile(r"(Suggested +Low +High +Overall|Overall +Low +High)\s*$")
_SHELL_OF_COLUMN = {
    "Suggested": "overall",
    "Overall": "overall",
    "Low": "innerShell",
    "High": "outerShell",
}
Statistics = dict[str, dict[str, Any]]


def read_merging_statistics(log: Path) -> Statistics:
    """Return the statistics that dials.scale prints, by shell and name.

    Where dials.scale suggests a resolution limit, "overall" is within it, and the
    statistics of all data are under "allData".

    Raises:
        PermanentError: the log has no summary.
    """
    lines = log.read_text(errors="replace").splitlines()
    starts = [n for n, line in enumerate(lines) if _COLUMNS.search(line)]
    if not starts:
        raise PermanentError(f"{log}: has no summary of merging statistics")
    shells = _shells(lines[starts[-1]])
    found: Statistics = {}
    for line in lines[starts[-1] + 1 :]:
        if not line.strip():
            break
        _read_line(line, shells, found)
    return found


def _shells(heading: str) -> list[str]:
    suggested = "Suggested" in heading
    return [
        "allData" if word == "Overall" and suggested else _SHELL_OF_COLUMN[word]
        for word in heading.split()
        if word in _SHELL_OF_COLUMN
    ]


def _read_line(line: str, shells: Sequence[str], found: Statistics) -> None:
    name, values = re.split(r"\s{2,}", line.strip(), maxsplit=1)
    key = NAMES.get(name)
    numbers = values.split()
    if key is None or len(numbers) != len(shells):
        return
    for shell, text in zip(shells, numbers, strict=True):
        number = _number(text, is_count=key in _COUNTS)
        found.setdefault(shell, {})[key] = number


def _number(text: str, *, is_count: bool) -> float | None:
    """Return a number of the table; None for what is none, such as `nan` and `None`."""
    try:
        number = float(text.rstrip("*"))  # a star: significant
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return int(number) if is_count else number


def draw_answer(answer: Mapping[str, Any]) -> str:
    """Return space group, cell and merging statistics as a table for a terminal."""
    lines = []
    if answer.get("space_group"):
        lines.append(f"Space group  {answer['space_group']}")
    if answer.get("unit_cell") and None not in answer["unit_cell"]:
        cell = "  ".join(f"{number:.3f}" for number in answer["unit_cell"])
        lines.append(f"Unit cell    {cell}")
    found = answer.get("merging_statistics") or {}
    shells = [shell for shell in SHELLS if shell in found]
    if shells:
        titles = {"overall": "Overall", "innerShell": "Inner", "outerShell": "Outer"}
        lines += ["", " " * 28 + "".join(f"{titles[s]:>10}" for s in shells)]
    for name, key in NAMES.items():
        values = [found[shell].get(key) for shell in shells]
        if shells and any(value is not None for value in values):
            lines.append(f"{name:<28}" + "".join(_cell(value, key) for value in values))
    return "\n".join(lines)


def _cell(value: Any, key: str) -> str:
    if value is None:
        return " " * 10
    if key in _COUNTS:
        return f"{value:>10d}"
    digits = 3 if key.startswith(("r", "cc")) and "resolution" not in key else 2
    return f"{value:>10.{digits}f}"
