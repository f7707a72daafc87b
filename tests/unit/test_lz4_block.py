"""Blocks of LZ4 are decompressed as its format says, and nothing is written beyond."""

import numpy as np
import pytest
from numba import njit

from zocelery_tasks.kernels.lz4_block import MARGIN, decompress_block

LAST = b"the last bytes"


@njit
def compiled(source, start, end, target):
    return decompress_block(source, start, end, target)


def continued(length: int) -> bytes:
    """Return what follows a token for a length of 15 and more."""
    if length < 15:
        return b""
    return b"\xff" * ((length - 15) // 255) + bytes([(length - 15) % 255])


def encode(*sequences: tuple[bytes, int, int], last: bytes = LAST) -> bytes:
    """Return a block of literals, offset, length three by three, and last literals."""
    block = b""
    for literals, offset, length in sequences:
        token = min(len(literals), 15) << 4 | min(length - 4, 15)
        block += bytes([token]) + continued(len(literals)) + literals
        block += offset.to_bytes(2, "little") + continued(length - 4)
    return block + bytes([min(len(last), 15) << 4]) + continued(len(last)) + last


def expected(*sequences: tuple[bytes, int, int]) -> bytes:
    content = b""
    for literals, offset, length in sequences:
        content += literals
        for _ in range(length):
            content += content[-offset : len(content) - offset + 1]
    return content + LAST


def decompress(block: bytes, size: int) -> bytes | None:
    """Return what a block holds, None if it is refused."""
    before, behind = 7, MARGIN + 50
    source = np.frombuffer(b"x" * before + block + b"y" * MARGIN, np.uint8)
    room = np.full(size + behind, 99, np.uint8)
    end = before + len(block)
    accepted = compiled(source, before, end, room[: size + MARGIN])
    assert (room[size + MARGIN :] == 99).all()
    return room[:size].tobytes() if accepted else None


@pytest.mark.parametrize("offset", [*range(1, 36), 63, 64, 65, 300])
def test_bytes_from_any_distance_are_repeated(offset):
    start = bytes(range(1, 251)) * 2
    for length in [*range(4, 40), 63, 64, 65, 300, 273, 274, 4000]:
        sequences = [(start, offset, length), (b"", offset, 5), (b"abc", 2, length)]
        content = expected(*sequences)
        assert decompress(encode(*sequences), len(content)) == content


@pytest.mark.parametrize("length", [0, 1, 14, 15, 16, 31, 32, 33, 269, 270, 271, 600])
def test_literals_of_any_number_are_copied(length):
    literals = bytes(np.random.default_rng(3).integers(0, 256, length, np.uint8))
    sequences = [(b"ab", 1, 4), (literals, 2, 9)]
    content = expected(*sequences)
    assert decompress(encode(*sequences), len(content)) == content
    assert decompress(encode(last=literals), length) == literals


def test_a_distance_of_nothing_or_before_the_block_is_refused():
    assert decompress(encode((b"abcd", 4, 4)), 22) == b"abcdabcd" + LAST
    assert decompress(encode((b"abcd", 5, 4)), 22) is None
    assert decompress(encode((b"abcd", 0, 4)), 22) is None
    assert decompress(encode((b"", 1, 4)), 18) is None


def test_repetitions_end_before_the_last_five_bytes():
    block = encode((b"abcdefghij", 3, 10), last=b"12345")
    assert decompress(block, 25) == b"abcdefghijhijhijhijh12345"
    for last in (b"1234", b"1"):
        block = encode((b"abcdefghij", 3, 15 - len(last)), last=last)
        assert decompress(block, 25) is None
    long = encode((b"a", 1, 100_000))
    assert decompress(long, 4096) is None


def test_another_size_is_refused():
    sequences = [(b"abcdefgh", 8, 300), (b"x" * 40, 30, 30)]
    block, content = encode(*sequences), expected(*sequences)
    for size in {*range(13, len(content) + 50)} - {len(content)}:
        assert decompress(block, size) is None


def test_every_cut_and_every_other_byte_is_survived():
    sequences = [(b"abcdefgh", 8, 300), (b"x" * 40, 30, 30), (b"", 2, 50)]
    block, content = encode(*sequences), expected(*sequences)
    for at in range(len(block)):
        assert decompress(block[:at], len(content)) is None
        for value in (0, 1, 15, 16, 127, 240, 255):
            changed = block[:at] + bytes([value]) + block[at + 1 :]
            decompress(changed, len(content))
    assert decompress(block, len(content)) == content
