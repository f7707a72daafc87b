"""Recipe notes: what in a recipe does no harm and is probably not what was meant."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import AliasChoices, BaseModel

from zocelery.catalogue import Catalogue, TaskKind
from zocelery.errors import RecipeError
from zocelery.recipe import Node, Recipe
from zocelery.templates import has_braces

_LIKENESS = 0.75
"""How much alike a key must be to one that a task knows: recipes of others hold keys
that only their own programs read."""
_LONGEST = 100


def ignored_parameters(recipe: Recipe, catalogue: Catalogue) -> Iterator[str]:
    """Yield a line for each parameter that its task does not know and passes over.

    Where a recipe names a wrapper itself, all such are told; in a node of Zocalo's, and
    for other tasks, only those that are much like one that the task does know.
    """
    for node in recipe:
        if not catalogue.is_foreign(node):
            yield from _ignored_by_node(node, catalogue)


def _ignored_by_node(node: Node, catalogue: Catalogue) -> Iterator[str]:
    try:
        spec = catalogue.find(node)
    except RecipeError:  # it is told by the checks
        return
    places = {"parameters": node.parameters, "job_parameters": node.job_parameters}
    if spec.kind is not TaskKind.WRAPPER:
        places.pop("job_parameters")  # only wrappers read them
    meant = spec.stands_for and spec.stands_for(node.parameters)
    if meant:  # its own parameters are for a cluster
        places.pop("parameters")
        spec = next((other for other in catalogue if other.name == meant), spec)
    if spec.parameters is None or spec.parameters.model_config.get("extra") != "ignore":
        return
    # a wrapper without a model of its own reads its parameters by itself
    has_model = spec.kind is TaskKind.WRAPPER and spec.parameters.__base__ != BaseModel
    is_ours = has_model and bool(node.task or node.wrapper)
    known = frozenset(known_names(spec.parameters))
    for place, given in places.items():
        for key, hint in _unknown(given, known):
            if hint or is_ours:
                said = f"{place}: {spec.name} has no parameter {key!r:.{_LONGEST}}"
                yield f"node {node.name!r}, {said}, it is ignored{hint}"


def _unknown(
    given: Mapping[str, Any], known: frozenset[str]
) -> Iterator[tuple[str, str]]:
    for key in given:
        if key not in known and not has_braces(key):
            close = get_close_matches(key[:_LONGEST], known, n=1, cutoff=_LIKENESS)
            yield key, f"; did you mean {close[0]!r}?" if close else ""


def known_names(model: type[BaseModel]) -> Iterable[str]:
    """Yield all names under which a model takes its fields."""
    for name, field in model.model_fields.items():
        alias = field.validation_alias or field.alias
        if isinstance(alias, AliasChoices):
            yield from (str(choice) for choice in alias.choices)
        elif alias is not None:
            yield str(alias)
        if alias is None or model.model_config.get("populate_by_name"):
            yield name
