"""HDF5 files that stay open, also while others write them, and the links among them.

Apart from the reader of images: a probe is a process of its own and loads little.
"""

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from zocelery.allowed_files import allowed_path
from zocelery_tasks.hdf5_links import linked_file

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MAX_LINKS = 16
_FIRST_VERSION_WITH_FLAGS = 2
_WRITTEN_TO, _WRITTEN_SWMR = 0x01, 0x04
_QUIET_S = 10.0


class NotReadyError(Exception):
    """A file or dataset is not there yet, or cannot be read yet."""


class OpenFile:
    """One file, opened as its writer allows."""

    def __init__(self, path: Path) -> None:
        """Open `path`.

        Only a file whose superblock says so is opened for reading beside its writer
        (SWMR): HDF5 may hang on a truncated file that is opened so. No lock is taken.

        Raises:
            NotReadyError: if it cannot be read yet.
        """
        self.path = path
        self._stamp = _stamp(path)
        self.is_live = _is_live(path, self._stamp[3])
        try:
            self.handle = h5py.File(path, "r", swmr=self.is_live, locking=False)
        except OSError as error:
            raise NotReadyError(f"{path}: {' '.join(str(error).split())}") from error

    def is_current(self) -> bool:
        """Whether what is open is what is on disk."""
        stamp = _stamp(self.path)
        if self.is_live:
            return stamp[:2] == self._stamp[:2]
        return stamp == self._stamp

    def writer_has_closed(self) -> bool:
        """Whether nothing more will be written.

        Files of HDF5's oldest format do not say so: they are taken to be complete when
        they have not been changed for some seconds.
        """
        head = _superblock(self.path)
        if head[8] >= _FIRST_VERSION_WITH_FLAGS:
            return not head[11] & _WRITTEN_TO
        return time.time() - self.path.stat().st_mtime > _QUIET_S


def _stamp(path: Path) -> tuple[int, int, int, int]:
    """Return device, file, time and size."""
    try:
        status = path.stat()
    except OSError as error:
        raise NotReadyError(f"{path}: {error.strerror}") from error
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _superblock(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise NotReadyError(f"{path}: {error.strerror}") from error
    if not head.startswith(SIGNATURE) or len(head) < 48:
        raise NotReadyError(f"{path}: not (yet) an HDF5 file")
    return head


def _is_live(path: Path, size: int) -> bool:
    """Whether a writer has the file open and lets others read.

    Raises:
        NotReadyError: if a writer does not let others read, or the file is truncated.
    """
    head = _superblock(path)
    has_flags = head[8] >= _FIRST_VERSION_WITH_FLAGS
    flags = head[11] if has_flags else 0
    if flags & _WRITTEN_SWMR:
        return True
    if flags & _WRITTEN_TO:
        raise NotReadyError(f"{path}: still being written")
    (end,) = struct.unpack_from("<Q", head, 28 if has_flags else 40 + 4 * head[8])
    if size < end:
        raise NotReadyError(f"{path}: truncated, {size} of {end} bytes")
    return False


class OpenFiles:
    """Files that stay open from one look to the next."""

    def __init__(self, roots: Sequence[Path] = ()) -> None:
        """Open nothing yet; links may lead below `roots`, () for everywhere."""
        self._roots = roots
        self.look = 0
        """Counts the looks: within one, a file that was checked is taken as it is."""
        self._files: dict[Path, OpenFile] = {}
        self._checked: dict[Path, int] = {}

    def get(self, path: Path) -> OpenFile:
        """Return a file, open.

        Raises:
            NotReadyError: if it cannot be read yet.
        """
        known = self._files.get(path)
        if known is not None and self._checked.get(path) == self.look:
            return known
        if known is None or not known.is_current():
            self.close(path)
            known = self._files[path] = OpenFile(path)
        self._checked[path] = self.look
        return known

    def close(self, path: Path | None = None) -> None:
        """Close one file, or all."""
        for each in [path] if path is not None else list(self._files):
            known = self._files.pop(each, None)
            if known is not None:
                known.handle.close()

    def find(self, file: OpenFile, name: str) -> "Found":
        """Return the group or dataset that a path leads to, through links.

        Raises:
            NotReadyError: if it leads nowhere yet.
        """
        item: Any = file.handle
        names = _split(name)
        links = 0
        while names:
            part = names.pop(0)
            link = (
                item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
            )
            if link is None:
                raise NotReadyError(f"{file.path}: has no {name} (yet)")
            if isinstance(link, h5py.HardLink):
                item = item[part]
                continue
            links += 1
            if links > _MAX_LINKS:
                raise NotReadyError(f"{file.path}: links to {name} lead nowhere")
            if isinstance(link, h5py.ExternalLink):
                file = self.linked(file.path, link.filename)
                item = file.handle
            elif link.path.startswith("/"):
                item = file.handle
            names = [*_split(link.path), *names]
        return Found(file, item)

    def linked(self, path: Path, name: str) -> OpenFile:
        """Return the file that a link in `path` to a file `name` means, open.

        Raises:
            NotReadyError: if it is not there, or cannot be read yet.
            ParameterError: if it is outside of the allowed folders.
        """
        found = linked_file(path, name) or path.parent / name
        return self.get(allowed_path(found, f"{path}: linked file", self._roots))


def _split(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


@dataclass(frozen=True)
class Found:
    """A group or dataset and the file that it lies in."""

    file: OpenFile
    item: Any
