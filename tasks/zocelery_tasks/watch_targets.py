"""What a watcher waits for, and what it says of each image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from zocelery_tasks.file_watcher_parameters import FileWatcherParameters, ImageSource


class Target(Protocol):
    """Images that are numbered from 1 in the order in which they are expected."""

    @property
    def total(self) -> int | None:
        """Number of images, None if only the files can tell."""

    @property
    def noun(self) -> str:
        """`files` or `images`, as in the counts that are told of."""

    def question(self, numbers: Sequence[int], *, patient: bool) -> dict[str, Any]:
        """Return what to ask a file probe for these images."""

    def payload(self, number: int, seen_at: float) -> dict[str, Any]:
        """Return what is told of an image; `seen_at` is a time since the epoch."""

    def absent(self, number: int) -> dict[str, Any]:
        """Return what is told of an image that did not come."""

    def is_blank(self, number: int) -> bool:
        """Whether nothing can be waited for under this number."""

    def __str__(self) -> str:
        """Return what to call the images in messages."""


@dataclass(frozen=True)
class PatternTarget:
    """Files whose names hold a number that counts up."""

    template: str
    """For `%`; without a number it is the name of the only file."""
    start: int
    end: int
    noun: str = "files"

    @property
    def total(self) -> int:
        """Number of files."""
        return self.end - self.start + 1

    def question(self, numbers: Sequence[int], *, patient: bool) -> dict[str, Any]:
        """Return what to ask a file probe for these files."""
        files = [(number, self._path(number)) for number in numbers]
        return {"files": files, "patient": patient}

    def payload(self, number: int, seen_at: float) -> dict[str, Any]:
        """Return what is told of a file."""
        return {**self._place(number), "file-seen-at": seen_at}

    def absent(self, number: int) -> dict[str, Any]:
        """Return what is told of a file that did not come."""
        return {**self._place(number), "success": False}

    def is_blank(self, number: int) -> bool:
        """Return False: every number has a name."""
        return False

    def _place(self, number: int) -> dict[str, Any]:
        return {
            "file": self._path(number),
            "file-number": number,
            "file-pattern-index": self.start + number - 1,
        }

    def _path(self, number: int) -> str:
        index = self.start + number - 1
        try:
            return self.template % index
        except TypeError:  # no number in it
            return self.template % ()

    def __str__(self) -> str:
        """Return pattern and numbers."""
        return f"{self.template} {self.start}-{self.end}"


@dataclass(frozen=True)
class ListTarget:
    """Files that are named one by one."""

    files: tuple[str | None, ...]
    noun: str = "files"

    @property
    def total(self) -> int:
        """Number of files."""
        return 0 if self.files == (None,) else len(self.files)

    def question(self, numbers: Sequence[int], *, patient: bool) -> dict[str, Any]:
        """Return what to ask a file probe for these files.

        They may be of any kind, so that empty ones count unless they are young.
        """
        files = [(number, self.files[number - 1]) for number in numbers]
        named = [(number, path) for number, path in files if path]
        return {"files": named, "patient": patient, "allow_empty": True}

    def payload(self, number: int, seen_at: float) -> dict[str, Any]:
        """Return what is told of a file."""
        return {**self._place(number), "file-seen-at": seen_at}

    def absent(self, number: int) -> dict[str, Any]:
        """Return what is told of a file that did not come."""
        return {**self._place(number), "success": False}

    def is_blank(self, number: int) -> bool:
        """Whether the list has no name here."""
        return not self.files[number - 1]

    def _place(self, number: int) -> dict[str, Any]:
        return {"file": self.files[number - 1], "file-list-index": number}

    def __str__(self) -> str:
        """Return length and first name."""
        return f"{len(self.files)} files from {self.files[0] if self.files else None}"


@dataclass(frozen=True)
class Hdf5Target:
    """Images of one data collection in HDF5 files."""

    file: str
    """The master file."""
    first: int = 1
    """Image of the file that has number 1 here."""
    last: int | None = None
    """None: as many as the file will have."""
    roots: tuple[Path, ...] = ()
    """The folders in which it may link to files, () for everywhere."""
    noun: str = "images"

    @property
    def total(self) -> int | None:
        """Number of images if it was given."""
        return None if self.last is None else self.last - self.first + 1

    def question(self, numbers: Sequence[int], *, patient: bool) -> dict[str, Any]:
        """Return what to ask a file probe for these images."""
        return {
            "hdf5": self.file,
            "first": self.first,
            "numbers": list(numbers),
            "patient": patient,
            "roots": list(map(str, self.roots)),
        }

    def payload(self, number: int, seen_at: float) -> dict[str, Any]:
        """Return what is told of an image."""
        index = self.first + number - 2
        return {
            "hdf5": self.file,
            "hdf5-index": index,
            "file": self.file,
            "file-number": number,
            "file-seen-at": seen_at,
            "parameters": {"scan_range": f"{index + 1},{index + 1}"},
        }

    def absent(self, number: int) -> dict[str, Any]:
        """Return what is told of an image that did not come."""
        index = self.first + number - 2
        return {"file": self.file, "hdf5-index": index, "success": False}

    def is_blank(self, number: int) -> bool:
        """Return False: every image can be waited for."""
        return False

    def __str__(self) -> str:
        """Return file and numbers."""
        return f"{self.file} {self.first}-{self.last or ''}"


def choose_target(
    parameters: FileWatcherParameters, roots: tuple[Path, ...] = ()
) -> Target:
    """Return what the parameters say to wait for; files may link to `roots` only."""
    if parameters.files is not None:
        return ListTarget(tuple(parameters.files))
    if parameters.hdf5 is not None:
        return Hdf5Target(parameters.hdf5, roots=roots)
    if parameters.images is None:
        start, end = parameters.pattern_start, parameters.pattern_end
        return PatternTarget(str(parameters.pattern), int(start or 0), int(end or 0))
    source = ImageSource.parse(parameters.images)
    if source.is_hdf5:
        return Hdf5Target(source.file, source.first or 1, source.last, roots=roots)
    return PatternTarget(
        source.file,
        1 if source.first is None else source.first,
        1 if source.last is None else source.last,
    )
