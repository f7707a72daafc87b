"""Recipe parameters as they come: filled in as text, empty, or in other forms."""

import ast
import json
import re
from typing import Any

from pydantic import ValidationError

_NOTHING = re.compile(r"\s*(None|null|\{[^{}:]*\})?\s*")
"""What an empty value, and a placeholder that nothing filled in, look like as text."""


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
    try:
        return json.loads(value)
    except ValueError:
        pass
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
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
