"""Merging recipes: several graphs as one, run together."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import count
from typing import Any

from zocelery.errors import RecipeError
from zocelery.recipe import Recipe, Start

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def is_number(name: str) -> bool:
    """Whether a node's name is a number as in Zocalo's form."""
    return _NUMBER.fullmatch(name) is not None


def merge_recipes(recipes: Sequence[Recipe]) -> Recipe:
    """Return one recipe with all nodes, starts and error nodes, leaving all unchanged.

    As in Zocalo, numbered nodes of the second and further recipes get the numbers after
    the highest so far. Named nodes keep their names, or get "-2" where a name is taken.
    A default that two recipes set differently is dropped: it has to be given then.

    Raises:
        RecipeError: there is no recipe.
    """
    if not recipes:
        raise RecipeError("there is no recipe to merge")
    return reduce(_merge, recipes)


def rename_nodes(recipe: Recipe, names: Mapping[str, str]) -> Recipe:
    """Return the recipe with its nodes called otherwise: old name to new name."""

    def _renamed(targets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names[target] for target in targets)

    nodes = {
        names[node.name]: node.model_copy(
            update={
                "name": names[node.name],
                "outputs": {key: _renamed(to) for key, to in node.outputs.items()},
                "error": _renamed(node.error),
                "spelling": {},
            }
        )
        for node in recipe
    }
    start = tuple(Start(node=names[s.node], payload=s.payload) for s in recipe.start)
    error = _renamed(recipe.error)
    return recipe.model_copy(
        update={"nodes": nodes, "start": start, "error": error, "spelling": {}}
    )


def number_nodes(recipe: Recipe) -> dict[str, int]:
    """Return a number for each node; nodes that are numbers keep theirs."""
    taken = {int(name) for name in recipe.nodes if is_number(name)}
    free = (number for number in count(1) if number not in taken)
    return {name: int(name) if is_number(name) else next(free) for name in recipe.nodes}


def _merge(first: Recipe, second: Recipe) -> Recipe:
    second = rename_nodes(second, dict(_free_names(first, second)))
    return first.model_copy(
        update={
            "nodes": {**first.nodes, **second.nodes},
            "start": first.start + second.start,
            "error": first.error + second.error,
            "name": f"{first.name}+{second.name}",
            "description": " ".join(filter(None, _both(first, second, "description"))),
            "parameters": _merge_defaults(first, second),
            "placeholders": {**second.placeholders, **first.placeholders},
            "spelling": {},
        }
    )


def _free_names(first: Recipe, second: Recipe) -> Iterator[tuple[str, str]]:
    """Yield old and new name of each node of `second`."""
    numbers = count(max((int(n) for n in first.nodes if is_number(n)), default=0) + 1)
    taken = {*first.nodes, *second.nodes}
    for name in second.nodes:
        if is_number(name):
            yield name, str(next(numbers))
        elif name not in first.nodes:
            yield name, name
        else:
            tries = (f"{name}-{number}" for number in count(2))
            free = next(attempt for attempt in tries if attempt not in taken)
            taken.add(free)
            yield name, free


def _merge_defaults(first: Recipe, second: Recipe) -> dict[str, Any]:
    merged = {**second.parameters, **first.parameters}
    return {
        key: value
        for key, value in merged.items()
        if key not in second.parameters or second.parameters[key] == value
    }


def _both(first: Recipe, second: Recipe, field: str) -> tuple[Any, Any]:
    return getattr(first, field), getattr(second, field)
