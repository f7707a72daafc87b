"""Drawing recipes: what is drawn, and how as text and as Mermaid."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from zocelery.catalogue import Catalogue, ChannelKind, TaskKind, TaskSpec
from zocelery.errors import RecipeError
from zocelery.recipe import Node, Recipe


class Role(StrEnum):
    """What kind of step a box stands for."""

    PLAIN = "task"
    WATCH = "watch"
    GATHER = "gather"
    WRAPPER = "program"
    FOREIGN = "served by others"


class EdgeKind(StrEnum):
    """When something goes along an edge."""

    ONCE = "once"
    STREAM = "once per member"
    ERROR = "on failure"


@dataclass(frozen=True, slots=True)
class Box:
    """A node as it is drawn."""

    name: str
    work: str
    """Who does it: the task, wrapper, queue or service."""
    role: Role
    is_start: bool
    foreach: str | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """An arrow from one node to another."""

    source: str
    target: str
    channel: str
    """"" for the unnamed output and for errors."""
    kind: EdgeKind


@dataclass(frozen=True)
class Drawing:
    """A recipe as boxes by name and edges, both in recipe order."""

    boxes: dict[str, Box]
    edges: list[Edge]
    told_of_errors: tuple[str, ...] = ()
    """The nodes of the recipe-level `error`."""


def make_drawing(recipe: Recipe, catalogue: Catalogue | None = None) -> Drawing:
    """Return what there is to draw of a recipe whose graph has been checked.

    Without a catalogue, or where a task is not known, all is drawn as plain tasks and
    channels that speak once.
    """
    starts = {start.node for start in recipe.start}
    boxes: dict[str, Box] = {}
    edges: list[Edge] = []
    for node in recipe:
        spec = _find_spec(node, catalogue)
        role = _role(node, spec, catalogue)
        work = node.task or node.wrapper or node.queue or node.topic or node.service
        work = work or node.exchange or ""
        is_start = node.name in starts
        foreach = None if node.foreach is None else _printable(node.foreach)
        boxes[node.name] = Box(node.name, _printable(work), role, is_start, foreach)
        edges += _edges(node, spec)
    return Drawing(boxes, edges, recipe.error)


def draw_text(recipe: Recipe, catalogue: Catalogue | None = None) -> str:
    """Return the recipe as an indented tree for a terminal, one line per edge.

    A node that several others feed is drawn in full where it comes first.
    """
    drawing = make_drawing(recipe, catalogue)
    outgoing: dict[str, list[Edge]] = {name: [] for name in drawing.boxes}
    for edge in drawing.edges:
        outgoing[edge.source].append(edge)
    done: set[str] = set()
    lines = []
    roots = dict.fromkeys((*(s.node for s in recipe.start), *recipe.error))
    for root in roots:
        place = "start" if drawing.boxes[root].is_start else "any failure"
        lines.append(f"{place} ─> {_describe(drawing.boxes[root], root in done)}")
        lines += _tree(root, drawing, outgoing, done)
    return "\n".join(lines)


def draw_mermaid(recipe: Recipe, catalogue: Catalogue | None = None) -> str:
    """Return the recipe as a Mermaid flowchart, for Markdown pages."""
    drawing = make_drawing(recipe, catalogue)
    ids = {name: f"n{number}" for number, name in enumerate(drawing.boxes, start=1)}
    lines = ["flowchart LR"]
    for name, box in drawing.boxes.items():
        before, after = _MERMAID_SHAPES[box.role]
        label = "<br/>".join(_escape(line) for line in box_lines(box))
        lines.append(f'    {ids[name]}{before}"{label}"{after}')
        if box.is_start:
            lines.append(f"    start{ids[name]}(( )) --> {ids[name]}")
    for edge in drawing.edges:
        arrow = _MERMAID_ARROWS[edge.kind]
        label = _escape(edge_label(edge))
        text = f'|"{label}"|' if label else ""
        lines.append(f"    {ids[edge.source]} {arrow}{text} {ids[edge.target]}")
    for name in drawing.told_of_errors:
        lines.append(f'    failure(("any failure")) -.-> {ids[name]}')
    return "\n".join(lines)


def box_lines(box: Box) -> list[str]:
    """Return the lines of text in a box: its name, who does the work, and how."""
    lines = [box.name]
    if box.work and box.work != box.name:
        lines.append(box.work)
    if box.foreach is not None:
        lines.append(f"for each of {box.foreach or 'the list'}")
    return lines


def edge_label(edge: Edge) -> str:
    """Return what is written at an edge."""
    return "on failure" if edge.kind is EdgeKind.ERROR else edge.channel


_MERMAID_SHAPES = {
    Role.PLAIN: ("(", ")"),
    Role.WATCH: ("([", "])"),
    Role.GATHER: ("[/", "\\]"),
    Role.WRAPPER: ("[[", "]]"),
    Role.FOREIGN: (">", "]"),
}
_MERMAID_ARROWS = {
    EdgeKind.ONCE: "-->",
    EdgeKind.STREAM: "==>",
    EdgeKind.ERROR: "-.->",
}
_TEXT_ARROWS = {EdgeKind.ONCE: "─>", EdgeKind.STREAM: "═>", EdgeKind.ERROR: "┄>"}


def _find_spec(node: Node, catalogue: Catalogue | None) -> TaskSpec | None:
    if catalogue is None or catalogue.is_foreign(node):
        return None
    try:
        return catalogue.find(node)
    except RecipeError:
        return None


def _role(node: Node, spec: TaskSpec | None, catalogue: Catalogue | None) -> Role:
    if node.gather or (spec is not None and spec.kind is TaskKind.GATHER):
        return Role.GATHER
    if node.wrapper or (spec is not None and spec.kind is TaskKind.WRAPPER):
        return Role.WRAPPER
    if spec is not None and spec.kind is TaskKind.WATCH:
        return Role.WATCH
    if catalogue is not None and catalogue.is_foreign(node):
        return Role.FOREIGN
    return Role.PLAIN


def _edges(node: Node, spec: TaskSpec | None) -> Iterator[Edge]:
    for channel, targets in node.outputs.items():
        is_stream = spec and spec.channel_kind(channel) is ChannelKind.STREAM
        kind = EdgeKind.STREAM if is_stream else EdgeKind.ONCE
        for target in targets:
            yield Edge(node.name, target, _printable(channel), kind)
    for target in node.error:
        yield Edge(node.name, target, "", EdgeKind.ERROR)


def _tree(
    root: str, drawing: Drawing, outgoing: dict[str, list[Edge]], done: set[str]
) -> Iterator[str]:
    """Yield the lines below `root`, without recursion: recipes may be deep."""
    if root in done:
        return
    done.add(root)
    stack = [("", iter(_with_last(outgoing[root])))]
    while stack:
        indent, edges = stack[-1]
        edge, is_last = next(edges, (None, True))
        if edge is None:
            stack.pop()
            continue
        is_known = edge.target in done
        label = edge_label(edge)
        arrow = f" {label} {_TEXT_ARROWS[edge.kind]}" if label else ">"
        text = _describe(drawing.boxes[edge.target], is_known)
        yield f"{indent}{'└─' if is_last else '├─'}{arrow} {text}"
        if not is_known:
            done.add(edge.target)
            deeper = indent + ("   " if is_last else "│  ")
            stack.append((deeper, iter(_with_last(outgoing[edge.target]))))


def _with_last(edges: list[Edge]) -> list[tuple[Edge | None, bool]]:
    return [(edge, number == len(edges)) for number, edge in enumerate(edges, start=1)]


def _describe(box: Box, is_known: bool) -> str:
    if is_known:
        return f"{box.name} (see above)"
    notes = [box.work] if box.work and box.work != box.name else []
    if box.role is not Role.PLAIN:
        notes.append(f"{box.role}")
    if box.foreach is not None:
        notes.append(f"for each of {box.foreach or 'the list'}")
    return f"{box.name} ({', '.join(notes)})" if notes else box.name


def _printable(text: str) -> str:
    """Return a text without what could end a line or steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _escape(text: str) -> str:
    """Return a label for Mermaid, which reads HTML and its own `#...;` codes."""
    codes = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;"}
    return "".join(codes.get(letter, letter) for letter in text)
