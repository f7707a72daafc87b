"""The two parts of a CBF file: its text header and its one binary section."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zocelery.errors import ImageError
from zocelery_tasks.images.files import read_whole
from zocelery_tasks.images.image import PixelBuffers, Pixels, PixelType
from zocelery_tasks.kernels.byte_offset import decode_byte_offset

SIGNATURE = b"###CBF"

_SECTION = b"--CIF-BINARY-FORMAT-SECTION--"
_NEXT_SECTION = re.compile(re.escape(_SECTION) + rb"\r?\n")
_END = _SECTION + b"--"
_START = b"\x0c\x1a\x04\xd5"
"""What stands right before the binary data."""
_MIME_FIELD = re.compile(r'(?m)^(X-Binary-[\w-]+):\s*"?([^"\r\n]*?)"?\s*$')
_CONVERSION = re.compile(r'conversions="?([\w-]+)')
_TYPES: dict[str, PixelType] = {
    f"{sign} {bits}-bit integer": np.dtype(f"{code}{bits // 8}")
    for sign, code in (("signed", "i"), ("unsigned", "u"))
    for bits in (8, 16, 32)
}


@dataclass(frozen=True)
class CbfFile:
    """A CBF file in memory, not yet decoded."""

    file: Path
    header: str
    """The text before the binary section, comments included."""
    shape: tuple[int, int]
    """Pixels along (slow, fast)."""
    dtype: PixelType
    conversion: str
    """How the pixels are compressed: `x-CBF_BYTE_OFFSET` or `x-CBF_NONE`."""
    stream: npt.NDArray[np.int8]
    """The binary section."""
    others: tuple["CbfFile", ...] = ()
    """Of a detector of several panels: what the further sections hold, in order. The
    header of each section is the text before it."""

    def decode(self, buffers: PixelBuffers | None = None) -> Pixels:
        """Return the pixels, shape (slow, fast).

        Raises:
            ImageError: if the section does not hold exactly the pixels it promises.
        """
        if self.conversion == "x-CBF_NONE":
            return self._uncompressed()
        n_pixels = self.shape[0] * self.shape[1]
        if self.stream.size < n_pixels:
            raise ImageError(
                f"{self.file}: binary section of {self.stream.size} bytes "
                f"for {n_pixels} pixels"
            )
        shorter = self.dtype.itemsize < 4
        target = np.dtype(np.int32) if shorter else self.dtype
        pixels = (buffers or PixelBuffers()).take(self.shape, target)
        self._decode_into(pixels.reshape(-1).view(np.int32))
        return pixels.astype(self.dtype) if shorter else pixels

    def _uncompressed(self) -> Pixels:
        promised = self.shape[0] * self.shape[1] * self.dtype.itemsize
        if self.stream.size != promised:
            raise ImageError(
                f"{self.file}: binary section of {self.stream.size} bytes for "
                f"{promised} bytes of pixels"
            )
        # A copy, because the section begins at any byte.
        return np.array(self.stream.view(self.dtype).reshape(self.shape))

    def _decode_into(self, pixels: npt.NDArray[np.int32]) -> None:
        n_pixels, n_bytes = decode_byte_offset(self.stream, pixels)
        if n_pixels != pixels.size:
            raise ImageError(
                f"{self.file}: binary section ends after {n_pixels} of "
                f"{pixels.size} pixels"
            )
        if n_bytes != self.stream.size:
            raise ImageError(
                f"{self.file}: binary section goes on for "
                f"{self.stream.size - n_bytes} bytes after the last pixel"
            )


def read_cbf(file: Path) -> CbfFile:
    """Read a CBF file, which may be compressed with gzip or bzip2.

    Raises:
        ImageError: if it cannot be read, is truncated or not a CBF image, or is of a
            kind that is not supported; the message names the file.
    """
    return parse_cbf(file, read_whole(file))


def parse_cbf(file: Path, content: bytes) -> CbfFile:
    """Return the parts of a CBF file.

    Args:
        file: for messages.
        content: of the file, decompressed.

    Raises:
        ImageError: if it is truncated or not a CBF image, or is of a kind that is not
            supported; the message names the file.
    """
    if not content.startswith(SIGNATURE):
        raise ImageError(f"{file}: not a CBF file")
    first, at = _section(file, content, 0)
    others = []
    while (more := _NEXT_SECTION.search(content, at)) is not None:
        end = content.find(_END, at)
        begin = more.start() if end < 0 else min(end + len(_END), more.start())
        other, at = _section(file, content, begin)
        others.append(other)
    return replace(first, others=tuple(others)) if others else first


def _section(file: Path, content: bytes, begin: int) -> tuple[CbfFile, int]:
    """Return the first section from `begin` on, and where its binary data end."""
    header_end = content.find(_SECTION, begin)
    start = content.find(_START, max(header_end, 0))
    if header_end < 0 or start < 0:
        raise ImageError(f"{file}: truncated: no binary section")
    mime = content[header_end:start].decode("latin-1")
    fields = dict(_MIME_FIELD.findall(mime))
    start += len(_START)
    section = CbfFile(
        file=file,
        header=content[begin:header_end].decode("latin-1"),
        shape=_shape(file, fields),
        dtype=_dtype(file, fields),
        conversion=_conversion(file, mime),
        stream=_stream(file, fields, content, start),
    )
    return section, start + section.stream.size


def _number(file: Path, fields: dict[str, str], key: str) -> int:
    try:
        return int(fields[key])
    except KeyError:
        raise ImageError(f"{file}: binary section without {key}") from None
    except ValueError:
        raise ImageError(f"{file}: {key} is {fields[key]!r}, not a number") from None


def _shape(file: Path, fields: dict[str, str]) -> tuple[int, int]:
    fast = _number(file, fields, "X-Binary-Size-Fastest-Dimension")
    slow = _number(file, fields, "X-Binary-Size-Second-Dimension")
    elements = _number(file, fields, "X-Binary-Number-of-Elements")
    if "X-Binary-Size-Third-Dimension" in fields and (
        _number(file, fields, "X-Binary-Size-Third-Dimension") > 1
    ):
        raise ImageError(
            f"{file}: detectors of several panels in one section are not supported: "
            "the backend dials may read them"
        )
    if min(slow, fast) < 1 or elements != slow * fast:
        raise ImageError(f"{file}: {elements} pixels are no image of {fast} x {slow}")
    return slow, fast


def _dtype(file: Path, fields: dict[str, str]) -> PixelType:
    name = fields.get("X-Binary-Element-Type", "signed 32-bit integer")
    order = fields.get("X-Binary-Element-Byte-Order", "LITTLE_ENDIAN")
    if name not in _TYPES or order.upper() != "LITTLE_ENDIAN":
        raise ImageError(f"{file}: pixels of type {name!r} ({order}) are not supported")
    return _TYPES[name]


def _conversion(file: Path, mime: str) -> str:
    match = _CONVERSION.search(mime)
    conversion = match[1] if match else "x-CBF_NONE"
    if conversion not in ("x-CBF_BYTE_OFFSET", "x-CBF_NONE"):
        raise ImageError(
            f"{file}: compression {conversion} is not supported: the backend dials may "
            "read it"
        )
    return conversion


def _stream(
    file: Path, fields: dict[str, str], content: bytes, start: int
) -> npt.NDArray[np.int8]:
    size = _number(file, fields, "X-Binary-Size")
    present = len(content) - start
    if size < 0 or present < size:
        raise ImageError(f"{file}: truncated: {present} of {size} bytes of pixels")
    return np.frombuffer(content, np.int8, size, start)
