"""Plain JSON: values from outside as JSON's own types, within limits."""

import math
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 64
"""Levels of objects and lists within each other."""
MAX_SIZE = 10_000_000
"""Bytes of JSON text; for a mapping, characters and values."""

_SHOWN = 60
_MOST_BITS = 13_000
"""Python writes no number of more than 4300 digits."""


def shown(value: Any) -> str:
    """Return a value for an error message: one line, not too long."""
    try:
        text = repr(value)
    except ValueError:  # a number of too many digits
        text = f"a {type(value).__name__} with a huge number"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def plain_json(value: Any) -> Any:
    """Return a copy in JSON's own types: nothing in it belongs to the caller.

    Raises:
        ValueError: it is too deep or too large, or no JSON value; NaN, infinity and
            texts with lone surrogates are none.
    """
    return _plain(value, 0, [MAX_SIZE])


def _plain(value: Any, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    if isinstance(value, str):
        return _plain_text(value, budget)
    if value is None or isinstance(value, int | float):
        return _plain_number(value)
    if budget[0] < 0:
        raise ValueError(f"is larger than {MAX_SIZE // 10**6} MB")
    if depth >= MAX_DEPTH:
        raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {
            _plain_key(key, budget): _plain(item, depth + 1, budget)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1, budget) for item in value]
    raise ValueError(f"holds {shown(value)}, which is not a JSON value")


def _plain_number(value: float | None) -> float | None:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise ValueError("holds a number of more than 4000 digits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"holds {value}, which is not a JSON value")
    return value


def _plain_text(text: str, budget: list[int]) -> str:
    budget[0] -= len(text)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"holds {shown(text)}, which is not Unicode") from error
    return text


def _plain_key(key: Any, budget: list[int]) -> str:
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)  # Zocalo's own recipe objects count their nodes with integers
    if isinstance(key, str):
        return _plain_text(key, budget)
    raise ValueError(f"holds the key {shown(key)}, which is not a text")
