"""Parameters in the form that DIALS and xia2 take: `name=value`, one per argument.

A value reaches the program as what it is or not at all: phil gives `;`, `{`, `$(x)`,
quotes and line ends a meaning of their own, so that values with them are refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zocelery.errors import ParameterError
from zocelery_tasks.wrappers.folders import allowed_input

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_PARTS = re.compile(r"[\s,=()\[\]|<>&?!]+")
_VALUE = re.compile(r"(?:[\w .,:/+*=@%()\[\]~^<>|?&!-]|(?<=[\w.#-])#)*")


def phil_arguments(given: Mapping[str, Any], whose: str) -> Iterator[str]:
    """Yield `name=value` for each parameter; a list gives one for each member.

    None is left out, true and false become True and False.

    Raises:
        ParameterError: a name or value could mean something else to the program.
    """
    for name, value in given.items():
        if not _NAME.fullmatch(name):
            raise ParameterError(f"{whose}: {name!r} is no name of a parameter")
        for member in value if isinstance(value, list | tuple) else [value]:
            if member is not None:
                yield f"{name}={phil_value(member, f'{whose}: {name}')}"


def phil_value(value: Any, whose: str) -> str:
    """Return a value as text.

    Raises:
        ParameterError: it is a structure, has characters with a meaning in phil, or
            names a file outside of the allowed folders.
    """
    if not isinstance(value, str | int | float):
        raise ParameterError(f"{whose}: {value!r} is neither text nor a number")
    text = str(value)
    found = _VALUE.match(text)
    if found is None or found.end() != len(text):
        raise ParameterError(
            f"{whose}: {text!r} has a character that parameters cannot have: "
            f"{text[found.end() if found else 0]!r}"
        )
    for part in _PARTS.split(text):
        if part.startswith(("/", "~")) or ".." in part.split("/"):
            allowed_input(part, whose)
    return text


def as_numbers(value: str | Sequence[float] | None, whose: str) -> str | None:
    """Return a unit cell, a list or a text of numbers, as `a,b,c,...`.

    Raises:
        ParameterError: something in it is no number.
    """
    if not value:
        return None
    members = re.split(r"[,\s]+", value.strip()) if isinstance(value, str) else value
    try:
        return ",".join(f"{float(member):g}" for member in members)
    except (TypeError, ValueError):
        raise ParameterError(f"{whose}: {value!r} is not all numbers") from None
