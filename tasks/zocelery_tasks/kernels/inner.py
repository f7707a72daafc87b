"""How functions are compiled that only compiled functions call."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., Any])
_OPTIONS: dict[str, Any] = {
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    # Else each call counts references to all arrays of its tuples, up and down again:
    # a thousand cycles for a window of 49 pixels.
    "_nrt": False,
}


def inner(function: _Function) -> _Function:
    """Compile a function without what Python and C need to call it.

    That takes a fifth of the time of compilation. Python that calls one gets an error,
    and so does one that makes an array: the caller owns all of them.
    """
    compiled: _Function = njit(cache=True, nogil=True, **_OPTIONS)(function)
    return compiled
