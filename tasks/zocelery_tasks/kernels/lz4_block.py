"""Decompression of one block of LZ4, for blocks as bitshuffle makes them.

These are 40 to 90 short sequences in 8 kB, every fourth of which repeats the two bytes
before it. What costs is guessing wrongly what comes next, and reading what has just
been written in other pieces: so there are few cases, and nothing is written without
need where the next sequence may read.
"""

import numpy as np
import numpy.typing as npt

from zocelery_tasks.kernels.inner import inner
from zocelery_tasks.kernels.vector_copies import (
    copy_16,
    copy_32,
    copy_32_twice,
    load_8,
    repeat_pair_32,
    store_8,
)

Bytes = npt.NDArray[np.uint8]

MARGIN = 64
"""Bytes that have to be there behind a block, and behind what it is decompressed to."""
_ALL = 15
"""A length that is continued in further bytes."""
_MIN_MATCH = 4
_LAST_LITERALS = 5
"""Bytes at the end of a block that no match may set."""
_NO_MATCH = 12
"""Bytes at the end of a block in which no match may begin."""
_WORD = 8
"""Bytes that are repeated at once."""
_NEAR = range(_WORD + 1)
_KEPT = np.array([(1 << 8 * near) - 1 for near in _NEAR], np.uint64)
"""Of a word, the bytes that are repeated, for each number of them."""
_TIMES = np.array(
    [sum(1 << 8 * i for i in range(0, _WORD, near or _WORD)) for near in _NEAR],
    np.uint64,
)
"""What to multiply these with to repeat them."""
_STEP = np.array([_WORD // near * near if near else 0 for near in _NEAR], np.uint64)
"""How far apart these words may be written."""


@inner
def decompress_block(source: Bytes, start: int, end: int, target: Bytes) -> bool:
    """Decompress a block of LZ4 (its format: lz4_Block_format.md of the project).

    Args:
        source: `MARGIN` bytes behind the block belong to it.
        start: of the block.
        end: of the block.
        target: the last `MARGIN` bytes are overwritten with anything.

    Returns:
        Whether it was a block that fills the target, apart from the margin. LZ4's
        library accepts the same, and also copies from 0 bytes before.
    """
    at, stop = np.uintp(start), np.uintp(end)
    size = np.uintp(target.size - MARGIN)
    done = np.uintp(0)
    while at < stop:
        token = np.uintp(source[at])
        at += np.uintp(1)
        length = token >> np.uintp(4)
        if length == _ALL:
            at, length = _continued(source, at, stop, length)
            if length > size - done or at > stop or length > stop - at:
                return False
            _copy_long(target, done, source, at, length)
        else:
            # Without literals beyond the end: the copy would cover bytes to be read.
            copy_16(target, done if length else size + np.uintp(16), source, at)
        at += length
        done += length
        if done + np.uintp(_NO_MATCH) > size or at + np.uintp(8) > stop:
            return bool(at == stop and done == size)
        offset = _pair(source, at)
        at += np.uintp(2)
        length = token & np.uintp(_ALL)
        if length == _ALL:
            at, length = _continued(source, at, stop, length)
        length += np.uintp(_MIN_MATCH)
        room = size - np.uintp(_LAST_LITERALS) - done
        if offset > done or offset == 0 or length > room:
            return False
        _repeat(target, done, offset, length)
        done += length
    return False


@inner
def _continued(
    source: Bytes, at: np.uintp, stop: np.uintp, length: np.uintp
) -> tuple[np.uintp, np.uintp]:
    """Return where a length ends, at most the end of the block, and the length."""
    more = np.uintp(255)
    while more == 255 and at < stop:
        more = np.uintp(source[at])
        at += np.uintp(1)
        length += more
    return at, length


@inner
def _pair(array: Bytes, at: np.uintp) -> np.uintp:
    """Return a number of two bytes, little-endian."""
    return np.uintp(array[at]) | np.uintp(array[at + np.uintp(1)]) << np.uintp(8)


@inner
def _copy_long(
    target: Bytes, to: np.uintp, source: Bytes, begin: np.uintp, length: np.uintp
) -> None:
    copied = np.uintp(0)
    while copied < length:
        copy_32(target, to + copied, source, begin + copied)
        copied += np.uintp(32)


@inner
def _repeat(target: Bytes, to: np.uintp, offset: np.uintp, length: np.uintp) -> None:
    """Copy from `offset` bytes before, which may have to be written on the way."""
    begin = to - offset
    if offset >= 8:
        step = min(offset, np.uintp(32))
        copy_32_twice(target, to, to + step, begin)
        copied = step + step
        while copied < min(length, np.uintp(32)):
            copy_32(target, to + copied, target, begin)
            copied += step
    elif offset == 2:
        repeat_pair_32(target, to, np.uint16(_pair(target, begin)))
    else:
        word = (load_8(target, begin) & _KEPT[offset]) * _TIMES[offset]
        step = _STEP[offset]
        copied = np.uintp(0)
        while copied < min(length, np.uintp(32)):
            store_8(target, to + copied, word)
            copied += step
    if length > 32:
        _repeat_more(target, to, offset, length)


@inner
def _repeat_more(
    target: Bytes, to: np.uintp, offset: np.uintp, length: np.uintp
) -> None:
    """Copy on after the first 32 bytes."""
    copied = np.uintp(32)
    begin = to - offset
    if offset >= 32:
        while copied < length:
            copy_32(target, to + copied, target, begin + copied)
            copied += np.uintp(32)
    elif offset <= 2:
        pair = np.uint16(_pair(target, to))
        while copied < length:
            repeat_pair_32(target, to + copied, pair)
            copied += np.uintp(32)
    else:
        distance = offset
        while distance < 16:
            distance += offset
        while copied < length:
            copy_16(target, to + copied, target, to + copied - distance)
            copied += np.uintp(16)
