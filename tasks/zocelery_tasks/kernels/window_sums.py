"""Sums over one window of 7 × 7 pixels, in vector instructions.

Compilers make none of the plain loops. As in `bit_vectors.py`, LLVM's vectors are
written here for no processor: 8 columns at once, of which the last counts for nothing.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from zocelery_tasks.kernels.frame import Frame
from zocelery_tasks.kernels.inner import inner
from zocelery_tasks.kernels.mask_runs import SEGMENT
from zocelery_tasks.kernels.threshold import COUNT_LIMIT

_HALF = 3
_ROWS, _COLUMNS = 7, 8
_u = np.uintp
_BYTE, _WORD = ir.IntType(8), ir.IntType(64)
_BITS = ir.VectorType(ir.IntType(1), _COLUMNS)
_COUNTS = ir.VectorType(ir.IntType(32), _COLUMNS)
_SQUARES = ir.VectorType(_WORD, _COLUMNS)
_SUMS = types.UniTuple(types.int64, 3)  # type: ignore[no-untyped-call]  # as numba has it
_IN_WINDOW = ir.Constant(_BITS, [1] * (_COLUMNS - 1) + [0])


def _spread(builder: Any, value: Any) -> Any:
    """Return a vector whose elements are all a value."""
    empty = ir.Constant(ir.VectorType(value.type, _COLUMNS), ir.Undefined)
    first = builder.insert_element(empty, value, ir.IntType(32)(0))
    order = ir.Constant(ir.VectorType(ir.IntType(32), _COLUMNS), None)
    return builder.shuffle_vector(first, first, order)


def _add_up(builder: Any, vector: Any) -> Any:
    """Return the sum of a vector's elements, as a word."""
    element = vector.type.element
    name = f"llvm.vector.reduce.add.v{_COLUMNS}i{element.width}"
    kind, module = ir.FunctionType(element, [vector.type]), builder.module
    add = module.globals.get(name) or ir.Function(module, kind, name)
    total = builder.call(add, [vector])
    return total if element.width == _WORD.width else builder.zext(total, _WORD)


def _load_rows(
    context: Any, builder: Any, array: tuple[Any, Any], at: tuple[Any, Any], size: int
) -> list[Any]:
    """Return 8 elements of each of 7 rows of an array, from a row and a column on."""
    whole = context.make_array(array[0])(context, builder, array[1])
    kind = ir.VectorType(ir.IntType(8 * size), _COLUMNS).as_pointer()
    stride = builder.extract_value(whole.strides, 0)
    column = builder.mul(at[1], _WORD(size))
    place = builder.add(builder.mul(at[0], stride), column)
    data, rows = builder.bitcast(whole.data, _BYTE.as_pointer()), []
    for _ in range(_ROWS):
        start = builder.bitcast(builder.gep(data, [place]), kind)
        rows.append(builder.load(start, align=1))
        place = builder.add(place, stride)
    return rows


def _write_sums(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    pixels, row, column, usable, mask_row, mask_column, lowest, span = arguments
    kinds = signature.args
    size = kinds[0].dtype.bitwidth // 8
    counts = _load_rows(context, builder, (kinds[0], pixels), (row, column), size)
    mask_at = mask_row, mask_column
    masks = _load_rows(context, builder, (kinds[3], usable), mask_at, 1)
    lowest, span = _spread(builder, lowest), _spread(builder, span)
    number, total = ir.Constant(_COUNTS, None), ir.Constant(_COUNTS, None)
    squares = ir.Constant(_SQUARES, None)
    for count, mask in zip(counts, masks, strict=True):
        below = builder.icmp_unsigned("<=", builder.sub(count, lowest), span)
        counted = builder.icmp_unsigned("!=", mask, ir.Constant(mask.type, None))
        counted = builder.and_(builder.and_(counted, below), _IN_WINDOW)
        if size == 4:  # others are never as high
            limit = ir.Constant(count.type, [COUNT_LIMIT] * _COLUMNS)
            small = builder.icmp_unsigned("<", count, limit)
            counted = builder.and_(counted, small)
        value = builder.select(counted, count, ir.Constant(count.type, None))
        value = value if size == 4 else builder.zext(value, _COUNTS)
        long = builder.zext(value, _SQUARES)
        number = builder.add(number, builder.zext(counted, _COUNTS))
        total = builder.add(total, value)
        squares = builder.add(squares, builder.mul(long, long))
    sums = [_add_up(builder, vector) for vector in (number, total, squares)]
    return context.make_tuple(builder, signature.return_type, sums)


def _sum_inside(
    _: Any,
    pixels: Any,
    row: Any,
    column: Any,
    usable: Any,
    mask_row: Any,
    mask_column: Any,
    lowest: Any,
    span: Any,
) -> Any:
    dtype, place = pixels.dtype, (types.uintp, types.uintp)
    return _SUMS(pixels, *place, usable, *place, dtype, dtype), _write_sums


_sum_7_rows: Callable[..., tuple[int, int, int]] = intrinsic(_sum_inside)
"""Return sums over 7 rows and columns of an image, from a row and a column on, and as
many of a mask, from others on. Both have one column more; nobody looks whether so."""


@inner
def sum_window(frame: Frame, j: int, i: int) -> tuple[int, int, int]:
    """Return the sums over the window around row j and column i.

    Of usable pixels below COUNT_LIMIT: how many, their counts, and squares of these.
    """
    pixels, usable, runs = frame.pixels, frame.usable, frame.runs
    lowest, span = frame.limits[0], frame.limits[1]
    n_rows, n = pixels.shape
    if _HALF <= j < n_rows - _HALF and _HALF <= i < n - _HALF - 1:
        top, left, zero = _u(j - _HALF), _u(i - _HALF), _u(0)
        if runs.clear[_u(j), _u(i // SEGMENT)]:  # then the mask stays where it is
            clear = runs.all_usable
            return _sum_7_rows(pixels, top, left, clear, zero, zero, lowest, span)
        return _sum_7_rows(pixels, top, left, usable, top, left, lowest, span)
    m, x, y = 0, 0, 0
    for k in range(max(j - _HALF, 0), min(j + _HALF + 1, n_rows)):
        for column in range(max(i - _HALF, 0), min(i + _HALF + 1, n)):
            count = pixels[_u(k), _u(column)]
            counted = pixels.dtype.type(count - lowest) <= span
            counted &= usable[_u(k), _u(column)] & (count < COUNT_LIMIT)
            value = int(count) if counted else 0
            m += counted
            x += value
            y += value * value
    return m, x, y
