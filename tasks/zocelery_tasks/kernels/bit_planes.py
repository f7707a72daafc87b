"""Decompression of bitshuffle-LZ4 that makes use of how few bits most pixels have.

Bitshuffle stores the lowest bits of all pixels of a block, then the next ones: planes
of bits. Where a detector counts a few photons, all but the lowest planes are zero,
apart from spots and from the marks of dead pixels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from zocelery_tasks.kernels.bit_vectors import CHUNK, GROUP, put_chunk_together
from zocelery_tasks.kernels.lz4_block import MARGIN, decompress_block

Bytes = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.unsignedinteger[Any]]

MIN_BLOCK = GROUP * CHUNK
"""Pixels that a block has at least."""
_LENGTH = 4


def _call_address(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Generate the call of a C function whose address is the first argument."""
    address, *others = arguments
    result = ir.IntType(signature.return_type.bitwidth)
    function = ir.FunctionType(result, [other.type for other in others])
    return builder.call(builder.inttoptr(address, function.as_pointer()), others)


def _lz4(
    _: Any, address: Any, source: Any, target: Any, n_source: Any, n_target: Any
) -> Any:
    """Call C's int (const char *, char *, int, int) at an address."""
    return types.int32(*[types.uintp] * 3, *[types.int32] * 2), _call_address


_call_lz4: Callable[..., int] = intrinsic(_lz4)


@njit(cache=True, nogil=True)
def decode_blocks(
    lz4: int, chunk: Bytes, at: int, pixels: Counts, block: int, room: Bytes
) -> int:
    """Decompress whole blocks of a chunk.

    Args:
        lz4: address of `LZ4_decompress_safe`.
        chunk: its blocks are known to lie within it, see `end_of_blocks`.
        at: of the first block's length.
        pixels: where the pixels go, shape (n * block,), C-contiguous, unsigned.
        block: pixels of a block, a multiple of `GROUP`, `MIN_BLOCK` or more.
        room: for the bytes of one block, and `MARGIN` more.

    Returns:
        One past the last byte used; -1 if a block cannot be decompressed.
    """
    address = np.uintp(chunk.ctypes.data)
    n = block // GROUP
    for start in range(0, pixels.size, block):
        length = np.int64(0)
        for k in range(_LENGTH):
            length = length << 8 | np.int64(chunk[at + k])
        at += _LENGTH
        end = at + int(length)
        if end + MARGIN <= chunk.size:
            done = decompress_block(chunk, at, end, room)
        else:
            size = _call_lz4(
                np.uintp(lz4),
                address + np.uintp(at),
                np.uintp(room.ctypes.data),
                np.int32(length),
                np.int32(room.size - MARGIN),
            )
            done = size == room.size - MARGIN
        if not done:
            return -1
        at = end
        for group in range(0, n - CHUNK + 1, CHUNK):
            put_chunk_together(room, n, group, pixels, start + GROUP * group)
        if n % CHUNK:
            rest = n - CHUNK
            put_chunk_together(room, n, rest, pixels, start + GROUP * rest)
    return at
