"""Decompression of CBF's byte-offset streams."""

import numpy as np
import numpy.typing as npt
from numba import njit

from zocelery_tasks.kernels.running_sums import STRIDE, add_up, has_escape


@njit(cache=True, nogil=True)
def decode_byte_offset(
    stream: npt.NDArray[np.int8], pixels: npt.NDArray[np.int32]
) -> tuple[int, int]:
    """Decode `stream` into `pixels` until one of them ends.

    Each pixel is the difference from the one before: one byte, or after the escape
    -2**7 two bytes, after -2**15 four, after -2**31 eight, little-endian
    (International Tables for Crystallography G, 5.6.3.2.2). Sums are kept modulo 2**32,
    so that unsigned 32-bit pixels come out right in an int32 view.

    Args:
        stream: compressed bytes, shape (n_bytes,), C-contiguous.
        pixels: where the pixels go, shape (n_pixels,), C-contiguous.

    Returns:
        Number of whole pixels decoded, and of bytes used for them.
    """
    one, block = np.uintp(1), np.uintp(STRIDE)
    n_bytes, n_pixels = np.uintp(stream.size), np.uintp(pixels.size)
    used, done = np.uintp(0), np.uintp(0)
    value = np.int32(0)
    while done < n_pixels and used < n_bytes:
        while used + block <= n_bytes and done + block <= n_pixels:
            if has_escape(stream, used):
                break
            value = add_up(stream, used, pixels, done, value)
            used += block
            done += block
        end = min(n_bytes, used + block)
        while used < end and done < n_pixels:
            width, difference = _difference(stream, used, n_bytes)
            if width == 0:
                return int(done), int(used)
            value = np.int32(value + difference)
            pixels[done] = value
            used += width
            done += one
    return int(done), int(used)


@njit(cache=True, nogil=True, inline="always")
def _difference(
    stream: npt.NDArray[np.int8], at: np.uintp, n_bytes: np.uintp
) -> tuple[np.uintp, np.int32]:
    """Return the width in bytes (0: cut off) and low 32 bits of the next difference."""
    if stream[at] != -128:
        return np.uintp(1), np.int32(stream[at])
    if at + np.uintp(3) > n_bytes:
        return np.uintp(0), np.int32(0)
    short = np.int16(_bits(stream, at + np.uintp(1), 2))
    if short != -32768:
        return np.uintp(3), np.int32(short)
    if at + np.uintp(7) > n_bytes:
        return np.uintp(0), np.int32(0)
    long = np.int32(_bits(stream, at + np.uintp(3), 4))
    if long != -2147483648:
        return np.uintp(7), long
    if at + np.uintp(15) > n_bytes:
        return np.uintp(0), np.int32(0)
    return np.uintp(15), np.int32(_bits(stream, at + np.uintp(7), 4))


@njit(cache=True, nogil=True, inline="always")
def _bits(stream: npt.NDArray[np.int8], at: np.uintp, n_bytes: int) -> np.uint32:
    """Return up to four bytes as a little-endian number."""
    bits = np.uint32(0)
    for j in range(n_bytes):
        byte = np.uint32(np.uint8(stream[at + np.uintp(j)]))
        bits |= np.uint32(byte << np.uint32(8 * j))
    return bits
