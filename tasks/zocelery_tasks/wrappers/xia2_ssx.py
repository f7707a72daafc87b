"""The wrapper `xia2.ssx`: stills of serial crystallography, indexed and merged."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from zocelery.errors import ParameterError, PermanentError
from zocelery_tasks.wrappers.base import (
    Answer,
    Bench,
    KeptFile,
    WrapperParameters,
    wrapper_task,
)
from zocelery_tasks.wrappers.dials import image_files, import_source, plain_path
from zocelery_tasks.wrappers.merging import draw_answer, read_merging_statistics
from zocelery_tasks.wrappers.phil import as_numbers, phil_arguments, phil_value

_COUNTS = {
    "images": re.compile(r"Cumulative number of images processed: (\d+)"),
    "indexed_percent": re.compile(r"Cumulative % of images indexed: ([\d.]+)%"),
    "integrated_crystals": re.compile(r"Total number of integrated crystals: (\d+)"),
}
"""What xia2.ssx says after each batch of images, and so at the end."""
_FAILURE = re.compile(r"^(?:Error|Unable to find file): .+$", re.MULTILINE)


class SsxParameters(WrapperParameters):
    """Parameters of `xia2.ssx`."""

    images: str | None = None
    """`x.nxs`, or `x_%05d.cbf:1:100`."""
    space_group: str | int | None = None
    """Known beforehand: a symbol or a number."""
    unit_cell: str | list[float] | None = None
    """`a,b,c,alpha,beta,gamma`, Å and degrees."""
    d_min: float | None = Field(default=None, gt=0)
    """Finest resolution, Å."""
    reference: str | None = None
    """A PDB or MTZ file that decides the indexing and the scale."""
    phil: Mapping[str, Any] = Field(default_factory=dict)
    """Parameters of the program by their full names."""


@wrapper_task("xia2.ssx", parameters=SsxParameters, picture=draw_answer)
def xia2_ssx(bench: Bench) -> Answer:
    """Index, integrate and merge still images with xia2.ssx."""
    given = bench.parameters
    assert isinstance(given, SsxParameters)
    arguments = [*_image_arguments(given), *_phil(given, bench.processes)]
    bench.run(["xia2.ssx", *arguments], progress=_progress)
    kept = bench.keep(_kept(bench.folder))
    _check_success(bench)
    data = bench.folder / "DataFiles"
    merged = sorted(data.glob("merged*.mtz"))
    return {
        "mtz": str(merged[0]) if merged else None,
        **read_counts(bench.log),
        "merging_statistics": _statistics(bench.log),
        "files": kept,
    }


def _check_success(bench: Bench) -> None:
    """Refuse what failed: xia2.ssx ends with exit code 0 whatever it says."""
    said = _FAILURE.findall(bench.log.read_text(errors="replace"))
    if said:
        raise bench.bad_result(f"xia2.ssx failed: {said[-1]}")
    data = bench.folder / "DataFiles"
    if not data.is_dir() or not any(data.iterdir()):
        raise bench.bad_result("xia2.ssx left no DataFiles")


def _image_arguments(given: SsxParameters) -> Iterator[str]:
    if not given.images:
        raise ParameterError("xia2.ssx: no images are named")
    for name in image_files(import_source(given.images)):
        path = phil_value(str(plain_path(name, "images")), "xia2.ssx: images")
        yield f"image={path}"


def _phil(given: SsxParameters, processes: int) -> Iterator[str]:
    reference = given.reference
    own = {
        "space_group": given.space_group,
        "unit_cell": as_numbers(given.unit_cell, "xia2.ssx: unit_cell"),
        "d_min": given.d_min,
        "reference": None if not reference else str(plain_path(reference, "reference")),
        "nproc": processes,
    }
    return phil_arguments({**own, **given.phil}, "xia2.ssx")


def _progress(line: str) -> tuple[str, int, int | None] | None:
    found = _COUNTS["images"].search(line)
    return (f"{found[1]} images processed", int(found[1]), None) if found else None


def read_counts(log: Path) -> dict[str, float]:
    """Return how many images, indexed (%), and crystals the log tells of last."""
    text = log.read_text(errors="replace")
    found = {name: pattern.findall(text) for name, pattern in _COUNTS.items()}
    return {name: float(told[-1]) for name, told in found.items() if told}


def _statistics(log: Path) -> Answer | None:
    try:
        return read_merging_statistics(log)
    except PermanentError:
        return None


def _kept(folder: Path) -> Iterator[KeptFile]:
    for name in ("xia2.ssx.log", "xia2.ssx.html"):
        if (folder / name).is_file():
            yield KeptFile(folder / name, name, "log", 1)
    for place, kind in (("DataFiles", "result"), ("LogFiles", "log")):
        for file in sorted((folder / place).rglob("*")):
            if file.is_file():
                rank = 1 if file.match("merged*.mtz") else 2
                yield KeptFile(file, str(file.relative_to(folder)), kind, rank)
