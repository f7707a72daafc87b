"""Plan: what a recipe means for the canvas, worked out once per run.

A stream channel fans out: what it feeds runs once for each member, in a *scope* of its
own. A gather closes the innermost scope around it, or joins branches of one scope. The
plan says for each gather how many *parts* each node owes it: one for every path by
which the node's message can reach the gather. Paths that turn out dead (a channel that
stays silent, a node that failed) are owed all the same, so that the size of each chord
is known from the recipe alone and never counted at run time.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import takewhile

from zocelery.catalogue import Catalogue, ChannelKind, TaskKind, TaskSpec
from zocelery.errors import RecipeError
from zocelery.recipe import DEFAULT_CHANNEL, Node, Recipe, Start

ERROR_CHANNEL = "!error"
"""The channel of a node's `error` edges; no task can send on it by name."""
SPLIT_TASK = "split"
"""The built-in task that emits each member of a list on its channel `each`."""
SPLIT_SUFFIX = "/each"
MOST_PATHS = 1000
MOST_SCOPES = 100
"""Ways through fan-outs on which one node can be reached."""
MOST_STEPS = 5_000_000
"""Gathers times nodes: each gather is looked for from every node."""
TIMED_QUEUES = ("images", "wrappers")
"""Their workers are processes, which can be interrupted; threads cannot."""


@dataclass(frozen=True, slots=True)
class Fan:
    """A stream channel of a node: each member it emits opens a scope."""

    node: str
    channel: str


Scope = tuple[Fan, ...]
"""The fan-outs around a node, outermost first; () is the run itself."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One output of a node with all that it feeds."""

    channel: str
    kind: ChannelKind
    targets: tuple[str, ...]

    def copies(self) -> Iterator[tuple[str, int]]:
        """Yield the targets, each with how often it has come before."""
        before: Counter[str] = Counter()
        for target in self.targets:
            yield target, before[target]
            before[target] += 1


class Plan:
    """The compiled form of one recipe with the tasks of one catalogue."""

    def __init__(self, recipe: Recipe, catalogue: Catalogue) -> None:
        """Compile `recipe`, which has been checked.

        Raises:
            RecipeError: a channel or task is unknown, a gather cannot be reached.
        """
        self.recipe = expand_foreach(recipe)
        self._specs = {
            node.name: None if catalogue.is_foreign(node) else catalogue.find(node)
            for node in self.recipe
        }
        kinds = {name: spec.kind for name, spec in self._specs.items() if spec}
        self._gathering = frozenset(
            node.name
            for node in self.recipe
            if node.gather or kinds.get(node.name) is TaskKind.GATHER
        )
        self.edges = {node.name: self._edges_of(node) for node in self.recipe}
        self._carried = {name: self._find_carried(name) for name in self.edges}
        self._refuse_too_many_gathers()
        self._order = self._topological_order()
        self.scopes = self._find_scopes()
        self._parts = {g: self._count_parts(g) for g in self.gathers}
        self.error_region = self._find_error_region()
        self._refuse_too_many_paths()
        self._refuse_shedding()

    def spec(self, node: str) -> TaskSpec | None:
        """Return the spec of the node's task; None for a queue that others serve."""
        return self._specs[node]

    def is_gather(self, node: str) -> bool:
        """Whether the node runs once on all that reaches it."""
        return node in self._gathering

    @cached_property
    def gathers(self) -> tuple[str, ...]:
        """All gather nodes, in recipe order."""
        return tuple(name for name in self.recipe.nodes if self.is_gather(name))

    def descendants(self, nodes: Iterable[str]) -> frozenset[str]:
        """Return all nodes that any of `nodes` feeds, directly or through others."""
        found: set[str] = set()
        waiting = list(nodes)
        while waiting:
            for edge in self.edges.get(waiting.pop(), ()):
                fresh = set(edge.targets) - found
                found |= fresh
                waiting.extend(fresh)
        return frozenset(found)

    def sources(self, gather: str) -> frozenset[Fan]:
        """Return the streams whose emitters run in the scope of `gather` itself."""
        scope = {self.scopes[gather]}
        fans = (fan for node in self.recipe.nodes for fan in self.fans(node))
        return frozenset(
            fan
            for fan in fans
            if self._stacks[fan.node] == scope and gather in self.closing_gathers(fan)
        )

    def parts(self, node: str, gather: str) -> int:
        """Return how many parts one run of `node` owes to `gather`."""
        return self._parts[gather].get(node, 0)

    def reachable_gathers(self, node: str) -> tuple[str, ...]:
        """Return the gathers to which `node` owes parts."""
        return tuple(g for g in self.gathers if g != node and self.parts(node, g))

    def carried_gather(self, node: str) -> str | None:
        """Return the gather whose chord the node's own message carries, if any."""
        return self._carried[node]

    def _find_carried(self, node: str) -> str | None:
        for edge in self.edges[node]:
            if edge.kind is ChannelKind.ONCE:
                for target in edge.targets:
                    if self.is_gather(target):
                        return target
        return None

    def fans(self, node: str) -> tuple[Fan, ...]:
        """Return the connected stream channels of `node`."""
        streams = [e for e in self.edges[node] if e.kind is ChannelKind.STREAM]
        return tuple(Fan(node, edge.channel) for edge in streams)

    def edge(self, node: str, channel: str) -> Edge | None:
        """Return the output `channel` of `node`, or None if it feeds nothing."""
        spec = self._specs[node]
        names = {channel}
        if spec and channel in (DEFAULT_CHANNEL, spec.default_channel):
            names = {DEFAULT_CHANNEL, spec.default_channel}
        return next((e for e in self.edges[node] if e.channel in names), None)

    def scope_gathers(self, scope: Scope) -> tuple[str, ...]:
        """Return the gathers that run once in each instance of `scope`."""
        return tuple(g for g in self.gathers if self.scopes[g] == scope)

    def item_gathers(self, fan: Fan) -> tuple[str, ...]:
        """Return the gathers that run once for each member of `fan`."""
        return tuple(g for g in self.gathers if self.scopes[g][-1:] == (fan,))

    def closing_gathers(self, fan: Fan) -> tuple[str, ...]:
        """Return the gathers that gather the members of `fan`."""
        return tuple(
            g for g in self.gathers if fan not in self.scopes[g] and self._feeds(fan, g)
        )

    def scope_parts(self, gather: str, scope: Scope) -> int:
        """Return the size of the chord of `gather` in one instance of its scope."""
        if scope:
            return self.member_parts(scope[-1], gather)
        starts = (start.node for start in self.recipe.start)
        return sum(self.parts(name, gather) for name in starts) + sum(
            self.parts(other, gather)
            for other in self.scope_gathers(())
            if other != gather
        )

    def member_parts(self, fan: Fan, gather: str) -> int:
        """Return how many parts each member of `fan` owes to `gather`.

        What the fan feeds into the gather directly needs no part: the emitter records
        it itself before it closes the stream.
        """
        others = [g for g in self.item_gathers(fan) if g != gather]
        targets = [t for t in self._targets(fan) if not self.is_gather(t)]
        return sum(self.parts(name, gather) for name in [*targets, *others])

    def is_sole_source(self, fan: Fan, gather: str) -> bool:
        """Whether the stream alone feeds the gather: then one chord is enough."""
        scope = self.scopes[gather]
        return (
            self._stacks[fan.node] == {scope} and self.scope_parts(gather, scope) == 1
        )

    def _feeds(self, fan: Fan, gather: str) -> bool:
        return gather in self._targets(fan) or self.member_parts(fan, gather) > 0

    def _targets(self, fan: Fan) -> tuple[str, ...]:
        for edge in self.edges[fan.node]:
            if edge.channel == fan.channel:
                return edge.targets
        return ()

    def _refuse_too_many_scopes(self, node: str) -> None:
        if len(self._stacks[node]) > MOST_SCOPES:
            raise RecipeError(
                f"recipe {self.recipe.name!r}, node {node!r}: more than {MOST_SCOPES} "
                "ways through fan-outs lead to it; gather earlier"
            )

    def _refuse_too_many_gathers(self) -> None:
        count = len(self.gathers)
        if count * len(self.recipe.nodes) > MOST_STEPS or count**2 > MOST_STEPS / 5:
            raise RecipeError(
                f"recipe {self.recipe.name!r}: {count} gathers are too many for "
                f"{len(self.recipe.nodes)} nodes"
            )

    def _refuse_too_many_paths(self) -> None:
        for gather in self.gathers:
            paths = self.scope_parts(gather, self.scopes[gather])
            if paths > MOST_PATHS:
                raise RecipeError(
                    f"recipe {self.recipe.name!r}, node {gather!r}: {paths} paths "
                    f"lead into it, {MOST_PATHS} are allowed; gather earlier"
                )

    def _refuse_shedding(self) -> None:
        edges = (e for name in self.recipe.nodes for e in self.edges[name])
        streamed = {
            target
            for edge in edges
            if edge.kind is ChannelKind.STREAM
            for target in edge.targets
        }
        for node in self.recipe:
            if node.shed and (self.is_gather(node.name) or node.name not in streamed):
                raise RecipeError(
                    f"recipe {self.recipe.name!r}, node {node.name!r}: shed is for "
                    "nodes that run once for each member of a stream"
                )

    def _find_error_region(self) -> frozenset[str]:
        """Return the recipe's error nodes and all that they feed."""
        region: set[str] = set()
        waiting = list(self.recipe.error)
        while waiting:
            name = waiting.pop()
            if self.is_gather(name):
                raise RecipeError(
                    f"recipe {self.recipe.name!r}, node {name!r}: gathers, but the "
                    "recipe's error nodes feed it: how often they run is not known"
                )
            if name not in region:
                region.add(name)
                waiting.extend(self.recipe.nodes[name].targets)
        return frozenset(region)

    def _edges_of(self, node: Node) -> tuple[Edge, ...]:
        spec = self._specs[node.name]
        if node.timeout and spec is not None and spec.queue not in TIMED_QUEUES:
            raise RecipeError(
                f"recipe {self.recipe.name!r}, node {node.name!r}: only tasks of the "
                f"queues {' and '.join(TIMED_QUEUES)} can have a timeout"
            )
        if spec is None:  # whoever serves the queue sends its messages on
            return ()
        edges = []
        for channel, targets in node.outputs.items():
            kind = spec.channel_kind(channel)
            if kind is None:
                known = ", ".join(spec.channel_names)
                raise RecipeError(
                    f"recipe {self.recipe.name!r}, node {node.name!r}: its task has no "
                    f"channel {channel!r} (it has {known})"
                )
            edges.append(Edge(channel, kind, targets))
        if node.error:
            edges.append(Edge(ERROR_CHANNEL, ChannelKind.ONCE, node.error))
        return tuple(edges)

    def _topological_order(self) -> list[str]:
        sorter: TopologicalSorter[str] = TopologicalSorter(self.recipe.parents())
        try:
            return list(sorter.static_order())
        except CycleError as error:
            path = " -> ".join(reversed(error.args[1]))
            raise RecipeError(
                f"recipe {self.recipe.name!r}: nodes feed each other: {path}"
            ) from error

    def _find_scopes(self) -> Mapping[str, Scope]:
        """Work out in which scope each gather runs, parents first."""
        self._stacks: dict[str, set[Scope]] = {name: set() for name in self._order}
        for name in (*(s.node for s in self.recipe.start), *self.recipe.error):
            self._stacks[name].add(())
        scopes: dict[str, Scope] = {}
        for name in self._order:
            if self.is_gather(name):
                scopes[name] = self._gather_scope(name)
                self._stacks[name] = {scopes[name]}
            for edge in self.edges[name]:
                is_stream = edge.kind is ChannelKind.STREAM
                deeper = (Fan(name, edge.channel),) if is_stream else ()
                for target in edge.targets:
                    self._stacks[target] |= {s + deeper for s in self._stacks[name]}
                    self._refuse_too_many_scopes(target)
        return scopes

    def _gather_scope(self, gather: str) -> Scope:
        stacks = sorted(self._stacks[gather], key=len)
        if not stacks:
            raise RecipeError(
                f"recipe {self.recipe.name!r}, node {gather!r}: gathers, but nothing "
                "feeds it"
            )
        if len(stacks) == 1:
            joins = self.recipe.nodes[gather].gather == "join"
            return stacks[0] if joins else stacks[0][:-1]
        return common_prefix(stacks)

    def _count_parts(self, gather: str) -> Mapping[str, int]:
        """Count for each node the paths from it to `gather`, last nodes first."""
        counts: dict[str, int] = {}
        for name in reversed(self._order):
            total = sum(
                self._edge_parts(name, edge, gather, counts)
                for edge in self.edges[name]
            )
            if total and name != gather:
                counts[name] = total
        return counts

    def _edge_parts(
        self, name: str, edge: Edge, gather: str, counts: Mapping[str, int]
    ) -> int:
        if edge.kind is ChannelKind.STREAM:
            fan = Fan(name, edge.channel)
            if fan in self.scopes[gather]:
                return 0
            sources = (*edge.targets, *self.item_gathers(fan))
            return int(any(n == gather or counts.get(n, 0) for n in sources))
        return sum(
            1 if t == gather else 0 if self.is_gather(t) else counts.get(t, 0)
            for t in edge.targets
        )


def common_prefix(scopes: Sequence[Scope]) -> Scope:
    """Return the fan-outs that all scopes share, outermost first."""
    shared = takewhile(lambda fans: len(set(fans)) == 1, zip(*scopes, strict=False))
    return tuple(fans[0] for fans in shared)


def expand_foreach(recipe: Recipe) -> Recipe:
    """Return the recipe with each `foreach` node fed by a node that splits the list."""
    looped = {node.name for node in recipe if node.foreach is not None}
    if not looped:
        return recipe

    def _renamed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(n + SPLIT_SUFFIX if n in looped else n for n in names)

    return recipe.model_copy(
        update={
            "nodes": {node.name: node for node in _expanded(recipe, _renamed)},
            "start": tuple(
                Start(node=_renamed((start.node,))[0], payload=start.payload)
                for start in recipe.start
            ),
            "error": _renamed(recipe.error),
        }
    )


def _expanded(
    recipe: Recipe, renamed: Callable[[tuple[str, ...]], tuple[str, ...]]
) -> Iterator[Node]:
    for node in recipe:
        outputs = {channel: renamed(names) for channel, names in node.outputs.items()}
        if node.foreach is not None:
            yield Node(
                name=node.name + SPLIT_SUFFIX,
                task=SPLIT_TASK,
                parameters={"key": node.foreach},
                outputs={"each": (node.name,)},
                error=renamed(node.error),
                description=f"One message for each member of {node.foreach!r}.",
            )
        update = {"outputs": outputs, "error": renamed(node.error), "foreach": None}
        yield node.model_copy(update=update)
