"""Reading recipe documents: from JSON text to a checked model, within limits.

Every fault is a `RecipeError` of one line that names recipe, node, key and value.
"""

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from zocelery.errors import RecipeError
from zocelery.plain_json import MAX_DEPTH, MAX_SIZE, plain_json, shown
from zocelery.recipe_schema import NamedNode, NamedRecipe, RetryDocument

MOST_FOUND = 1000
"""Problems after which nobody looks for more."""

_MOST_LISTED = 30
_MOST_COMPARED = 100
_LONGEST_COMPARED = 100
_LONGEST_LINE = 1000
_NODE_NAME = "1 to 100 of A-Z, a-z, 0-9, '_', '-' and '.', the first no '-' or '.'"
_EXPECTED: Mapping[str, str] = MappingProxyType(
    {
        "nodes": "an object of nodes, at least one",
        "parameters": "an object",
        "job_parameters": "an object",
        "extra": "an object",
        "transport-delay": "a number of seconds, 0 or more",
        "timeout": "a number of seconds above 0",
        "deadline": "a number of seconds above 0",
        "gather": 'true, false or "join"',
        "shed": "true or false",
        "only_if": "a text with a placeholder, or a value",
        "retry": "an object with attempts, pause and longest_pause",
        "attempts": "a whole number from 1 to 100",
        "pause": "a number of seconds above 0, at most 3600",
        "longest_pause": "a number of seconds above 0, at most 86400",
    }
)
_EXPECTED_NAMED: Mapping[str, str] = MappingProxyType(
    {
        **_EXPECTED,
        "start": "a node's name or a list of names or [name, payload] pairs",
        "output": "a node's name, a list of names, or an object of such by channel",
        "error": "a node's name or a list of names",
    }
)
_EXPECTED_ZOCALO: Mapping[str, str] = MappingProxyType(
    {
        **_EXPECTED,
        "start": "a list of [node number, payload] pairs, at least one",
        "output": "a node number, a list of such, or an object of such by channel",
        "error": "a node number or a list of such",
        "wrapper": "an object or a text",
    }
)

M = TypeVar("M", bound=BaseModel)


def refuse(where: str, problems: Iterable[str]) -> NoReturn:
    """Raise one RecipeError for all problems: one line if it is one, else a list.

    Lines that are too long are cut; of more than `MOST_FOUND` only so many are counted.
    """
    found = islice(problems, MOST_FOUND)
    lines = [_cut(problem, _LONGEST_LINE) for problem in found]
    where = _cut(where, _LONGEST_LINE)
    if len(lines) == 1:
        raise RecipeError(f"{where}: {lines[0]}")
    listed = lines[:_MOST_LISTED]
    if len(lines) > len(listed):
        listed.append(f"and {len(lines) - len(listed)} more")
    raise RecipeError("\n  ".join((f"{where}: {len(lines)} problems", *listed)))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the known name that is most alike, or ""."""
    if len(name) > _LONGEST_COMPARED:
        return ""
    candidates = [k for k in islice(known, _MOST_COMPARED) if len(k) < 2 * len(name)]
    close = difflib.get_close_matches(name, candidates, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def read_document(
    document: str | bytes | Mapping[str, Any], where: str
) -> tuple[dict[str, Any], list[str]]:
    """Return a document as plain JSON, and the keys that stand twice in one object.

    Raises:
        RecipeError: it is not a JSON object, or too large or too deeply nested.
    """
    repeated: list[str] = []
    if isinstance(document, str | bytes):
        document = _read_json(_read_text(document, where), where, repeated)
    try:
        plain = plain_json(document)
    except ValueError as error:
        refuse(where, [str(error)])
    if not isinstance(plain, dict):
        refuse(where, [f"must be a JSON object, not {shown(plain)}"])
    return plain, repeated


def validate_document(model: type[M], document: Mapping[str, Any], where: str) -> M:
    """Return the document as a model.

    Raises:
        RecipeError: lists all that does not fit, each with node, key and value.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        is_named = model is NamedRecipe
        expected = _EXPECTED_NAMED if is_named else _EXPECTED_ZOCALO
        problems = list(islice(_explain(error, document, expected), MOST_FOUND))
    refuse(where, problems)


def _read_text(document: str | bytes, where: str) -> str:
    if len(document) > MAX_SIZE:
        refuse(where, [f"is larger than {MAX_SIZE // 10**6} MB"])
    if isinstance(document, str):
        return document
    try:
        return document.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        refuse(where, [f"is not UTF-8 text (byte {error.start})"])


def _read_json(text: str, where: str, repeated: list[str]) -> Any:
    def _as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            times = Counter(key for key, _ in pairs)
            repeated.extend(key for key, count in times.items() if count > 1)
        return result

    def _as_constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    try:
        return json.loads(
            text, object_pairs_hook=_as_object, parse_constant=_as_constant
        )
    except json.JSONDecodeError as error:
        reason = error.msg[:1].lower() + error.msg[1:]
        place = f"line {error.lineno}, column {error.colno}"
        refuse(where, [f"is not JSON: {reason} ({place})"])
    except RecursionError:
        refuse(where, [f"is nested more than {MAX_DEPTH} levels deep"])
    except ValueError as error:
        refuse(where, [f"is not JSON: {str(error).partition(':')[0]}"])


def _explain(
    error: ValidationError, document: Mapping[str, Any], expected: Mapping[str, str]
) -> Iterator[str]:
    """Yield one line for each place that does not fit."""
    found = {}
    for fault in error.errors(include_url=False, include_context=False):
        path = _path_in(document, fault["loc"])
        last = fault["loc"][-1]
        if fault["type"] in ("extra_forbidden", "missing") and isinstance(last, str):
            path = (*path[: len(fault["loc"]) - 1], last)
        found[path] = "key" if last == "[key]" else fault["type"]
    outer = {path[:length] for path in found for length in range(len(path))}
    for path, kind in found.items():
        if path not in outer:
            yield _explain_one(document, path, kind, expected)


def _path_in(document: Any, loc: Sequence[int | str]) -> tuple[int | str, ...]:
    """Return the part of `loc` that leads through the document.

    The rest are names of the branches that pydantic has tried.
    """
    path: list[int | str] = []
    for step in loc:
        is_list = isinstance(document, list)
        inside = range(len(document)) if is_list else document
        if isinstance(inside, dict | range) and step in inside:
            document = document[step]
            path.append(step)
    return tuple(path)


def _explain_one(
    document: Any,
    path: tuple[int | str, ...],
    kind: str,
    expected: Mapping[str, str],
) -> str:
    place = _place(path)
    if kind == "missing" and isinstance(path[-1], str):
        return f"{_place(path[:-1], ': ')}there is no {str(path[-1])!r}"
    if kind == "extra_forbidden":
        hint = did_you_mean(str(path[-1]), _known_keys(path))
        return f"{_place(path[:-1], ': ')}unknown key {str(path[-1])!r}{hint}"
    if kind == "key" and path[0] == "nodes":
        return f"{path[-1]!r} cannot be a node's name, which is {_NODE_NAME}"
    if kind == "key":
        return f"{path[-1]!r} cannot be a parameter's name: it holds one of .[]{{}}!:"
    for step in path:
        document = document[step]
    return f"{place} must be {_wanted(path, expected)}, not {shown(document)}"


def _wanted(path: Sequence[int | str], expected: Mapping[str, str]) -> str:
    """Return what belongs to the innermost key that says so."""
    keys = path[2:] if path[0] == "nodes" and len(path) > 1 else path
    if not keys:
        return "an object"
    return next((expected[str(k)] for k in reversed(keys) if k in expected), "a text")


def _known_keys(path: Sequence[int | str]) -> list[str]:
    """Return the keys that are known where the last step of `path` stands."""
    models: Mapping[int, type[BaseModel]] = {1: NamedRecipe, 3: NamedNode}
    model = models.get(len(path), RetryDocument)
    return [field.alias or name for name, field in model.model_fields.items()]


def _place(path: Sequence[int | str], end: str = "") -> str:
    """Return `node 'x', output.every[1]`."""
    if len(path) >= 2 and path[0] == "nodes":
        node, path = f"node {path[1]!r}", path[2:]
    else:
        node = ""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    keys = "".join(steps).removeprefix(".")
    text = ", ".join(part for part in (node, keys) if part)
    return text + end if text else ""
