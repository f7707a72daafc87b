"""Files that a wrapper's result consists of, as they are kept and told."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that a wrapper's result consists of."""

    path: Path
    place: str
    """Its path in the results folder."""
    kind: str = "result"
    """"log", "result" or "graph", as the LIMS names attachments."""
    rank: int = 2
    """Importance, 1 is the highest."""
    is_told: bool = True
    """Whether it is an attachment, or only copied with the rest."""


def attachments(
    kept: Sequence[KeptFile], folder: Path | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield place and description of each file that is an attachment.

    Args:
        kept: the files.
        folder: where copies of them are, if there are any.
    """
    for file in (file for file in kept if file.is_told):
        path = folder / file.place if folder else file.path
        told = {
            "file_path": str(path.parent),
            "file_name": path.name,
            "file_type": file.kind,
            "importance_rank": file.rank,
        }
        yield file.place, told
