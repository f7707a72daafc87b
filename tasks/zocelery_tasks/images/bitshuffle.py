"""Decompress HDF5 chunks of bitshuffle-LZ4 and LZ4 without HDF5.

HDF5 decompresses into memory that it allocates for each chunk, copies from there, and
lets no other thread call it meanwhile. Here hdf5plugin's own library, the one that HDF5
itself would call, writes into the caller's array, and other Python threads run.
"""

import ctypes
import logging
import struct
from contextlib import suppress
from functools import cache
from pathlib import Path

import hdf5plugin
import numpy as np
import numpy.typing as npt

from zocelery.errors import ImageError
from zocelery_tasks.images.image import Pixels
from zocelery_tasks.kernels.bit_planes import MIN_BLOCK, decode_blocks
from zocelery_tasks.kernels.lz4_block import MARGIN
from zocelery_tasks.kernels.lz4_blocks import end_of_blocks

logger = logging.getLogger(__name__)

Chunk = npt.NDArray[np.uint8]
"""The bytes of a chunk as they are in the file, shape (n,)."""

_HEADER = struct.Struct(">QI")
"""Of both formats: bytes of the pixels, and bytes of a block of them."""
_LENGTH = struct.Struct(">I")
_ELEMENTS = 8
"""Bitshuffle works on this many pixels, and leaves a rest of fewer as it is."""
_MOST = 2**31 - 1
"""LZ4 counts bytes with C's int."""


class CodecLibrary:
    """hdf5plugin's library of bitshuffle and LZ4.

    Nothing is handed to it before all lengths that the chunk gives have been checked.
    """

    def __init__(self, file: Path) -> None:
        """Load the library.

        Raises:
            OSError: if it cannot be loaded.
            AttributeError: if it lacks what is needed.
        """
        library = ctypes.CDLL(str(file))
        self._unshuffle = library.bshuf_decompress_lz4
        self._unshuffle.restype = ctypes.c_int64
        self._unshuffle.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_size_t] * 3
        self._lz4 = library.LZ4_decompress_safe
        self._lz4_address = ctypes.cast(self._lz4, ctypes.c_void_p).value or 0
        self._lz4.restype = ctypes.c_int
        self._lz4.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int] * 2

    def bitshuffle_lz4(self, chunk: Chunk, pixels: Pixels) -> None:
        """Decompress a chunk of HDF5's filter 32008 with LZ4 into `pixels`.

        Args:
            chunk: C-contiguous.
            pixels: of the type that was compressed, C-contiguous.

        Raises:
            ImageError: if the chunk does not hold just these pixels.
        """
        itemsize = pixels.itemsize
        block = _block_size(chunk, pixels)
        if block % (_ELEMENTS * itemsize):
            raise ImageError(f"bitshuffle blocks of {block} bytes")
        whole, rest = divmod(pixels.nbytes, block)
        n_blocks = whole + (rest >= _ELEMENTS * itemsize)
        end = end_of_blocks(chunk, _HEADER.size, n_blocks)
        left_over = pixels.nbytes % (_ELEMENTS * itemsize)
        if end < 0 or end + left_over > chunk.size:
            raise ImageError(f"{chunk.size} bytes of compressed pixels end too early")
        done = self._whole_blocks(chunk, pixels.reshape(-1), block // itemsize)
        if done is None:
            raise ImageError("bitshuffle cannot decompress the pixels")
        start, at = done
        used = self._unshuffle(
            chunk.ctypes.data + at,
            pixels.ctypes.data + start * itemsize,
            pixels.size - start,
            itemsize,
            block // itemsize,
        )
        if used != end + left_over - at:
            raise ImageError(f"bitshuffle cannot decompress the pixels ({used})")

    def _whole_blocks(
        self, chunk: Chunk, pixels: Pixels, block: int
    ) -> tuple[int, int] | None:
        """Decompress whole blocks, of which the lengths have been checked.

        Returns:
            Number of pixels done, and where the chunk goes on; None if it is damaged.
        """
        n_whole = pixels.size // block * block
        if block < MIN_BLOCK or not n_whole:
            return 0, _HEADER.size
        at = decode_blocks(
            self._lz4_address,
            chunk,
            _HEADER.size,
            pixels[:n_whole].view(f"u{pixels.itemsize}"),
            block,
            np.empty(block * pixels.itemsize + MARGIN, np.uint8),
        )
        return None if at < 0 else (n_whole, at)

    def lz4(self, chunk: Chunk, pixels: Pixels) -> None:
        """Decompress a chunk of HDF5's filter 32004 into `pixels`.

        Args:
            chunk: C-contiguous.
            pixels: C-contiguous.

        Raises:
            ImageError: if the chunk does not hold just these pixels.
        """
        block = min(_block_size(chunk, pixels), pixels.nbytes)
        n_blocks = -(-pixels.nbytes // block)
        if end_of_blocks(chunk, _HEADER.size, n_blocks) < 0:
            raise ImageError(f"{chunk.size} bytes of compressed pixels end too early")
        source, target = chunk.ctypes.data, pixels.ctypes.data
        at = _HEADER.size
        for done in range(0, pixels.nbytes, block):
            size = min(block, pixels.nbytes - done)
            (length,) = _LENGTH.unpack_from(chunk.data, at)
            at += _LENGTH.size
            if length == size:  # LZ4 would have made it longer
                ctypes.memmove(target + done, source + at, size)
            elif self._lz4(source + at, target + done, length, size) != size:
                raise ImageError("LZ4 cannot decompress the pixels")
            at += length


def _block_size(chunk: Chunk, pixels: Pixels) -> int:
    """Return the bytes of a block of pixels, as the chunk's header says.

    Raises:
        ImageError: if there is no header, or it is not about these pixels.
    """
    if chunk.size < _HEADER.size or chunk.size > _MOST:
        raise ImageError(f"{chunk.size} bytes are no compressed pixels")
    size, block = _HEADER.unpack_from(chunk.data)
    if size != pixels.nbytes or not 0 < block <= _MOST:
        raise ImageError(
            f"{size} bytes of pixels in blocks of {block} instead of {pixels.nbytes}"
        )
    return int(block)


@cache
def codec_library() -> CodecLibrary | None:
    """Return hdf5plugin's library, None where it is not as it is known to be."""
    config = hdf5plugin.get_config()
    name = f"libh5bshuf{config.build_config.filter_file_extension}"
    try:
        return CodecLibrary(Path(hdf5plugin.PLUGIN_PATH) / name)
    except (OSError, AttributeError) as error:
        logger.warning("Images are decompressed by HDF5, which is slower: %s", error)
        return None


def warm_up() -> None:
    """Compile, or load from Numba's cache, what decompressing may need.

    Without it the first image pays.
    """
    library = codec_library()
    if library is None:
        return
    for dtype in (np.uint16, np.uint32):
        pixels: Pixels = np.empty(MIN_BLOCK, dtype)
        header = _HEADER.pack(pixels.nbytes, pixels.nbytes)
        empty_block = np.frombuffer(header + _LENGTH.pack(0), np.uint8)
        with suppress(ImageError):  # no pixels come of nothing
            library.bitshuffle_lz4(empty_block, pixels)
