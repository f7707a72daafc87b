"""Add up differences of one byte, 32 at a time, in vector instructions.

Compilers make of a running sum one addition after the other. Here, as LLVM's vectors,
eight differences are added up in three steps and the sums of eights then joined.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

STRIDE = 32
"""Differences that are added up at once."""
ESCAPE = -128
"""What is no difference."""

_LANE = 8
_BYTES = ir.VectorType(ir.IntType(8), STRIDE)
_SHORTS = ir.VectorType(ir.IntType(16), STRIDE)
_EIGHT = ir.VectorType(ir.IntType(32), _LANE)
_INDEX = ir.IntType(32)


def _order(places: list[int]) -> Any:
    return ir.Constant(ir.VectorType(_INDEX, len(places)), places)


def _load(builder: Any, source: Any) -> Any:
    return builder.load(builder.bitcast(source, _BYTES.as_pointer()), align=1)


def _data(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """Return the address of an element."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


def _write_has_escape(
    context: Any, builder: Any, signature: Any, arguments: Any
) -> Any:
    source = _data(context, builder, signature.args[0], *arguments)
    escape = ir.Constant(_BYTES, [ESCAPE] * STRIDE)
    found = builder.icmp_signed("==", _load(builder, source), escape)
    together = builder.bitcast(found, ir.IntType(STRIDE))
    return builder.icmp_unsigned("!=", together, together.type(0))


def _write_sums(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    stream, at, pixels, done, value = arguments
    source = _data(context, builder, signature.args[0], stream, at)
    target = _data(context, builder, signature.args[2], pixels, done)
    target = builder.bitcast(target, _EIGHT.as_pointer())
    sums = _sums_of_eights(builder, builder.sext(_load(builder, source), _SHORTS))
    before = builder.insert_element(ir.Constant(_EIGHT, None), value, _INDEX(0))
    before = builder.shuffle_vector(before, before, _order([0] * _LANE))
    for number in range(STRIDE // _LANE):
        places = [_LANE * number + i for i in range(_LANE)]
        eight = builder.shuffle_vector(sums, sums, _order(places))
        eight = builder.sext(eight, _EIGHT)
        place = builder.gep(target, [_INDEX(number)])
        builder.store(builder.add(eight, before), place, align=4)
        total = builder.shuffle_vector(eight, eight, _order([_LANE - 1] * _LANE))
        before = builder.add(before, total)
    return builder.extract_element(before, _INDEX(0))


def _sums_of_eights(builder: Any, shorts: Any) -> Any:
    """Return the running sums of each eight of 32 short numbers."""
    zero = ir.Constant(_SHORTS, None)
    for distance in (1, 2, 4):
        places = [
            i - distance if i % _LANE >= distance else STRIDE + i for i in range(STRIDE)
        ]
        shorts = builder.add(
            shorts, builder.shuffle_vector(shorts, zero, _order(places))
        )
    return shorts


def _has_escape(_: Any, stream: Any, at: Any) -> Any:
    return types.boolean(stream, types.uintp), _write_has_escape


def _add_up(_: Any, stream: Any, at: Any, pixels: Any, done: Any, value: Any) -> Any:
    index, number = types.uintp, types.int32
    return number(stream, index, pixels, index, number), _write_sums


has_escape: Callable[..., bool] = intrinsic(_has_escape)
"""Whether any of the `STRIDE` bytes from `at` on of a stream is `ESCAPE`."""
add_up: Callable[..., Any] = intrinsic(_add_up)
"""Set `STRIDE` pixels from `done` on to running sums; return the last one.

Args:
    stream: int8, C-contiguous.
    at: of the first difference.
    pixels: int32, C-contiguous.
    done: of the first pixel.
    value: the pixel before.
"""
