"""Look through the LZ4 blocks of a compressed chunk before anything is decompressed."""

import numpy as np
import numpy.typing as npt
from numba import njit

_LENGTH = 4
"""Bytes of a block's length, big-endian, before the block."""


@njit(cache=True, nogil=True)
def end_of_blocks(chunk: npt.NDArray[np.uint8], start: int, count: int) -> int:
    """Return where `count` blocks end, each of which says how long it is.

    The decompressors of bitshuffle and HDF5 believe the lengths and would read on
    beyond the chunk.

    Args:
        chunk: bytes, shape (n,).
        start: of the first block's length.
        count: blocks, 0 or more.

    Returns:
        One past the last byte of the last block; -1 if the chunk ends before.
    """
    at = start
    for _ in range(count):
        if at + _LENGTH > chunk.size:
            return -1
        length = np.int64(0)
        for k in range(_LENGTH):
            length = length << 8 | np.int64(chunk[at + k])
        at += _LENGTH + int(length)
        if at > chunk.size:
            return -1
    return at
