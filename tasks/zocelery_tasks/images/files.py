"""Reading files of detectors, with errors that say whether to try again."""

import bz2
import errno
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from zocelery.errors import ImageError, TemporaryError

_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE}
"""What a busy file server or process answers, rather than a missing or bad file."""
_MOST = 1 << 30
"""Bytes of a decompressed file: what claims to be more is no image."""
_GZIP_FORMAT = 31
"""zlib's number for data with gzip's header and check sum."""


class _Decompressor(Protocol):
    """What undoes the compression of one stream."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return at most `max_length` bytes more."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def unused_data(self) -> bytes:
        """What was given beyond the end of the stream."""


def _gzip_stream() -> _Decompressor:
    return zlib.decompressobj(_GZIP_FORMAT)


_COMPRESSED: tuple[tuple[bytes, Callable[[], _Decompressor]], ...] = (
    (b"\x1f\x8b", _gzip_stream),
    (b"BZh", bz2.BZ2Decompressor),
)


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins with `head` is compressed with gzip or bzip2."""
    return head.startswith(tuple(magic for magic, _ in _COMPRESSED))


def read_whole(file: Path) -> bytes:
    """Return what `file` holds, decompressed if it is compressed with gzip or bzip2.

    Raises:
        ImageError: if it is missing, may not be read or cannot be decompressed.
        TemporaryError: if the file server fails, so that trying again may help.
    """
    content = read_bytes(file)
    for magic, new_stream in _COMPRESSED:
        if content.startswith(magic):
            try:
                return _decompress(content, magic, new_stream)
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise ImageError(f"{file}: cannot be decompressed: {error}") from error
    return content


def _decompress(
    content: bytes, magic: bytes, new_stream: Callable[[], _Decompressor]
) -> bytes:
    """Return what one stream or several after each other hold.

    Raises:
        EOFError: if the last one is truncated.
        ValueError: if they hold more than any image.
    """
    parts: list[bytes] = []
    room = _MOST
    while content.startswith(magic):
        stream = new_stream()
        parts.append(stream.decompress(content, room + 1))
        room -= len(parts[-1])
        if room < 0:
            raise ValueError(f"it holds more than {_MOST} bytes")
        if not stream.eof:
            raise EOFError("it is truncated")
        content = stream.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_bytes(file: Path, size: int = -1) -> bytes:
    """Return the first `size` bytes of `file`, or all.

    Raises:
        ImageError: if it is missing or may not be read.
        TemporaryError: if the file server fails, so that trying again may help.
    """
    try:
        if file.is_fifo():
            raise ImageError(f"{file}: a pipe, not a file")  # opening it would wait
        with file.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        raise file_error(file, error) from error


def file_error(file: Path, error: OSError) -> ImageError | TemporaryError:
    """Return what to raise when `file` cannot be opened or read."""
    reason = " ".join(str(error.strerror or error).split())
    message = f"{file}: {reason}"
    if error.errno in _PASSING:
        return TemporaryError(message)
    return ImageError(message)
