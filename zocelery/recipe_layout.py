"""Layout of recipe drawings: layers from left to right, few crossings, no overlaps.

The usual steps for layered graphs (Sugiyama, Tagawa and Toda 1981): longest-path
layers, stand-ins where an edge passes a layer, ordering by the mean place of the
neighbours, then heights that keep that order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx

_SWEEPS = 12


@dataclass(frozen=True, slots=True)
class StandIn:
    """Where an edge passes a layer without a box."""

    edge: int
    layer: int


Place = str | StandIn


@dataclass(frozen=True)
class Layout:
    """Where everything stands."""

    layers: list[list[Place]]
    """From left to right, each from top to bottom."""
    heights: Mapping[Place, float]
    """Centre of each place, in the unit of `sizes`."""
    routes: list[list[Place]]
    """For each edge the places that it passes, its two ends included."""


def lay_out(
    sizes: Mapping[str, float], edges: Sequence[tuple[str, str]], gap: float
) -> Layout:
    """Place the nodes of an acyclic graph.

    Args:
        sizes: height of each node.
        edges: pairs of nodes; several between the same two are allowed.
        gap: free height between two places of a layer.
    """
    graph = networkx.DiGraph()
    graph.add_nodes_from(sizes)
    graph.add_edges_from(edges)
    level = {
        name: number
        for number, layer in enumerate(networkx.topological_generations(graph))
        for name in layer
    }
    routes = [_route(number, edge, level) for number, edge in enumerate(edges)]
    layers: list[list[Place]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for name in sizes:
        layers[level[name]].append(name)
    for route in routes:
        for place in route:
            if isinstance(place, StandIn):
                layers[place.layer].append(place)
    left, right = _neighbours(routes)
    layers = _order(layers, left, right)
    heights = _heights(layers, left, right, sizes, gap)
    return Layout(layers, heights, routes)


def _route(number: int, edge: tuple[str, str], level: Mapping[str, int]) -> list[Place]:
    source, target = edge
    passed = range(level[source] + 1, level[target])
    return [source, *(StandIn(number, layer) for layer in passed), target]


def _neighbours(
    routes: Iterable[list[Place]],
) -> tuple[dict[Place, list[Place]], dict[Place, list[Place]]]:
    """Return for each place those that it is joined to on its left and right."""
    left: dict[Place, list[Place]] = {}
    right: dict[Place, list[Place]] = {}
    for route in routes:
        for one, other in pairwise(route):
            right.setdefault(one, []).append(other)
            left.setdefault(other, []).append(one)
    return left, right


def _order(
    layers: list[list[Place]],
    left: Mapping[Place, list[Place]],
    right: Mapping[Place, list[Place]],
) -> list[list[Place]]:
    """Sort each layer by the mean place of its neighbours, there and back again."""
    best, fewest = layers, _crossings(layers, right)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        layers = _sweep(layers, left if forward else right, forward)
        crossings = _crossings(layers, right)
        if crossings < fewest:
            best, fewest = layers, crossings
    return best


def _sweep(
    layers: list[list[Place]], neighbours: Mapping[Place, list[Place]], forward: bool
) -> list[list[Place]]:
    rank: dict[Place, float] = {}
    ordered = []
    for layer in layers if forward else reversed(layers):
        mean = {
            place: _mean([rank[n] for n in neighbours.get(place, ())], float(index))
            for index, place in enumerate(layer)
        }
        ordered.append(sorted(layer, key=mean.__getitem__))
        rank.update((place, float(i)) for i, place in enumerate(ordered[-1]))
    return ordered if forward else ordered[::-1]


def _crossings(layers: list[list[Place]], right: Mapping[Place, list[Place]]) -> int:
    """Count the pairs of edges between neighbouring layers that cross."""
    total = 0
    for layer, following in pairwise(layers):
        rank = {place: index for index, place in enumerate(following)}
        ends = [sorted(rank[t] for t in right.get(place, ())) for place in layer]
        flat = [end for group in ends for end in group]
        total += sum(a > b for i, a in enumerate(flat) for b in flat[i + 1 :])
    return total


def _heights(
    layers: list[list[Place]],
    left: Mapping[Place, list[Place]],
    right: Mapping[Place, list[Place]],
    sizes: Mapping[str, float],
    gap: float,
) -> dict[Place, float]:
    """Draw every place towards its neighbours as far as the order allows."""
    size: dict[Place, float] = dict.fromkeys(
        (place for layer in layers for place in layer), 0.0
    )
    size.update(sizes)
    heights: dict[Place, float] = {}
    for layer in layers:
        heights.update(_spread(layer, [0.0] * len(layer), size, gap))
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for layer in layers if forward else reversed(layers):
            beside = left if forward else right
            wanted = [
                _mean([heights[n] for n in beside.get(place, ())], heights[place])
                for place in layer
            ]
            heights.update(_spread(layer, wanted, size, gap))
    return heights


def _spread(
    layer: Sequence[Place],
    wanted: Sequence[float],
    size: Mapping[Place, float],
    gap: float,
) -> dict[Place, float]:
    """Return heights near the wanted ones, in order and with the gap between them.

    Places that would overlap become a block that stands where its members want to be
    on average (pool-adjacent-violators).
    """
    offsets = [0.0]
    for one, other in pairwise(layer):
        offsets.append(offsets[-1] + (size[one] + size[other]) / 2 + gap)
    blocks: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=False):
        total, count = want - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    means = [total / count for total, count in blocks for _ in range(count)]
    return {p: m + o for p, m, o in zip(layer, means, offsets, strict=True)}


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
