"""Parameters: what fills the `{...}` of a recipe, its defaults, and `-p KEY=VALUE`."""

import copy
import difflib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, NoReturn, TypeVar, cast

from zocelery.errors import ParameterError
from zocelery.plain_json import MAX_SIZE, plain_json
from zocelery.recipe import Node, Recipe, Start
from zocelery.recipe_conditions import without_idle_nodes
from zocelery.templates import (
    TemplateError,
    fill_text,
    has_braces,
    is_replacement,
    names_in,
)

_TEXT_FIELDS = (
    "task",
    "wrapper",
    "service",
    "queue",
    "topic",
    "exchange",
    "foreach",
)
_MAPPING_FIELDS = ("parameters", "job_parameters", "extra")

T = TypeVar("T")
Path = tuple[str, ...]


def fill_in(
    target: T, parameters: Mapping[str, Any], *, allow_unfilled: bool = False
) -> T:
    """Return a copy of a recipe, or of any JSON value, with its placeholders filled in.

    A recipe's own defaults hold where `parameters` says nothing. Keys are filled in as
    values are; a node's description is left alone. Fill in once: `{{x}}` has become
    `{x}` by then.

    Args:
        target: a Recipe, or a text, list or dict.
        parameters: values by name.
        allow_unfilled: leave `{unknown}` in place, and put None for an unknown
            `{$REPLACE:name}`, as Zocalo does, instead of raising.

    Raises:
        ParameterError: a parameter is not given (all such are listed, with what they
            mean), or a text in braces is not a placeholder.
    """
    if not isinstance(target, Recipe):
        return cast(T, _Filler(parameters, allow_unfilled).fill(target, ("value",)))
    known = with_defaults(target, parameters)
    recipe: Recipe = target
    if not allow_unfilled:
        # First: what is left out needs no parameters.
        find_placeholders(target)
        filler = _Filler(known, allow_unfilled=False, recipe_name=target.name)
        recipe = without_idle_nodes(target, filler.condition)
        _refuse_missing(recipe, known)
    return cast(T, _Filler(known, allow_unfilled, target.name).recipe(recipe))


def with_defaults(recipe: Recipe, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return `parameters` with the recipe's defaults for those that are not given.

    A default may use other parameters: `"{ispyb_image_pattern}:1:10"`. It counts as not
    given if one of them is missing; a default `{$REPLACE:name}` is then None.
    """
    defaults = {k: v for k, v in recipe.parameters.items() if k not in parameters}
    plain = {k: copy.deepcopy(v) for k, v in defaults.items() if not has_braces(v)}
    known = {**parameters, **plain}
    filled = {}
    for name in defaults.keys() - plain.keys():
        default = defaults[name]
        is_whole = isinstance(default, str) and is_replacement(default)
        try:
            filled[name] = fill_in(default, known, allow_unfilled=is_whole)
        except ParameterError:
            continue
    return {**known, **filled}


def find_placeholders(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Return the parameters that the recipe uses, with the places where it does.

    `${HOME}` is a shell's affair unless the recipe itself declares `HOME`.

    Raises:
        ParameterError: a text in braces is not a placeholder.
    """
    declared = {*recipe.parameters, *recipe.placeholders}
    found: dict[str, dict[str, None]] = {}
    for path, text in _texts(recipe):
        for name, after_dollar in _names(recipe, path, text):
            if not after_dollar or name in declared:
                found.setdefault(name, {})[_place(path)] = None
    _names_in_defaults(recipe)
    return {name: tuple(places) for name, places in found.items()}


def unused_parameters(recipe: Recipe, names: Iterable[str]) -> dict[str, str]:
    """Return those of `names` that the recipe neither uses nor declares.

    The value is the name that was probably meant, or "". For parameters that a person
    typed; those of a LIMS are many and mostly unused.
    """
    known = {*find_placeholders(recipe), *recipe.parameters, *recipe.placeholders}
    known |= _names_in_defaults(recipe)
    return {
        name: "".join(difflib.get_close_matches(name, known, n=1))
        for name in names
        if name not in known
    }


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` texts; VALUE is JSON if it parses as such, else text.

    Raises:
        ParameterError: there is no `=`, or nothing before it.
    """
    parameters: dict[str, Any] = {}
    for text in assignments:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise ParameterError(f"parameter {text!r} is not of the form KEY=VALUE")
        parameters[key.strip()] = _json_or_text(value)
    return plain_parameters(parameters)


def plain_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters in JSON's own types: they travel in messages.

    Raises:
        ParameterError: one is too deep or too large, or no JSON value.
    """
    plain: dict[str, Any] = {}
    for name, value in parameters.items():
        try:
            plain.update(plain_json({name: value}))
        except ValueError as error:
            raise ParameterError(f"parameter {name!r:.80} {error}") from error
    return plain


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite_number
        )
    except (ValueError, RecursionError):
        return text


def _refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads but JSON does not know."""
    raise ValueError(name)


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):  # 1e999
        raise ValueError(text)
    return number


@dataclass(frozen=True)
class _Filler:
    """Fills in every text of a structure or recipe and names the place of a fault."""

    values: Mapping[str, Any]
    allow_unfilled: bool
    recipe_name: str | None = None
    budget: list[int] = dataclass_field(default_factory=lambda: [MAX_SIZE])
    """Characters that may still be filled in, a value counting for eight."""

    def recipe(self, recipe: Recipe) -> Recipe:
        """Return the recipe with its nodes and starts filled in."""
        starts = tuple(
            Start(node=start.node, payload=self.fill(start.payload, _at_start(start)))
            for start in recipe.start
        )
        nodes = {node.name: self.node(node) for node in recipe}
        return recipe.model_copy(update={"nodes": nodes, "start": starts})

    def node(self, node: Node) -> Node:
        """Return the node filled in; channels that become one share their targets."""
        update = {
            field: self.fill(getattr(node, field), _at_field(node, field))
            for field in (*_TEXT_FIELDS, *_MAPPING_FIELDS, "only_if")
        }
        outputs: dict[str, tuple[str, ...]] = {}
        for channel, targets in node.outputs.items():
            filled = self.key(channel, _at_field(node, "output"))
            outputs[filled] = outputs.get(filled, ()) + targets
        return node.model_copy(update={**update, "outputs": outputs})

    def condition(self, node: Node) -> Any:
        """Return the node's condition filled in; None if something is not given."""
        try:
            return self.fill(node.only_if, _at_field(node, "only_if"))
        except ParameterError:
            return None

    def fill(self, value: Any, path: Path) -> Any:
        """Return `value` with all texts in it filled in, keys included."""
        if isinstance(value, str):
            return self.text(value, path)
        if isinstance(value, Mapping):
            return {
                self.key(key, (*path, str(key))): self.fill(item, (*path, str(key)))
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            filled = (self.fill(v, (*path, f"[{i}]")) for i, v in enumerate(value))
            return type(value)(filled)
        return value

    def key(self, key: Any, path: Path) -> Any:
        """Return a key filled in; only what can be a text may come out."""
        filled = self.text(key, path) if isinstance(key, str) else key
        if not isinstance(filled, str | int | float):
            _fail(self.recipe_name, path, key, "a key must become a text")
        return filled if filled is key else str(filled)

    def text(self, text: str, path: Path) -> Any:
        """Return a text filled in: a lone `{$REPLACE:x}` becomes any value."""
        if not has_braces(text):
            return text
        try:
            filled = fill_text(text, self.values, allow_unfilled=self.allow_unfilled)
        except TemplateError as error:
            _fail(self.recipe_name, path, text, str(error))
        self.budget[0] -= _size(filled)
        if self.budget[0] < 0:
            reason = f"all that is filled in is larger than {MAX_SIZE // 10**6} MB"
            _fail(self.recipe_name, path, text, reason)
        return filled


def _size(value: Any) -> int:
    """Return about how many characters a value takes as JSON."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return 8 + sum(_size(key) + _size(item) for key, item in value.items())
    return 8 + sum(map(_size, value)) if isinstance(value, list | tuple) else 8


def _refuse_missing(recipe: Recipe, known: Mapping[str, Any]) -> None:
    """Raise one error that lists every parameter that is not given."""
    missing = [
        f"parameter {name!r} is not given ({places[0]}){_meaning(recipe, name)}"
        for name, places in find_placeholders(recipe).items()
        if name not in known
    ]
    if len(missing) == 1:
        raise ParameterError(f"recipe {recipe.name!r}: {missing[0]}")
    if missing:
        summary = f"recipe {recipe.name!r}: {len(missing)} parameters are not given"
        raise ParameterError("\n  ".join((summary, *missing)))


def _meaning(recipe: Recipe, name: str) -> str:
    meaning = recipe.placeholders.get(name)
    return f": {meaning}" if meaning else ""


def _names_in_defaults(recipe: Recipe) -> set[str]:
    return {
        name
        for parameter, default in recipe.parameters.items()
        for path, text in _walk(default, (f"default of {parameter!r}",))
        for name, _ in _names(recipe, path, text)
    }


def _names(recipe: Recipe, path: Path, text: str) -> list[tuple[str, bool]]:
    try:
        return list(names_in(text))
    except TemplateError as error:
        _fail(recipe.name, path, text, str(error))


def _texts(recipe: Recipe) -> Iterator[tuple[Path, str]]:
    """Yield every text of the recipe that may hold placeholders, with its place."""
    for start in recipe.start:
        yield from _walk(start.payload, _at_start(start))
    for node in recipe:
        for field in (*_TEXT_FIELDS, *_MAPPING_FIELDS, "only_if"):
            yield from _walk(getattr(node, field), _at_field(node, field))
        for channel in node.outputs:
            yield from _walk(channel, _at_field(node, "output"))


def _walk(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        if has_braces(value):
            yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(key, (*path, str(key)))
            yield from _walk(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, f"[{index}]"))


def _at_start(start: Start) -> Path:
    return (f"start at {start.node!r}", "payload")


def _at_field(node: Node, field: str) -> Path:
    """Return the place of a field; `extra` is no key of its own in a document."""
    place = f"node {node.name!r}"
    return (place,) if field == "extra" else (place, field)


def _place(path: Path) -> str:
    keys = ".".join(path[1:]).replace(".[", "[")
    return f"{path[0]}, {keys}" if keys else path[0]


def _fail(recipe_name: str | None, path: Path, text: str, reason: str) -> NoReturn:
    shown = repr(text)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    prefix = f"recipe {recipe_name!r}, " if recipe_name is not None else ""
    raise ParameterError(f"{prefix}{_place(path)}: {shown}: {reason}")
