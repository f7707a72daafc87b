"""Recipe checks: is the graph whole, and does it fit the tasks that there are?"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError

from zocelery.catalogue import Catalogue, TaskKind, TaskSpec
from zocelery.errors import RecipeError
from zocelery.plain_json import shown
from zocelery.recipe import Node, Recipe
from zocelery.recipe_documents import MOST_FOUND, did_you_mean, refuse
from zocelery.templates import has_braces

_ROUTING = ("task", "wrapper", "queue", "service", "topic", "exchange")

Check = Callable[[Recipe], Iterator[str]]


def check_recipe(recipe: Recipe, catalogue: Catalogue | None = None) -> None:
    """Refuse a recipe that cannot run; takes time linear in its size.

    Without a catalogue only the graph is judged: starts, targets, cycles, nodes that
    nothing reaches, gathers that nothing feeds. With one also tasks, channels and
    parameters; what still holds placeholders is passed over.

    Raises:
        RecipeError: lists all problems, one a line, each with its node.
    """
    problems = list(islice(_find_problems(recipe, catalogue), MOST_FOUND))
    if problems:
        refuse(f"recipe {recipe.name!r}", problems)


def _find_problems(recipe: Recipe, catalogue: Catalogue | None) -> Iterator[str]:
    for check in _GRAPH_CHECKS:
        yield from check(recipe)
    if catalogue is not None:
        fed = _fed(recipe)
        for node in recipe:
            yield from _check_task(node, catalogue, is_fed=node.name in fed)


def find_cycles(recipe: Recipe, most: int = 10) -> list[list[str]]:
    """Return cycles of nodes that feed each other, each ending where it begins.

    All cycles are found that one walk through the graph comes upon, up to `most`; an
    empty list means that there is none.
    """
    cycles: list[list[str]] = []
    done: set[str] = set()
    for name in recipe.nodes:
        if name not in done and len(cycles) < most:
            cycles += islice(_cycles_from(name, recipe, done), most - len(cycles))
    return cycles


def _cycles_from(first: str, recipe: Recipe, done: set[str]) -> Iterator[list[str]]:
    """Walk depth first from `first`, without recursion, as recipes may be deep."""
    path = {first: iter(recipe.nodes[first].targets)}
    while path:
        name, targets = next(reversed(path.items()))
        target = next(targets, None)
        if target is None:
            done.add(name)
            del path[name]
        elif target in path:
            names = list(path)
            yield [*names[names.index(target) :], target]
        elif target in recipe.nodes and target not in done:
            path[target] = iter(recipe.nodes[target].targets)


def _check_starts(recipe: Recipe) -> Iterator[str]:
    if not recipe.nodes:
        yield "there are no nodes"
    if not recipe.start:
        yield "there is no start"
    yield from _check_names("start", (start.node for start in recipe.start), recipe)
    yield from _check_names("error", recipe.error, recipe)


def _check_targets(recipe: Recipe) -> Iterator[str]:
    for node in recipe:
        place = f"node {node.name!r}"
        for channel, targets in node.outputs.items():
            key = f"{place}, output.{channel}" if channel else f"{place}, output"
            yield from _check_names(key, targets, recipe)
        yield from _check_names(f"{place}, error", node.error, recipe)


def _check_names(place: str, names: Iterable[str], recipe: Recipe) -> Iterator[str]:
    for name in names:
        if name not in recipe.nodes:
            hint = did_you_mean(name, recipe.nodes)
            yield f"{place}: there is no node {name!r}{hint}"


def _check_cycles(recipe: Recipe) -> Iterator[str]:
    for cycle in find_cycles(recipe):
        yield f"nodes feed each other in a cycle: {' -> '.join(cycle)}"


def _check_reach(recipe: Recipe) -> Iterator[str]:
    reached = {*recipe.error, *(start.node for start in recipe.start)}
    waiting = [name for name in reached if name in recipe.nodes]
    while waiting:
        for target in recipe.nodes[waiting.pop()].targets:
            if target not in reached and target in recipe.nodes:
                reached.add(target)
                waiting.append(target)
    for name in recipe.nodes:
        if name not in reached:
            yield f"node {name!r}: nothing leads to it from the start"


def _check_keys(recipe: Recipe) -> Iterator[str]:
    fed = _fed(recipe)
    for node in recipe:
        if node.gather and node.foreach is not None:
            yield f"node {node.name!r}: gather and foreach exclude each other"
        if node.task is not None and node.wrapper is not None:
            yield f"node {node.name!r}: task and wrapper exclude each other"
        if node.gather and node.name not in fed:
            yield f"node {node.name!r}: gathers, but no node feeds it"


def _fed(recipe: Recipe) -> set[str]:
    return {target for node in recipe for target in node.targets}


_GRAPH_CHECKS: tuple[Check, ...] = (
    _check_starts,
    _check_targets,
    _check_cycles,
    _check_reach,
    _check_keys,
)


def _check_task(node: Node, catalogue: Catalogue, *, is_fed: bool) -> Iterator[str]:
    """Yield what does not fit between a node and the task that does its work."""
    is_open = any(has_braces(getattr(node, key)) for key in _ROUTING)
    if is_open or catalogue.is_foreign(node):
        return
    try:
        spec = catalogue.find(node)
    except RecipeError as error:
        yield f"{error}{_task_alike(node, catalogue)}"
        return
    gathers = bool(node.gather) or spec.kind is TaskKind.GATHER
    if node.deadline is not None and not gathers:
        yield f"node {node.name!r}: deadline is for nodes that gather"
    if gathers and not node.gather and not is_fed:
        yield f"node {node.name!r}: task {spec.name!r} gathers, but no node feeds it"
    yield from _check_channels(node, spec)
    if spec.parameters is not None:
        yield from _check_parameters(node, spec, spec.parameters)


def _check_channels(node: Node, spec: TaskSpec) -> Iterator[str]:
    for channel in node.outputs:
        if not has_braces(channel) and spec.channel_kind(channel) is None:
            known = ", ".join(spec.channel_names)
            hint = did_you_mean(channel, spec.channel_names)
            yield (
                f"node {node.name!r}: task {spec.name!r} has no channel {channel!r} "
                f"(it has {known}){hint}"
            )


def _check_parameters(
    node: Node, spec: TaskSpec, model: type[BaseModel]
) -> Iterator[str]:
    """Yield the parameters that the task's model refuses, placeholders apart."""
    given = spec.given_by(node)
    try:
        model.model_validate(given)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
    else:
        return
    names = [field.alias or name for name, field in model.model_fields.items()]
    has_open_keys = any(has_braces(key) for key in given)
    for fault in faults:
        path = ".".join(str(step) for step in fault["loc"])
        if fault["type"] == "missing":
            is_open = has_open_keys
        elif fault["type"] == "extra_forbidden":
            is_open = has_braces(path)
        else:
            is_open = has_braces(fault["input"])
        if not is_open:
            of_job = bool(fault["loc"]) and fault["loc"][0] in node.job_parameters
            place = "job_parameters" if of_job and given != node.parameters else ""
            misfit = _misfit(fault, path, names)
            yield f"node {node.name!r}, {place or 'parameters'}{misfit}"


def _misfit(fault: Any, path: str, names: Iterable[str]) -> str:
    """Say what is wrong with the parameter at `path`."""
    if fault["type"] == "missing":
        return f": there is no {path!r}"
    if fault["type"] == "extra_forbidden":
        return f": unknown parameter {path!r}{did_you_mean(path, names)}"
    reason = fault["msg"][:1].lower() + fault["msg"][1:]
    place = f".{path}" if path else ""
    return f"{place}: {reason}, not {shown(fault['input'])}"


def _task_alike(node: Node, catalogue: Catalogue) -> str:
    """Return a hint at the task whose name is most like what the node asks for."""
    asked = node.task or node.wrapper or node.queue or node.service or ""
    known = [name for spec in catalogue for name in (spec.name, *spec.aliases)]
    return did_you_mean(asked, known)
