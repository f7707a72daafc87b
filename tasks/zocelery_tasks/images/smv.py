"""SMV files: a header of `KEY=VALUE;` lines in braces, then the pixels as they are.

ADSC's detectors write them, and many programs do after them. Their conventions are
those of dxtbx (FormatSMVADSC, FormatSMVJHSim), from which the gains come as well.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zocelery.errors import ImageError
from zocelery_tasks.images.image import PixelBuffers, Pixels, PixelType

_FIRST_LINE = re.compile(rb"\{\s*HEADER_BYTES\s*=\s*(\d+)")
_LONGEST_FIRST_LINE = 64
_MOST_HEADER = 1 << 20
_LINE = re.compile(r"\s*([^=;\n]+?)\s*=\s*([^;\n]*?)\s*;?\s*")
_TYPES = {
    "unsigned char": "u1",
    "unsigned short": "u2",
    "unsigned int": "u4",
    "unsigned long": "u4",
    "char": "i1",
    "short": "i2",
    "int": "i4",
    "long": "i4",
}
_ORDERS = {"little_endian": "<", "big_endian": ">"}


class SmvHeader(Mapping[str, str]):
    """The values of a header, by key."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        inside = text.partition("}")[0].lstrip("{")
        matches = filter(None, map(_LINE.fullmatch, inside.split("\n")))
        self._values = {match[1]: match[2] for match in matches}

    def __getitem__(self, key: str) -> str:
        """Return the text after `key`; KeyError if there is no such line."""
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._values)

    def number(self, key: str, default: float | None = None) -> float:
        """Return a number.

        Raises:
            ImageError: if it is missing, without a default, or no finite number.
        """
        if key not in self and default is not None:
            return default
        try:
            number = float(self[key])
        except KeyError:
            raise ImageError(f"{self.file}: header lacks {key}") from None
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ImageError(f"{self.file}: {key} is {self[key]!r}")
        return number

    def whole(self, key: str, default: int | None = None) -> int:
        """Return a whole number.

        Raises:
            ImageError: if it is missing, without a default, or something else.
        """
        number = self.number(key, default)
        if number != int(number):
            raise ImageError(f"{self.file}: {key} is {self[key]!r}")
        return int(number)

    def positive(self, key: str) -> float:
        """Return a number above 0.

        Raises:
            ImageError: if it is missing or something else.
        """
        number = self.number(key)
        if number <= 0:
            raise ImageError(f"{self.file}: {key} is {self[key]!r}")
        return number


@dataclass(frozen=True)
class SmvFile:
    """A SMV file in memory."""

    header: SmvHeader
    shape: tuple[int, int]
    """Pixels along (slow, fast)."""
    stored: npt.NDArray[np.integer]
    """Shape (slow, fast), in the byte order of the file, read-only."""

    @property
    def dtype(self) -> PixelType:
        """Type of the pixels, in this machine's byte order."""
        return self.stored.dtype.newbyteorder("=")

    def pixels(self, buffers: PixelBuffers | None = None) -> Pixels:
        """Return the pixels, shape (slow, fast)."""
        pixels = (buffers or PixelBuffers()).take(self.shape, self.dtype)
        np.copyto(pixels, self.stored)
        return pixels


def is_smv(head: bytes) -> bool:
    """Whether a file that begins with `head` is a SMV file."""
    return _FIRST_LINE.match(head[:_LONGEST_FIRST_LINE]) is not None


def parse_smv(file: Path, content: bytes) -> SmvFile:
    """Return what a SMV file holds.

    Args:
        file: for messages.
        content: of the file.

    Raises:
        ImageError: if it is truncated, of a wrong size, or of a kind that is not
            supported; the message names the file.
    """
    match = _FIRST_LINE.match(content[:_LONGEST_FIRST_LINE])
    if match is None:
        raise ImageError(f"{file}: not a SMV file")
    start = int(match[1])
    text = content[: min(start, _MOST_HEADER)].decode("latin-1")
    if len(content) < start or "}" not in text:
        raise ImageError(f"{file}: truncated: the header does not end")
    header = SmvHeader(file, text)
    slow, fast = header.whole("SIZE2"), header.whole("SIZE1")
    if min(slow, fast) < 1 or header.whole("DIM", 2) != 2:
        raise ImageError(f"{file}: {fast} x {slow} pixels are no image")
    dtype = _dtype(header)
    promised, present = slow * fast * dtype.itemsize, len(content) - start
    if present < promised:
        raise ImageError(f"{file}: truncated: {present} of {promised} bytes of pixels")
    if present >= 2 * promised:
        raise ImageError(f"{file}: {present} instead of {promised} bytes of pixels")
    stored = np.frombuffer(content, dtype, slow * fast, start).reshape(slow, fast)
    return SmvFile(header, (slow, fast), stored)


def _dtype(header: SmvHeader) -> PixelType:
    compression = header.get("COMPRESSION", "None")
    if compression.lower() != "none":
        raise ImageError(f"{header.file}: compression {compression!r} is not supported")
    given = header.get("TYPE", header.get("Data_type", "unsigned_short"))
    name = " ".join(given.replace("_", " ").lower().split())
    name = name.removeprefix("signed ")
    if name not in _TYPES:
        name = name.removesuffix(" int")
    order = header.get("BYTE_ORDER", "")
    if name not in _TYPES or order.lower() not in _ORDERS:
        raise ImageError(
            f"{header.file}: pixels of type {given!r} ({order or 'no BYTE_ORDER'}) "
            "are not supported"
        )
    return np.dtype(_ORDERS[order.lower()] + _TYPES[name])
