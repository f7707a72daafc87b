"""Reading files of detectors, with errors that say whether to try again."""

import bz2
import errno
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

from zocelery.errors import ImageError, TemporaryError

_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE}
"""What a busy file server or process answers, rather than a missing or bad file."""
_COMPRESSED: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", gzip.decompress),
    (b"BZh", bz2.decompress),
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
    for magic, decompress in _COMPRESSED:
        if content.startswith(magic):
            try:
                return decompress(content)
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise ImageError(f"{file}: cannot be decompressed: {error}") from error
    return content


def read_bytes(file: Path, size: int = -1) -> bytes:
    """Return the first `size` bytes of `file`, or all.

    Raises:
        ImageError: if it is missing or may not be read.
        TemporaryError: if the file server fails, so that trying again may help.
    """
    try:
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
