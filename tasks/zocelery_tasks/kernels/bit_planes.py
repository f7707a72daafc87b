"""Decompression of bitshuffle-LZ4 that makes use of how few bits most pixels have.

Bitshuffle stores the lowest bits of all pixels of a block, then the next ones: planes
of bits. Where a detector counts a few photons, all but the lowest planes are zero,
apart from spots and from the marks of dead pixels. So the low planes are put together
for all pixels, in a way that compilers turn into vector instructions, and the others
only for the groups of eight pixels that have any.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]  # it comes without types
from numba import njit, types
from numba.extending import intrinsic

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.unsignedinteger[Any]]

GROUP = 8
"""Pixels whose bits of one plane share a byte."""
BLOCK_UNIT = GROUP * 8
"""Pixels of a block must be a multiple of this, so that planes are whole words."""
_LENGTH = 4
_FEW = 8
"""Up to 1 in so many groups is worth being put together on its own."""


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


def _untranspose(
    _: Any, address: Any, source: Any, target: Any, n: Any, size: Any
) -> Any:
    """Call C's int64_t (const void *, void *, size_t, size_t) at an address."""
    return types.int64(*[types.uintp] * 5), _call_address


_call_lz4: Callable[..., int] = intrinsic(_lz4)
_call_untranspose: Callable[..., int] = intrinsic(_untranspose)


@njit(cache=True, nogil=True)
def decode_blocks(
    functions: tuple[int, int],
    chunk: Bytes,
    at: int,
    pixels: Counts,
    block: int,
    room: tuple[Bytes, Words, Words],
) -> int:
    """Decompress whole blocks of a chunk.

    Args:
        functions: addresses of `LZ4_decompress_safe` and `bshuf_untrans_bit_elem`.
        chunk: its blocks are known to lie within it, see `end_of_blocks`.
        at: of the first block's length.
        pixels: where the pixels go, shape (n * block,), C-contiguous, unsigned.
        block: pixels of a block, a multiple of `BLOCK_UNIT`.
        room: from `make_room`.

    Returns:
        One past the last byte used; -1 if a block cannot be decompressed.
    """
    lz4, untranspose = functions
    planes = room[0]
    address = np.uintp(chunk.ctypes.data)
    for start in range(0, pixels.size, block):
        length = np.int64(0)
        for k in range(_LENGTH):
            length = length << 8 | np.int64(chunk[at + k])
        at += _LENGTH
        size = _call_lz4(
            np.uintp(lz4),
            address + np.uintp(at),
            np.uintp(planes.ctypes.data),
            np.int32(length),
            np.int32(planes.size),
        )
        if size != planes.size:
            return -1
        at += int(length)
        target = pixels[start : start + block]
        if not _put_together(room, target):
            done = _call_untranspose(
                np.uintp(untranspose),
                np.uintp(planes.ctypes.data),
                np.uintp(target.ctypes.data),
                np.uintp(block),
                np.uintp(target.itemsize),
            )
            if done != planes.size:
                return -1
    return at


def make_room(block: int, itemsize: int) -> tuple[Bytes, Words, Words]:
    """Return the memory that `decode_blocks` needs for blocks of so many pixels."""
    return (
        np.empty(block * itemsize, np.uint8),
        np.empty(block // GROUP, np.uint64),
        np.empty(block // BLOCK_UNIT, np.uint64),
    )


@njit(cache=True, nogil=True)
def _put_together(room: tuple[Bytes, Words, Words], target: Counts) -> bool:
    """Turn planes into pixels; False, and nothing done, if most have high bits."""
    planes, low, high = room
    n = low.size
    few = n // _FEW
    high[:] = 0
    _gather_any(planes, n, 8, 8 * target.itemsize, high)
    if _count(high.view(np.uint8)) > few:
        return False
    _gather_any(planes, n, 4, 8, high)
    _take_low(planes[: 4 * n], n, low)
    if _count(high.view(np.uint8)) > few:
        high[:] = 0
        _gather_any(planes, n, 8, 8 * target.itemsize, high)
        _add_high(planes[4 * n : 8 * n], n, low)
    for i in range(n):
        low[i] = _transpose(low[i])
    _widen(low.view(np.uint8), target)
    groups = high.view(np.uint8)
    for word in range(high.size):
        if high[word]:
            for group in range(8 * word, 8 * word + 8):
                if groups[group]:
                    _put_group_together(planes, n, group, target)
    return True


@njit(cache=True, nogil=True)
def _gather_any(planes: Bytes, n: int, first: int, end: int, found: Words) -> None:
    """Set the bits in `found` that are set in any of some planes of `n` bytes."""
    words, n_words = planes.view(np.uint64), n // 8
    for plane in range(first, end):
        row = words[plane * n_words : (plane + 1) * n_words]
        for i in range(n_words):
            found[i] |= row[i]


@njit(cache=True, nogil=True)
def _count(groups: Bytes) -> int:
    """Return how many groups are not zero."""
    count = np.int32(0)
    for i in range(groups.size):
        count += np.int32(groups[i] != 0)
    return int(count)


@njit(cache=True, nogil=True)
def _take_low(planes: Bytes, n: int, low: Words) -> None:
    """Put the bytes of four planes side by side, the first lowest."""
    p0, p1, p2, p3 = (
        planes[:n],
        planes[n : 2 * n],
        planes[2 * n : 3 * n],
        planes[3 * n :],
    )
    for i in range(low.size):
        low[i] = (
            np.uint64(p0[i])
            | np.uint64(p1[i]) << np.uint64(8)
            | np.uint64(p2[i]) << np.uint64(16)
            | np.uint64(p3[i]) << np.uint64(24)
        )


@njit(cache=True, nogil=True)
def _add_high(planes: Bytes, n: int, low: Words) -> None:
    """Put the bytes of four more planes above those that are there."""
    p0, p1, p2, p3 = (
        planes[:n],
        planes[n : 2 * n],
        planes[2 * n : 3 * n],
        planes[3 * n :],
    )
    for i in range(low.size):
        low[i] |= (
            np.uint64(p0[i]) << np.uint64(32)
            | np.uint64(p1[i]) << np.uint64(40)
            | np.uint64(p2[i]) << np.uint64(48)
            | np.uint64(p3[i]) << np.uint64(56)
        )


@njit(cache=True, nogil=True)
def _transpose(bits: np.uint64) -> np.uint64:
    """Return 8 x 8 bits with rows for columns (Warren, Hacker's Delight, 7-3)."""
    x = bits
    swap = (x ^ (x >> np.uint64(7))) & np.uint64(0x00AA00AA00AA00AA)
    x ^= swap ^ (swap << np.uint64(7))
    swap = (x ^ (x >> np.uint64(14))) & np.uint64(0x0000CCCC0000CCCC)
    x ^= swap ^ (swap << np.uint64(14))
    swap = (x ^ (x >> np.uint64(28))) & np.uint64(0x00000000F0F0F0F0)
    return x ^ swap ^ (swap << np.uint64(28))


@njit(cache=True, nogil=True)
def _widen(low: Bytes, target: Counts) -> None:
    for i in range(target.size):
        target[i] = low[i]


@njit(cache=True, nogil=True)
def _put_group_together(planes: Bytes, n: int, group: int, target: Counts) -> None:
    """Set the eight pixels of a group from all of their planes."""
    number = target.dtype.type
    for byte in range(target.itemsize):
        bits = np.uint64(0)
        for k in range(8):
            plane = planes[(8 * byte + k) * n + group]
            bits |= np.uint64(plane) << np.uint64(8 * k)
        bits = _transpose(bits)
        for j in range(GROUP):
            value = number((bits >> np.uint64(8 * j)) & np.uint64(0xFF))
            value = number(value << number(8 * byte))
            if byte == 0:
                target[GROUP * group + j] = value
            else:
                target[GROUP * group + j] |= value
