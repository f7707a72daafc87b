"""Recipe parameters as they come: filled in as text, empty, or in other forms."""

import ast
import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from zocelery.errors import ParameterError

_NOTHING = re.compile(r"\s*(None|null|\{[^{}:]*\})?\s*")
"""What an empty value, and a placeholder that nothing filled in, look like as text."""


class LenientParameters(BaseModel):
    """A node's parameters, under Zocalo's names.

    Numbers may be text; null, "None" and placeholders that nothing filled in are as
    good as absent; unknown keys are left to others.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, allow_inf_nan=False
    )

    whose: ClassVar[str]
    """What errors begin with."""

    @model_validator(mode="before")
    @classmethod
    def _take_null_as_absent(cls, value: Any) -> Any:
        return without_empty(value)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Self:
        """Return the parameters of a node.

        Raises:
            ParameterError: if one cannot be used; the message names key and value.
        """
        try:
            return cls.model_validate(dict(value))
        except ValueError as error:
            raise ParameterError(f"{cls.whose}: {first_error(error)}") from error


def without_empty(value: Any) -> Any:
    """Return a mapping without the entries that say nothing; other values as they are.

    None, an empty text, "None" and a placeholder that was left as it is (`{x}`) say
    nothing: Zocalo fills all of these into recipes.
    """
    if not isinstance(value, dict):
        return value
    return {key: entry for key, entry in value.items() if not _is_empty(entry)}


def _is_empty(entry: Any) -> bool:
    if isinstance(entry, str):
        return _NOTHING.fullmatch(entry) is not None
    return entry is None


def from_text(value: Any) -> Any:
    """Return the list or mapping that a text holds as JSON or as Python writes it.

    Anything else, a text that holds neither among them, is returned as it is.
    """
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{", "("):
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            return read(value.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue  # MemoryError: Python's parser says so of what is too deep
    return value


def first_error(error: ValueError) -> str:
    """Return in one line what is wrong with which key."""
    if not isinstance(error, ValidationError):
        return str(error)
    detail = error.errors(include_url=False)[0]
    place = ".".join(map(str, detail["loc"]))
    message = detail["msg"].removeprefix("Value error, ")
    if not place:
        return message
    if detail["type"] == "missing":
        return f"{place} is missing"
    return f"{place} {_short(detail['input'])}: {message}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
