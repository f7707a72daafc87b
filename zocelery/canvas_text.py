"""A canvas as text: what Celery is given for a recipe, for people to read."""

from collections.abc import Iterator

from celery import Celery

from zocelery.canvas import Canvas, celery_name
from zocelery.catalogue import Catalogue, ChannelKind
from zocelery.plan import ERROR_CHANNEL, Edge, Plan, Scope
from zocelery.recipe import Recipe
from zocelery.records import FanRecord

_INDENT = "    "


class _Fans:
    """Stands for the store of a run in which every stream has the id of its fan."""

    def fan(self, run: str, stream: str) -> FanRecord:
        """Return the fan that has this id, `NODE/CHANNEL`."""
        del run
        node, _, channel = stream.partition("/")
        return FanRecord(node, channel, "", "", 0)


def describe_canvas(recipe: Recipe, catalogue: Catalogue) -> str:
    """Return the Celery canvas of a recipe as text.

    First what is published at submission, then for each channel what its node
    publishes when it speaks, then the chords.
    """
    plan = Plan(recipe, catalogue)
    lines = ["group([  # published at submission"]
    chained: set[str] = set()
    canvas = _canvas(plan)
    for start in plan.recipe.start:
        lines.append(f"{_INDENT}{_chain(canvas, plan, start.node, chained)},")
    lines.append("])")
    for name in plan.recipe.nodes:
        for edge in plan.edges[name]:
            if edge.targets and name not in chained:
                lines += _edge_lines(plan, name, edge)
    for gather in plan.gathers:
        lines += _chord_lines(plan, gather)
    return "\n".join(lines)


def _canvas(plan: Plan) -> Canvas:
    app = Celery(set_as_current=False, broker="memory://")
    return Canvas(app, "RUN", plan, _Fans(), 9)


def _chain(canvas: Canvas, plan: Plan, name: str, chained: set[str]) -> str:
    """Return a node and what is chained to it."""
    names = [name]
    while (follower := canvas.chained(names[-1])) is not None:
        chained.add(names[-1])
        names.append(follower)
    texts = [_signature(plan, each) for each in names]
    return texts[0] if len(texts) == 1 else f"chain({', '.join(texts)})"


def _signature(plan: Plan, name: str) -> str:
    spec = plan.spec(name)
    if spec is None:
        node = plan.recipe.nodes[name]
        return f"message to {node.queue or node.topic or node.exchange} ({name})"
    return f"{celery_name(spec.name)}.s({name!r}).set(queue={spec.queue!r})"


def _edge_lines(plan: Plan, name: str, edge: Edge) -> Iterator[str]:
    channel = "error" if edge.channel == ERROR_CHANNEL else edge.channel
    when = f"on {channel!r}" if channel else "on its answer"
    often = " for each member" if edge.kind is ChannelKind.STREAM else ""
    tasks = [target for target in edge.targets if not plan.is_gather(target)]
    gathers = [target for target in edge.targets if plan.is_gather(target)]
    yield f"{name} {when} publishes{often}:" if tasks else f"{name} {when}{often}:"
    for target in tasks:
        carried = plan.carried_gather(target)
        part = f"  # part of chord {carried!r}" if carried else ""
        yield f"{_INDENT}{_signature(plan, target)},{part}"
    for gather in gathers:
        yield f"{_INDENT}arrives at chord {gather!r}"


def _chord_lines(plan: Plan, gather: str) -> Iterator[str]:
    scope = plan.scopes[gather]
    fans = [
        fan
        for name in plan.recipe.nodes
        for fan in plan.fans(name)
        if gather in plan.closing_gathers(fan)
    ]
    yield f"chord(  # {gather!r}, {_scope_text(scope)}"
    for fan in fans:
        parts = plan.member_parts(fan, gather)
        members = f"{parts} x members of " if parts > 1 else "members of "
        yield f"{_INDENT}header: {members}{fan.node}/{fan.channel} + 1 end,"
    outer = plan.scope_parts(gather, scope)
    if not (len(fans) == 1 and plan.is_sole_source(fans[0], gather)):
        yield f"{_INDENT}header: {outer} parts, of which {len(fans)} streams,"
    yield f"{_INDENT}body: {_signature(plan, gather)},"
    yield ")"


def _scope_text(scope: Scope) -> str:
    if not scope:
        return "once in the run"
    return "once for each member of " + ", ".join(
        f"{f.node}/{f.channel}" for f in scope
    )
