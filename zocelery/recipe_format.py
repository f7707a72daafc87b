"""Recipe formats: both JSON forms to a `Recipe`, and back without loss.

Zocalo's form has nodes "1", "2" ... beside `start` and `error`; the other form keeps
nodes by name under the key `nodes`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zocelery.errors import InputFileError
from zocelery.plain_json import MAX_SIZE, shown
from zocelery.recipe import Recipe, Start
from zocelery.recipe_documents import (
    MOST_FOUND,
    did_you_mean,
    read_document,
    refuse,
    validate_document,
)
from zocelery.recipe_merge import is_number, number_nodes, rename_nodes
from zocelery.recipe_nodes import (
    differing,
    dump_node,
    dump_targets,
    is_extra,
    read_node,
    read_targets,
)
from zocelery.recipe_schema import NODE_NUMBER, NamedRecipe, ZocaloRecipe

MOST_NODES = 10_000
_LONGEST_NAME = 200
_TOP_KEYS = frozenset({"$schema", "name", "description", "parameters"})
_DEFAULT_KEYS = frozenset({"default", "description"})


def parse_recipe(
    document: str | bytes | Mapping[str, Any],
    *,
    name: str = "recipe",
    source: str | None = None,
) -> Recipe:
    """Read a recipe document of either form.

    The graph itself is for `recipe_checks.check_recipe` to judge.

    Args:
        document: JSON text, UTF-8 bytes of it, or the object that it stands for.
        name: the recipe's name, if the document does not say it.
        source: what error messages call it, by default `recipe 'NAME'`.

    Raises:
        RecipeError: lists all faults, each with node, key and value.
    """
    where = source or f"recipe {name!r}"
    plain, repeated = read_document(document, where)
    _refuse_too_many(plain.get("nodes", plain), where)
    if "nodes" not in plain:
        return _read_zocalo(plain, name, where)
    if repeated:
        keys = ", ".join(repr(key) for key in dict.fromkeys(repeated))
        refuse(where, [f"the same key stands twice in one object: {keys}"])
    return _read_named(plain, name, where)


def load_recipe(path: Path | str) -> Recipe:
    """Read a recipe from a file; its name is the file's without `.json`.

    Raises:
        InputFileError: the file cannot be read.
        RecipeError: it holds no recipe.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_SIZE + 1)
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_recipe(text, name=path.stem, source=str(path))


def dump_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as a document: Zocalo's form if all nodes are numbers.

    `parse_recipe` makes the same recipe of it; a document of Zocalo's form comes out as
    it went in, but for comments in duplicate keys.
    """
    dump = _dump_zocalo if all(map(is_number, recipe.nodes)) else _dump_named
    plain = dump(recipe)
    if not recipe.spelling:
        return plain
    written = {**plain, **recipe.spelling}
    same = parse_recipe(written, name=recipe.name) == recipe
    return written if same else plain


def to_zocalo(recipe: Recipe) -> tuple[dict[str, Any], dict[str, int]]:
    """Return a document that Zocalo itself takes, and the number of each node in it.

    Nodes that have names are numbered; keys beside nodes, `start` and `error`, which
    Zocalo refuses, are left out.
    """
    numbers = number_nodes(recipe)
    names = {name: str(number) for name, number in numbers.items()}
    document = _dump_zocalo(rename_nodes(recipe, names))
    return {k: v for k, v in document.items() if k not in _TOP_KEYS}, numbers


def _refuse_too_many(nodes: Any, where: str) -> None:
    if isinstance(nodes, dict) and len(nodes) > MOST_NODES:
        refuse(where, [f"has {len(nodes)} nodes, {MOST_NODES} are allowed"])


def _read_zocalo(plain: Mapping[str, Any], name: str, where: str) -> Recipe:
    document, nodes = _split_zocalo(plain, where)
    model = validate_document(ZocaloRecipe, {**document, "nodes": nodes}, where)
    recipe = Recipe(
        nodes={key: read_node(key, raw, numbered=True) for key, raw in nodes.items()},
        start=tuple(Start(node=str(int(node)), payload=p) for node, p in model.start),
        error=read_targets(document.get("error"), numbered=True),
        **_read_common(model, name, where),
    )
    return _with_spelling(recipe, document, _dump_zocalo(recipe))


def _split_zocalo(
    plain: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keys that are no nodes, and the nodes."""
    known = {*_TOP_KEYS, "start", "error"}
    nodes: dict[str, Any] = {}
    problems: list[str] = []
    for key in sorted(plain.keys() - known):
        if len(problems) < MOST_FOUND and re.fullmatch(NODE_NUMBER, key) is None:
            hint = did_you_mean(key, known) or '; nodes with names stand under "nodes"'
            problems.append(f"key {key!r} is not a node number{hint}")
    for key, value in plain.items():
        number = key.lstrip("0")
        if number in nodes:
            problems.append(f"node {number} stands there twice, also as {key!r}")
        elif key not in known:
            nodes[number] = value
    if problems:
        refuse(where, sorted(problems))
    return {key: value for key, value in plain.items() if key in known}, nodes


def _read_named(plain: dict[str, Any], name: str, where: str) -> Recipe:
    model = validate_document(NamedRecipe, plain, where)
    items = [model.start] if isinstance(model.start, str) else model.start
    pairs = [(item, None) if isinstance(item, str) else item for item in items]
    recipe = Recipe(
        nodes={
            key: read_node(key, _without_extra(key, raw, where), numbered=False)
            for key, raw in plain["nodes"].items()
        },
        start=tuple(Start(node=node, payload=payload) for node, payload in pairs),
        error=read_targets(model.error, numbered=False),
        **_read_common(model, name, where),
    )
    document = {key: value for key, value in plain.items() if key != "nodes"}
    return _with_spelling(recipe, document, _dump_named(recipe))


def _without_extra(name: str, raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a named node with the content of `extra` beside its other keys."""
    extra = raw.get("extra") or {}
    clash = [
        repr(k) for k, value in extra.items() if k in raw or not is_extra(k, value)
    ]
    if clash:
        problem = f"node {name!r}, extra: {clash[0]} is a key of the node itself"
        refuse(where, [problem])
    return {**{key: value for key, value in raw.items() if key != "extra"}, **extra}


def _with_extra(document: dict[str, Any]) -> dict[str, Any]:
    """Return a dumped node with its unknown keys under `extra`, as named nodes do."""
    extra = {key: value for key, value in document.items() if is_extra(key, value)}
    own = {key: value for key, value in document.items() if key not in extra}
    return {**own, "extra": extra} if extra else own


def _read_common(
    model: NamedRecipe | ZocaloRecipe, name: str, where: str
) -> dict[str, Any]:
    """Return the fields of a Recipe that both forms write in the same way."""
    defaults: dict[str, Any] = {}
    meanings: dict[str, str] = {}
    problems = []
    if model.name and not (
        model.name.isprintable() and len(model.name) < _LONGEST_NAME
    ):
        problems.append(f"name must be printable and short, not {shown(model.name)}")
    for key, value in (model.parameters or {}).items():
        if not isinstance(value, dict) or not _DEFAULT_KEYS & value.keys():
            defaults[key] = value
            continue
        meaning = value.get("description", "")
        if value.keys() - _DEFAULT_KEYS or not isinstance(meaning, str):
            problems.append(
                f"parameters.{key} must be a plain default or have just `default` and "
                f"a text `description`, not {shown(value)}"
            )
        meanings[key] = meaning
        if "default" in value:
            defaults[key] = value["default"]
    if problems:
        refuse(where, problems)
    return {
        "name": model.name or name,
        "description": model.description or "",
        "parameters": defaults,
        "placeholders": meanings,
    }


def _with_spelling(
    recipe: Recipe, document: Mapping[str, Any], canonical: Mapping[str, Any]
) -> Recipe:
    spelling = differing(document, canonical)
    return recipe.model_copy(update={"spelling": spelling}) if spelling else recipe


def _dump_zocalo(recipe: Recipe) -> dict[str, Any]:
    document = _dump_common(recipe)
    document["start"] = [[int(s.node), s.payload] for s in recipe.start]
    if recipe.error:
        document["error"] = dump_targets(recipe.error, numbered=True)
    nodes = {node.name: dump_node(node, numbered=True) for node in recipe}
    return {**document, **nodes}


def _dump_named(recipe: Recipe) -> dict[str, Any]:
    document = {"name": recipe.name, **_dump_common(recipe)}
    starts = [
        start.node if start.payload is None else [start.node, start.payload]
        for start in recipe.start
    ]
    is_one_name = len(starts) == 1 and isinstance(starts[0], str)
    document["start"] = starts[0] if is_one_name else starts
    if recipe.error:
        document["error"] = dump_targets(recipe.error, numbered=False)
    document["nodes"] = {
        node.name: _with_extra(dump_node(node, numbered=False)) for node in recipe
    }
    return document


def _dump_common(recipe: Recipe) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if recipe.description:
        document["description"] = recipe.description
    parameters = dict.fromkeys((*recipe.parameters, *recipe.placeholders))
    if parameters:
        document["parameters"] = {key: _dump_default(recipe, key) for key in parameters}
    return document


def _dump_default(recipe: Recipe, key: str) -> Any:
    if key not in recipe.parameters:
        return {"description": recipe.placeholders[key]}
    default = recipe.parameters[key]
    if recipe.placeholders.get(key):
        return {"default": default, "description": recipe.placeholders[key]}
    is_ambiguous = isinstance(default, dict) and _DEFAULT_KEYS & default.keys()
    return {"default": default} if is_ambiguous else default
