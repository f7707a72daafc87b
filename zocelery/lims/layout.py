"""Layouts: how a facility names the folders of its visits."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from zocelery.errors import ConfigurationError, ParameterError

DIAMOND_DEPTH = 6
"""Parts of the path of a visit's folder: `/`, dls, beamline, data, year, visit."""


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one data collection."""

    visit: str
    """The visit's name."""
    visit_directory: str
    working_directory: str
    results_directory: str
    final_directory: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where below a visit's folder programs work and leave their results."""

    name: str
    working: tuple[str, ...]
    results: tuple[str, ...]
    final: tuple[str, ...]

    def places(
        self, collection: Mapping[str, Any], session: str | None, guid: str
    ) -> Places | None:
        """Return the folders of a data collection; None if it has no image directory.

        Args:
            collection: `imageDirectory`, `imagePrefix`, `dataCollectionNumber`.
            session: the visit's name as the LIMS has it.
            guid: id of the run.

        Raises:
            ParameterError: the image directory is not of this layout.
        """
        directory = collection.get("imageDirectory")
        if not directory:
            return None
        visit, visit_directory = self._visit(str(directory), session)
        rest = str(directory)[len(visit_directory) + 1 :]
        prefix = collection.get("imagePrefix") or ""
        number = collection.get("dataCollectionNumber") or ""
        sample = f"{prefix}_{number}" if prefix or number else ""
        root = PurePosixPath(visit_directory)
        below = (rest, sample, guid)
        return Places(
            visit=visit,
            visit_directory=visit_directory,
            working_directory=str(root.joinpath(*self.working, *below)),
            results_directory=str(root.joinpath(*self.results, *below)),
            final_directory=str(root.joinpath(*self.final, *below)),
        )

    def _visit(self, directory: str, session: str | None) -> tuple[str, str]:
        path = PurePosixPath(directory)
        if not path.is_absolute():
            raise ParameterError(f"image directory {directory!r} is not absolute")
        if self is GENERIC:
            parts = path.parts
            depth = parts.index(session) + 1 if session in parts else len(parts)
        else:
            depth = DIAMOND_DEPTH
        if len(path.parts) < depth:
            raise ParameterError(
                f"image directory {directory!r} is not of Diamond's layout, "
                "/dls/BEAMLINE/data/YEAR/VISIT/...; set lims.layout"
            )
        found = PurePosixPath(*path.parts[:depth])
        if self is GENERIC and session:
            return session, str(found)
        return found.name, str(found)


DIAMOND = Layout(
    "diamond", ("tmp", "zocalo"), ("processed",), ("processed", "pipeline-final")
)
GENERIC = Layout(
    "generic",
    ("zocelery", "working"),
    ("zocelery", "results"),
    ("zocelery", "final"),
)
LAYOUTS = {layout.name: layout for layout in (DIAMOND, GENERIC)}


def find_layout(name: str) -> Layout:
    """Return the layout of this name; ConfigurationError if there is none."""
    if name not in LAYOUTS:
        raise ConfigurationError(
            f"lims.layout: {name!r} is none of {', '.join(LAYOUTS)}"
        )
    return LAYOUTS[name]
