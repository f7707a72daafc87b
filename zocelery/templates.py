"""Templates: one text with `{...}` in it, and what stands for it.

The results are those of Zocalo (`Recipe.apply_parameters` of python-workflows 3.3)
wherever Zocalo has one. Where it raises IndexError, TypeError, AttributeError or
KeyError, here a `TemplateError` says what is wrong with the text. Attributes of values
are never read.
"""

import copy
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zocelery.plain_json import MAX_SIZE

_WHOLE = re.compile(r"\{\$REPLACE:([^{}]*)\}")
_FIELD = re.compile(r"([^.\[\]]*)((?:\[[^\[\]]+\])*)")
_KEY = re.compile(r"\[([^\[\]]+)\]")
_NAME = re.compile(r"[^\W\d](?:[\w -]*[\w-])?")
_MOST_NESTED = 2
"""Levels of braces within braces; `{x:{width}}` has two."""
_LARGEST_NUMBER_IN_FORMAT = 999
"""A format such as `{x:>999999999}` would fill the memory."""

Part = tuple[str, str | None, str | None, str | None]
"""Literal text and, behind it, a field with its format and conversion."""


class TemplateError(ValueError):
    """A text cannot be filled in; says why, but not where the text stands."""


def has_braces(value: Any) -> bool:
    """Whether a text, or any key or text inside a structure, holds a brace."""
    if isinstance(value, str):
        return "{" in value or "}" in value
    if isinstance(value, Mapping):
        return any(has_braces(k) or has_braces(v) for k, v in value.items())
    return isinstance(value, list | tuple) and any(has_braces(v) for v in value)


def is_replacement(text: str) -> bool:
    """Whether the text is `{$REPLACE:...}` as a whole, which gives a structure."""
    return _WHOLE.fullmatch(text) is not None


def fill_text(text: str, values: Mapping[str, Any], *, allow_unfilled: bool) -> Any:
    """Return what stands for `text`: a text, or for `{$REPLACE:x}` a copy of x.

    Args:
        text: as it stands in the recipe.
        values: what is known, by name.
        allow_unfilled: leave an unknown `{name}` in place and put None for an unknown
            `{$REPLACE:name}` instead of raising.

    Raises:
        TemplateError: a name is not known, or the braces hold no name.
    """
    if not has_braces(text):
        return text
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return _format_text(text, values, allow_unfilled)
    name, keys = _split(whole[1])
    if name not in values:
        if allow_unfilled:
            return None
        raise _not_given(name)
    try:
        return copy.deepcopy(_look_up(name, keys, values))
    except TemplateError:
        if allow_unfilled:
            return None
        raise
    except RecursionError as error:
        raise TemplateError(f"parameter {name!r} is nested too deeply") from error


def names_in(text: str, depth: int = 0) -> Iterator[tuple[str, bool]]:
    """Yield the names that `text` uses, each with whether a `$` stands before it.

    Raises:
        TemplateError: braces hold no name.
    """
    whole = _WHOLE.fullmatch(text)
    if whole is not None:
        yield _split(whole[1])[0], False
        return
    for literal, field, spec, _ in _parse(text, depth):
        if field is not None:
            name, _ = _split(field)
            if _NAME.fullmatch(name) is None:
                raise _not_given(name)
            yield name, literal.endswith("$")
            yield from names_in(spec or "", depth + 1)


def _format_text(
    text: str, values: Mapping[str, Any], allow_unfilled: bool, depth: int = 0
) -> str:
    parts = []
    length = 0
    for literal, field, spec, conversion in _parse(text, depth):
        parts.append(literal)
        if field is None:
            continue
        name, keys = _split(field)
        if name in values:
            width = _format_text(spec or "", values, allow_unfilled, depth + 1)
            value = _look_up(name, keys, values)
            parts.append(_format_value(value, width, conversion))
            length += len(parts[-1])
            if length > MAX_SIZE:
                raise TemplateError(f"becomes longer than {MAX_SIZE // 10**6} MB")
        elif not spec and (allow_unfilled or literal.endswith("$")):
            parts.append("{" + field + "}")  # a shell's ${HOME}, as in Zocalo
        else:
            raise _not_given(name)
    return "".join(parts)


def _parse(text: str, depth: int) -> list[Part]:
    if depth > _MOST_NESTED:
        raise TemplateError("has formats within formats")
    try:
        return list(string.Formatter().parse(text))
    except ValueError as error:
        raise TemplateError(
            f"{str(error).lower()}; write {{{{ and }}}} for literal braces"
        ) from error


def _split(field: str) -> tuple[str, list[str]]:
    """Split `a[b][c]` into "a" and ["b", "c"]."""
    match = _FIELD.fullmatch(field)
    if match is None:
        raise TemplateError(
            f"{{{field}}} is not a placeholder; write {{name[key]}} for a part of a "
            "parameter, or {{ and }} for literal braces"
        )
    if not match[1] or match[1].isdecimal():
        raise _literal_braces(field)
    return match[1], _KEY.findall(match[2])


def _look_up(name: str, keys: Sequence[str], values: Mapping[str, Any]) -> Any:
    value = values[name]
    for key in keys:
        try:
            value = _member(value, key)
        except (LookupError, TypeError, ValueError) as error:
            raise TemplateError(
                f"parameter {name!r} has no part [{key}] ({_parts_of(value)})"
            ) from error
    return value


def _member(value: Any, key: str) -> Any:
    """Return `value[key]`; a key of digits is an index or a number, if there is one."""
    if isinstance(value, Mapping):
        number = int(key) if key.isdecimal() else key
        return value[number] if number in value else value[key]
    if isinstance(value, list | tuple | str) and key.isdecimal():
        return value[int(key)]
    raise TypeError(key)


def _parts_of(value: Any) -> str:
    if isinstance(value, Mapping):
        names = ", ".join(str(key) for key in list(value)[:20])
        return f"it has {names}" if names else "it is empty"
    return f"it is {_short(value)}"


def _format_value(value: Any, spec: str, conversion: str | None) -> str:
    numbers = (int(digits) for digits in re.findall(r"\d{1,9}", spec))
    if any(number > _LARGEST_NUMBER_IN_FORMAT for number in numbers):
        raise TemplateError(f"the format {spec!r} is too wide")
    try:
        return format(string.Formatter().convert_field(value, conversion), spec)
    except (ValueError, TypeError, OverflowError) as error:
        message = f"the value {_short(value)} cannot be written so: {error}"
        raise TemplateError(message) from error


def _not_given(name: str) -> TemplateError:
    if name == "$REPLACE":
        message = "{$REPLACE:name} must be the whole text and name one parameter"
        return TemplateError(message)
    if _NAME.fullmatch(name) is None:
        return _literal_braces(name)
    return TemplateError(f"parameter {name!r} is not given")


def _literal_braces(field: str) -> TemplateError:
    return TemplateError(
        f"{{{field}}} does not name a parameter; write {{{{ and }}}} for literal braces"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
