"""Reading files of detectors, with errors that say whether to try again."""

import errno
from pathlib import Path

from zocelery.errors import ImageError, TemporaryError

_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE}
"""What a busy file server or process answers, rather than a missing or bad file."""


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
