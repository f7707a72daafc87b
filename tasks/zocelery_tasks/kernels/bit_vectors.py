"""Turn planes of bits into pixels, 256 pixels at a time, in vector instructions.

Compilers do not find these by themselves. They are written here for no processor, but
as LLVM's vectors of 32 bytes, from which it makes what the machine has: on x86 with
AVX2 one instruction for each. Eight planes lie in eight registers; swapping bits
between pairs of these (Warren, Hacker's Delight, 7-3) makes of them registers of the
first pixels of all groups, of the second ones, and so on; interleaving their bytes
brings the pixels into order. Planes without any bit are seen before, and left out.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

GROUP = 8
"""Pixels whose bits of one plane share a byte."""
CHUNK = 32
"""Groups that are put together at once: as many bytes of each plane."""

_BYTES = ir.VectorType(ir.IntType(8), CHUNK)
_PAIRS = ir.VectorType(ir.IntType(16), CHUNK // 2)
_INDEX = ir.IntType(32)
_KEPT = {1: 0x5555, 2: 0x3333, 4: 0x0F0F}
"""Bits that stay in their register when bits so far apart are swapped."""

Register = Any
"""A value of LLVM's, or None: known to be zero."""
Registers = list[Register]


class _Writer:
    """Writes instructions; those on zeros are left out."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def any_set(self, registers: Sequence[Register]) -> Any:
        """Return whether any bit of some registers is set."""
        together = registers[0]
        for register in registers[1:]:
            together = self._builder.or_(together, register)
        number = self._builder.bitcast(together, ir.IntType(8 * CHUNK))
        return self._builder.icmp_unsigned("!=", number, number.type(0))

    def shuffle(
        self, order: Sequence[int], one: Register, other: Register = None
    ) -> Register:
        """Return elements of two registers in a new order."""
        if one is None and other is None:
            return None
        zero = ir.Constant((other if one is None else one).type, None)
        pair = [zero if register is None else register for register in (one, other)]
        kind = ir.VectorType(_INDEX, len(order))
        return self._builder.shuffle_vector(*pair, ir.Constant(kind, list(order)))

    def interleave(self, one: Register, other: Register, size: int = 1) -> Registers:
        """Interleave elements of 1 or 2 bytes, each half of the registers by itself.

        That is what there are instructions for.
        """
        kind = _BYTES if size == 1 else _PAIRS
        pair = [
            r if r is None else self._builder.bitcast(r, kind) for r in (one, other)
        ]
        return [
            self.shuffle(_interleaved(kind.count, begin), *pair)
            for begin in (0, kind.count // 4)
        ]

    def merge(self, registers: Registers) -> Registers:
        """Interleave the bytes of 2, 4 or 8 registers."""
        if len(registers) == 1:
            return registers
        even, odd = self.merge(registers[::2]), self.merge(registers[1::2])
        pairs = zip(even, odd, strict=True)
        return [merged for pair in pairs for merged in self.interleave(*pair)]

    def transpose(self, planes: Registers) -> Registers:
        """Return, of eight planes, a register for each of a group's eight pixels."""
        registers = list(planes)
        for distance in (1, 2, 4):
            for i in range(GROUP):
                if not i & distance:
                    pair = registers[i], registers[i + distance]
                    registers[i], registers[i + distance] = self._swap(*pair, distance)
        return registers

    def _swap(self, one: Register, other: Register, distance: int) -> Registers:
        """Swap high bits of each `2 * distance` of one with low ones of the other."""
        if one is None:  # planes without bits are the last ones
            return [None, None]
        builder = self._builder
        kept = ir.Constant(_PAIRS, [_KEPT[distance]] * _PAIRS.count)
        by = ir.Constant(_PAIRS, [distance] * _PAIRS.count)
        one = builder.bitcast(one, _PAIRS)
        moved = builder.lshr(one, by)
        if other is None:
            pair = [builder.and_(one, kept), builder.and_(moved, kept)]
        else:
            other = builder.bitcast(other, _PAIRS)
            change = builder.and_(builder.xor(moved, other), kept)
            stay = builder.xor(one, builder.shl(change, by))
            pair = [stay, builder.xor(other, change)]
        return [builder.bitcast(register, _BYTES) for register in pair]


def _interleaved(count: int, begin: int) -> list[int]:
    """Return the order that interleaves quarters of two registers, lane by lane."""
    return [
        lane + begin + i + register
        for lane in (0, count // 2)
        for i in range(count // 4)
        for register in (0, count)
    ]


def _ordered(writer: _Writer, registers: Registers, itemsize: int) -> Registers:
    """Bring bytes into the order in which pixels of `itemsize` bytes are widened."""
    if itemsize < 4:
        return writer.merge(registers)
    low, high = [*range(CHUNK // 2)], [*range(CHUNK // 2, CHUNK)]
    found = []
    for half in (low, high):
        order = [*half, *(CHUNK + i for i in half)]
        pairs = zip(registers[:4], registers[4:], strict=True)
        found += writer.merge([writer.shuffle(order, *pair) for pair in pairs])
    return found


def _plane_order(itemsize: int) -> list[int]:
    """Return in which order a plane's bytes are needed: halves stay apart."""
    together = {1: 2, 2: 1}.get(itemsize, CHUNK // 2)
    return [
        2 * i - i % together + lane * together
        for lane in (0, 1)
        for i in range(CHUNK // 2)
    ]


def _widened(writer: _Writer, parts: list[Registers]) -> Registers:
    """Return whole pixels from their 1, 2 or 4 bytes, lowest first."""
    size = 1
    while len(parts) > 1:
        parts = [
            [
                wide
                for pair in zip(low, high, strict=True)
                for wide in writer.interleave(*pair, size)
            ]
            for low, high in zip(parts[::2], parts[1::2], strict=True)
        ]
        size *= 2
    return parts[0]


class _Chunk:
    """Writes how one chunk is put together."""

    def __init__(
        self, builder: Any, source: Any, n: Any, target: Any, size: int
    ) -> None:
        self._builder = builder
        self._writer = _Writer(builder)
        self._source, self._n = source, n
        self._target = builder.bitcast(target, _BYTES.as_pointer())
        self._itemsize = size

    def write(self) -> None:
        """Store the pixels."""
        builder, size = self._builder, self._itemsize
        low = self._low_bytes()
        if size == 1:
            self._store([low])
            return
        high = self._planes(8, 8 * size)
        test = builder.if_else(self._writer.any_set(high), likely=False)
        with test as (then, otherwise):
            with then:
                parts = [self._bytes(high[8 * k : 8 * k + 8]) for k in range(size - 1)]
                self._store([low, *parts])
            with otherwise:
                self._store([low, *[[None] * GROUP] * (size - 1)])

    def _planes(self, first: int, end: int) -> Registers:
        builder, found = self._builder, []
        for number in range(first, end):
            offset = builder.mul(self._n, self._n.type(number))
            place = builder.gep(self._source, [offset])
            place = builder.bitcast(place, _BYTES.as_pointer())
            found.append(builder.load(place, align=1))
        return found

    def _bytes(self, planes: Registers) -> Registers:
        """Return one byte of all pixels from up to eight planes."""
        order = _plane_order(self._itemsize)
        planes = [self._writer.shuffle(order, plane) for plane in planes]
        planes += [None] * (GROUP - len(planes))
        return _ordered(self._writer, self._writer.transpose(planes), self._itemsize)

    def _low_bytes(self) -> Registers:
        """Return the lowest byte of all pixels, of which mostly half has bits."""
        builder = self._builder
        found: list[tuple[Registers, Any]] = []
        planes = self._planes(0, GROUP)
        test = builder.if_else(self._writer.any_set(planes[4:]), likely=False)
        with test as branches:
            for branch, count in zip(branches, (8, 4), strict=True):
                with branch:
                    found.append((self._bytes(planes[:count]), builder.block))
        joined = []
        for i in range(GROUP):
            phi = builder.phi(_BYTES)
            for registers, block in found:
                phi.add_incoming(registers[i], block)
            joined.append(phi)
        return joined

    def _store(self, parts: list[Registers]) -> None:
        builder = self._builder
        for number, pixels in enumerate(_widened(self._writer, parts)):
            place = builder.gep(self._target, [_INDEX(number)])
            whole = builder.bitcast(
                ir.Constant(_BYTES, None) if pixels is None else pixels, _BYTES
            )
            builder.store(whole, place, align=1)


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    planes, n, at, pixels, start = arguments
    source = context.make_array(signature.args[0])(context, builder, planes).data
    target = context.make_array(signature.args[3])(context, builder, pixels).data
    size = signature.args[3].dtype.bitwidth // 8
    source, target = builder.gep(source, [at]), builder.gep(target, [start])
    _Chunk(builder, source, n, target, size).write()
    return context.get_dummy_value()


def _chunk(_: Any, planes: Any, n: Any, at: Any, pixels: Any, start: Any) -> Any:
    integer = types.intp
    return types.void(planes, integer, integer, pixels, integer), _generate


put_chunk_together: Callable[..., None] = intrinsic(_chunk)
"""Set `GROUP * CHUNK` pixels.

Args:
    planes: bytes, those of the lowest bits first, C-contiguous.
    n: bytes of each plane.
    at: of the first group, in each plane, at most n - CHUNK.
    pixels: unsigned, of 1, 2 or 4 bytes, C-contiguous.
    start: of the first pixel.
"""
