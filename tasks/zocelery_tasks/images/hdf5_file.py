"""HDF5 files kept open for reading, also while they are being written."""

import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import h5py
import hdf5plugin  # noqa: F401 (importing it registers the detectors' compressions)

from zocelery.allowed_files import allowed_path
from zocelery.errors import ImageError, ParameterError
from zocelery_tasks.hdf5_links import linked_file
from zocelery_tasks.images.files import file_error, read_bytes

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_SUPERBLOCK_SIZE = 48
_FIRST_VERSION_WITH_FLAGS = 2
_WRITTEN_TO, _WRITTEN_SWMR = 0x01, 0x04
_MAX_OPEN = 32
"""A master with its data files; each costs a descriptor and HDF5's caches."""


class Hdf5File:
    """An open HDF5 file.

    A file that a detector is writing is opened for single-writer multiple-reader
    access, and only then: HDF5 may hang on a truncated file that is opened so. No lock
    is taken on it, so that a reader never keeps a writer from opening its file.
    """

    def __init__(self, file: Path) -> None:
        """Open `file`.

        Raises:
            ImageError: if it is missing, may not be read, is truncated or no HDF5 file.
            TemporaryError: if the file server fails.
        """
        self.path = file
        self._identity, self._state = _look_at(file)
        self.is_live = _is_being_written(file, self._state[1])
        self._look: object = None
        try:
            self.handle = h5py.File(file, "r", swmr=self.is_live, locking=False)
        except OSError as error:
            raise file_error(file, error) from error

    def is_current(self) -> bool:
        """Whether the path still means this file, unchanged but for what is appended.

        The file system is asked once in a look.

        Raises:
            ImageError: if the file has been removed, or can no longer be read.
        """
        look = current_look()
        if look is not None and look is self._look:
            return True
        is_current = self._is_unchanged()
        self._look = look if is_current else None
        return is_current

    def _is_unchanged(self) -> bool:
        identity, state = _look_at(self.path)
        if identity != self._identity:
            return False
        if state == self._state:
            return True
        grows = self.is_live and state[1] >= self._state[1]
        if not grows or not _is_being_written(self.path, state[1]):
            return False
        self._state = state
        return True

    def sibling(self, name: str) -> Path:
        """Return where a link in this file to a file `name` leads.

        Raises:
            ImageError: if the file is not there, or outside of the allowed folders.
        """
        found = linked_file(self.path, name)
        if found is None:
            raise ImageError(f"{self.path}: linked file {name} is missing")
        try:
            return allowed_path(found, "linked file")
        except ParameterError as error:
            raise ImageError(f"{self.path}: {error}") from error


class _Look(threading.local):
    """What tells one look at files from the next, None outside of any."""

    token: object = None


_look = _Look()


@contextmanager
def one_look() -> Iterator[None]:
    """Take files that have been found unchanged for unchanged until the end."""
    before, _look.token = _look.token, object()
    try:
        yield
    finally:
        _look.token = before


def current_look() -> object:
    """Return what stands for this thread's look, None outside of any."""
    return _look.token


class _OpenFiles:
    """The files that this process has open, least recently used first."""

    _lock: ClassVar[threading.RLock] = threading.RLock()

    def __init__(self) -> None:
        self._files: OrderedDict[Path, Hdf5File] = OrderedDict()
        self._process = os.getpid()

    def has(self, file: Path) -> bool:
        """Whether the file is open and has not changed."""
        with self._lock:
            known = self._files.get(file) if self._process == os.getpid() else None
            return known is not None and known.is_current()

    def get(self, file: Path) -> Hdf5File:
        """Return the file, opened if it is not, or if it has changed."""
        with self._lock:
            if self._process != os.getpid():  # a child must not share its parent's
                self._files.clear()
                self._process = os.getpid()
            known = self._files.pop(file, None)
            if known is not None and not known.is_current():
                # HDF5 would share what it remembers of the old with the new one.
                known.handle.close()
                known = None
            if known is None:
                known = Hdf5File(file)
            self._files[file] = known
            if len(self._files) > _MAX_OPEN:
                self._files.popitem(last=False)[1].handle.close()
            return known


_open_files = _OpenFiles()


def open_hdf5(file: Path) -> Hdf5File:
    """Return `file`, open; kept open for the next time unless it changes.

    What is kept from it may be closed by the time that another file has been opened:
    ask again before each use.

    Raises:
        ImageError: if it is missing, may not be read, is truncated or no HDF5 file.
        TemporaryError: if the file server fails.
    """
    return _open_files.get(file)


def is_open(file: Path) -> bool:
    """Whether `file` is open and has not changed, and thus is an HDF5 file.

    Raises:
        ImageError: if it has been removed, or can no longer be read.
    """
    return _open_files.has(file)


def _look_at(file: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return what tells the file from others, and its time and size."""
    try:
        status = file.stat()
    except OSError as error:
        raise file_error(file, error) from error
    return (status.st_dev, status.st_ino), (status.st_mtime_ns, status.st_size)


def _is_being_written(file: Path, size: int) -> bool:
    """Whether the file's superblock says that a writer allows readers (SWMR).

    Raises:
        ImageError: if the file is no HDF5 file, is truncated, or is being written by
            a writer that does not allow readers.
    """
    head = read_bytes(file, _SUPERBLOCK_SIZE)
    if not head.startswith(SIGNATURE):
        raise ImageError(f"{file}: not an HDF5 file")
    if len(head) < _SUPERBLOCK_SIZE:
        raise ImageError(f"{file}: truncated: {len(head)} bytes")
    has_flags = head[8] >= _FIRST_VERSION_WITH_FLAGS
    flags = head[11] if has_flags else 0
    if flags & _WRITTEN_SWMR:
        return True
    if flags & _WRITTEN_TO:
        raise ImageError(f"{file}: still being written, or its writer has died")
    (end,) = struct.unpack_from("<Q", head, 28 if has_flags else 40 + 4 * head[8])
    if size < end:
        raise ImageError(f"{file}: truncated: {size} of {end} bytes")
    return False
