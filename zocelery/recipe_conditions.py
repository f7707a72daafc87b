"""Conditions: nodes of a recipe that take part only if a parameter is given."""

from collections.abc import Callable, Sequence
from typing import Any

from zocelery.recipe import Node, Recipe

ALWAYS = True
"""The condition of a node that names none."""
_NO = (None, False, 0, "", "None", "none", "null", "false", "False", "0")


def is_met(condition: Any) -> bool:
    """Whether a filled-in condition holds: not null, false, 0, nor empty.

    A text counts as what it says: `"None"`, as which a null is filled into text, and
    `"false"` do not hold.
    """
    return condition not in _NO and condition not in ([], {})


def without_idle_nodes(recipe: Recipe, filled: Callable[[Node], Any]) -> Recipe:
    """Return the recipe without the nodes whose condition does not hold.

    What only they lead to is left out with them.

    Args:
        recipe: one that may have conditions.
        filled: gives the filled-in condition of a node.
    """
    if all(node.only_if is ALWAYS for node in recipe):
        return recipe
    kept = {
        node.name: node.model_copy(update={"only_if": ALWAYS})
        for node in recipe
        if is_met(filled(node))
    }
    reached = _reached(recipe, kept)
    nodes = {name: _cut(node, reached) for name, node in kept.items()}
    return recipe.model_copy(
        update={
            "nodes": {name: node for name, node in nodes.items() if name in reached},
            "start": tuple(s for s in recipe.start if s.node in reached),
            "error": tuple(name for name in recipe.error if name in reached),
        }
    )


def _reached(recipe: Recipe, kept: dict[str, Node]) -> set[str]:
    """Return those of `kept` to which something leads, and names of nodes unknown."""
    starts = [start.node for start in recipe.start]
    unknown = {t for node in recipe for t in node.targets if t not in recipe.nodes}
    waiting = [name for name in (*starts, *recipe.error) if name in kept]
    reached = {*waiting, *unknown, *(s for s in starts if s not in recipe.nodes)}
    while waiting:
        for target in kept[waiting.pop()].targets:
            if target in kept and target not in reached:
                reached.add(target)
                waiting.append(target)
    return reached


def _cut(node: Node, reached: set[str]) -> Node:
    """Return the node without its ways to those that are not there."""

    def _left(targets: Sequence[str]) -> tuple[str, ...]:
        return tuple(target for target in targets if target in reached)

    cut = {channel: _left(targets) for channel, targets in node.outputs.items()}
    outputs = {c: to for c, to in cut.items() if to or not node.outputs[c]}
    return node.model_copy(update={"outputs": outputs, "error": _left(node.error)})
