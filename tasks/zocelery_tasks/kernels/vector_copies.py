"""Copies and comparisons of many bytes at once, each of them an instruction or a few.

Nobody looks whether they stay within the arrays: the caller has to know.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_BYTE = ir.IntType(8)
_WORD = ir.IntType(64)
_PAIRS = ir.VectorType(ir.IntType(16), 16)
_FIRST = ir.Constant(ir.VectorType(ir.IntType(32), 16), None)


def _place(
    context: Any, builder: Any, array: tuple[Any, Any], at: Any, kind: Any
) -> Any:
    """Return the address of an array's byte, as that of a value of some kind."""
    data = context.make_array(array[0])(context, builder, array[1]).data
    return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())


def _copy(size: int, context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kind = ir.VectorType(_BYTE, size)
    target, to, source, begin = arguments
    into = _place(context, builder, (signature.args[0], target), to, kind)
    taken = _place(context, builder, (signature.args[2], source), begin, kind)
    builder.store(builder.load(taken, align=1), into, align=1)
    return context.get_dummy_value()


def _write_copy_16(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return _copy(16, context, builder, signature, arguments)


def _write_copy_32(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return _copy(32, context, builder, signature, arguments)


def _write_twice(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array, to, again, begin = arguments
    kind = ir.VectorType(_BYTE, 32)
    whole = signature.args[0], array
    taken = builder.load(_place(context, builder, whole, begin, kind), align=1)
    for at in (to, again):
        builder.store(taken, _place(context, builder, whole, at, kind), align=1)
    return context.get_dummy_value()


def _write_repeat(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array, to, pair = arguments
    first = builder.insert_element(ir.Constant(_PAIRS, None), pair, ir.IntType(32)(0))
    into = _place(context, builder, (signature.args[0], array), to, _PAIRS)
    builder.store(builder.shuffle_vector(first, first, _FIRST), into, align=1)
    return context.get_dummy_value()


def _write_load(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array, begin = arguments
    place = _place(context, builder, (signature.args[0], array), begin, _WORD)
    return builder.load(place, align=1)


def _write_store(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array, to, word = arguments
    place = _place(context, builder, (signature.args[0], array), to, _WORD)
    builder.store(word, place, align=1)
    return context.get_dummy_value()


def _write_any_above(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array, begin, most = arguments
    kind, first = ir.VectorType(_BYTE, 32), ir.IntType(32)(0)
    order = ir.Constant(ir.VectorType(ir.IntType(32), 32), None)
    highest = builder.insert_element(ir.Constant(kind, None), most, first)
    highest = builder.shuffle_vector(highest, highest, order)
    together = None
    for offset in (0, 32, 38):
        at = builder.add(begin, _WORD(offset))
        place = _place(context, builder, (signature.args[0], array), at, kind)
        some = builder.load(place, align=1)
        if together is not None:
            higher = builder.icmp_unsigned(">", some, together)
            some = builder.select(higher, some, together)
        together = some
    above = builder.icmp_unsigned(">", together, highest)
    bits = builder.bitcast(above, ir.IntType(32))
    return builder.icmp_unsigned("!=", bits, bits.type(0))


def _any_above(_: Any, array: Any, begin: Any, most: Any) -> Any:
    return types.boolean(array, types.uintp, types.uint8), _write_any_above


def _load_8(_: Any, array: Any, begin: Any) -> Any:
    return types.uint64(array, types.uintp), _write_load


def _store_8(_: Any, array: Any, to: Any, word: Any) -> Any:
    return types.void(array, types.uintp, types.uint64), _write_store


def _copy_16(_: Any, target: Any, to: Any, source: Any, begin: Any) -> Any:
    return types.void(target, types.uintp, source, types.uintp), _write_copy_16


def _copy_32(_: Any, target: Any, to: Any, source: Any, begin: Any) -> Any:
    return types.void(target, types.uintp, source, types.uintp), _write_copy_32


def _twice(_: Any, array: Any, to: Any, again: Any, begin: Any) -> Any:
    return types.void(array, *[types.uintp] * 3), _write_twice


def _repeat(_: Any, array: Any, to: Any, pair: Any) -> Any:
    return types.void(array, types.uintp, types.uint16), _write_repeat


load_8: Callable[..., np.uint64] = intrinsic(_load_8)
"""Return the 8 bytes from `begin` on, the first lowest on little-endian machines."""
store_8: Callable[..., None] = intrinsic(_store_8)
"""Set the 8 bytes from `to` on."""
copy_16: Callable[..., None] = intrinsic(_copy_16)
"""Copy 16 bytes to `to` of one array from `begin` of another, or of the same."""
copy_32: Callable[..., None] = intrinsic(_copy_32)
"""Copy 32 bytes; where they overlap, as they were before."""
copy_32_twice: Callable[..., None] = intrinsic(_twice)
"""Copy 32 bytes of an array to `to` and then to `again`, as they were before."""
repeat_pair_32: Callable[..., None] = intrinsic(_repeat)
"""Set 32 bytes from `to` on to two bytes, again and again."""
any_above_70: Callable[..., bool] = intrinsic(_any_above)
"""Return whether any of the 70 bytes from `begin` on is above `most`."""
