"""Canvas: the translation of a recipe into Celery signatures, chains and chords.

A node becomes the signature of its task. What feeds a gather becomes a part of the
chord whose body is the gather's task. Nodes that are known to follow one another, in
the run itself and not in each member of a fan-out, become a chain. Everything else is
published by the node's own task when it knows what to send, from this same canvas.
"""

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery, Signature, chain

from zocelery import chords, identity
from zocelery.catalogue import ChannelKind, TaskKind, TaskSpec
from zocelery.parts import stream_part
from zocelery.plan import Fan, Plan
from zocelery.queues import HIGHEST_PRIORITY
from zocelery.recipe import DEFAULT_CHANNEL, Node
from zocelery.records import FanRecord, Fans

BUNDLE_TASK = "zocelery.bundle"
"""Runs a node on several members of a stream, one after the other."""
BundleMember = tuple[str, str, Any]
"""What a bundle brings of each: the id of its unit, its item and its payload."""
FORWARD_TASK = "zocelery.forward"
"""Passes the end of a stream on as one part of an outer chord."""
LONGEST_PLAIN_PAYLOAD = 400
"""Characters of JSON; longer payloads, such as a long path that an image of an HDF5
file carries twice, are compressed: a message stays under 1.5 kB."""
MARK_TASK = "zocelery.mark"
"""Says, when it is taken from a queue, that all before it has been taken."""
LIVE_IN_ROWS = (TaskKind.WATCH, TaskKind.WRAPPER)
"""Their messages are acknowledged as soon as a row is stored for them."""
KEPT_CHORDS = 100
"""Chords of streams whose bodies are kept: each member asks for them."""
LONGEST_CHAIN = 8
"""Nodes: a longer straight run of a recipe is published in pieces."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something happens: in the run itself or in a member of a stream."""

    stream: str = ""
    item: str = ""
    depth: int = 0


RUN_ITSELF = Place()


def celery_name(task: str) -> str:
    """Return the name of a recipe's task in Celery: built-in ones get a prefix."""
    return task if "." in task else f"zocelery.{task}"


class Canvas:
    """The signatures of one run."""

    def __init__(
        self,
        app: Celery,
        run: str,
        plan: Plan,
        fans: Fans,
        priority: int,
        reused: Container[str] = (),
    ) -> None:
        """Translate `plan` for the run called `run`.

        `fans` knows the streams that are open, `priority` is 0 to 9, 9 overtaking
        everything. The units `reused` are answered from the history.
        """
        self.app = app
        self.run = run
        self.plan = plan
        self._fans = fans
        self._reused = reused
        self._chords: dict[tuple[str, str], tuple[str, Signature[Any]]] = {}
        redis_broker = app.conf.broker_url.startswith(("redis", "unix"))
        # Kombu's Redis transport serves the lowest number first.
        self._priority = HIGHEST_PRIORITY - priority if redis_broker else priority

    def node(self, name: str, unit: str, payload: Any, place: Place) -> Signature[Any]:
        """Return what runs node `name` on `payload`, and what is known to follow it.

        Args:
            name: the node; not a gather.
            unit: the id that the task gets.
            payload: what the node is given.
            place: where in the run it runs.
        """
        first = self._signature(name, unit, place).clone(args=(payload,))
        if len(json.dumps(payload)) > LONGEST_PLAIN_PAYLOAD:
            first.set(compression="zlib")
        followers = self._followers(name, unit) if place == RUN_ITSELF else []
        return chain(first, *followers) if followers else first

    def bundle(
        self, name: str, place: Place, members: Sequence[BundleMember]
    ) -> Signature[Any]:
        """Return what runs node `name` on several members of a stream.

        Args:
            name: the node; not a gather.
            place: where one of them runs: only their items differ.
            members: at least two.
        """
        spec = self._spec(name)
        items = f"#{members[0][1]} to #{members[-1][1]}"
        signature = Signature(
            BUNDLE_TASK,
            args=(self.run, name, place.stream, str(place.depth), members),
            options={
                "task_id": identity.bundle_id(unit for unit, _, _ in members),
                "queue": spec.queue,
                "priority": self._priority,
                "argsrepr": f"{name} {items} of run {self.run[:8]}",
                "kwargsrepr": "",
            },
            app=self.app,
        )
        if any(len(json.dumps(m)) > LONGEST_PLAIN_PAYLOAD for _, _, m in members):
            signature.set(compression="zlib")
        return signature

    def part_options(self, name: str, place: Place) -> Mapping[str, Any]:
        """Return the publishing options that make a node's message part of a chord.

        Empty if it carries no part.
        """
        gather, spec = self.plan.carried_gather(name), self.plan.spec(name)
        # The message of a task that lives in a row ends long before the task does.
        if gather is None or spec is None or spec.kind in LIVE_IN_ROWS:
            return {}
        return chords.header_options(*self.chord_of(gather, place))

    def arguments(self, name: str, payload: Any, place: Place) -> tuple[Any, ...]:
        """Return the arguments of a node's task.

        The payload comes first: in a chain it is the answer of the node before.
        """
        args = (payload, self.run, name)
        if not place.depth:
            return args
        return (*args, place.item, place.stream, str(place.depth))

    def gather_body(self, gather: str, place: Place) -> Signature[Any]:
        """Return the body of the chord of `gather` for the scope at `place`."""
        instance = identity.scope_instance(self.run, place.stream, place.item)
        body = self._bare(gather, identity.gather_unit(instance, gather), place)
        body.update(args=(None, *body.args), immutable=True)
        # Every member carries the body: it is kept small.
        del body.options["kwargsrepr"]
        return body

    def chord_of(self, gather: str, place: Place) -> tuple[str, Signature[Any]]:
        """Return id and body of the chord to which something at `place` owes a part."""
        scope_depth = len(self.plan.scopes[gather])
        if place.depth == scope_depth:
            instance = identity.scope_instance(self.run, place.stream, place.item)
            chord = identity.chord_id(instance, gather)
            return chord, self.gather_body(gather, place)
        return self.stream_chord(gather, place.stream)

    def stream_chord(self, gather: str, stream: str) -> tuple[str, Signature[Any]]:
        """Return id and body of the chord of `gather` over the members of a stream.

        The same object for each member: it must not be changed.
        """
        known = self._chords.get((gather, stream))
        if known is None:
            known = self._make_stream_chord(gather, stream)
            if len(self._chords) >= KEPT_CHORDS:
                self._chords.clear()
            self._chords[gather, stream] = known
        return known

    def _make_stream_chord(
        self, gather: str, stream: str
    ) -> tuple[str, Signature[Any]]:
        record = self._fans.fan(self.run, stream)
        chord = identity.chord_id(stream, gather)
        outer = self.outer_place(record)
        if self.plan.is_sole_source(Fan(record.node, record.channel), gather):
            return chord, self.gather_body(gather, outer)
        return chord, self._forward(gather, stream)

    def mark(self, queue: str, mark: str) -> Signature[Any]:
        """Return the marker `mark`, for the end of what stands in `queue` by now."""
        return Signature(
            MARK_TASK,
            args=(self.run, mark),
            options={"queue": queue, "priority": self._priority},
            immutable=True,
            app=self.app,
        )

    def outer_place(self, record: FanRecord) -> Place:
        """Return where the emitter of a stream runs."""
        return Place(record.stream, record.item, record.depth)

    def gather_place(self, gather: str, place: Place) -> Place:
        """Return where `gather` runs for something that reaches it from `place`."""
        while place.depth > len(self.plan.scopes[gather]):
            place = self.outer_place(self._fans.fan(self.run, place.stream))
        return place

    def gather_unit(self, gather: str, place: Place) -> str:
        """Return the id of the unit of `gather` that is reached from `place`."""
        where = self.gather_place(gather, place)
        instance = identity.scope_instance(self.run, where.stream, where.item)
        return identity.gather_unit(instance, gather)

    def chained(self, name: str) -> str | None:
        """Return the node that follows `name` in its chain, if it is in one.

        It does if `name` answers once, on its unnamed output only, to one node.
        """
        edges = self.plan.edges[name]
        spec = self.plan.spec(name)
        if len(edges) != 1 or edges[0].channel != DEFAULT_CHANNEL or spec is None:
            return None
        plain = spec.kind is TaskKind.PLAIN
        targets = edges[0].targets
        if not plain or edges[0].kind is not ChannelKind.ONCE or len(targets) != 1:
            return None
        follower = targets[0]
        if self.plan.recipe.nodes[follower].transport_delay:
            return None
        follows = not self.plan.is_gather(follower) and self.plan.spec(follower)
        return follower if follows else None

    def _followers(self, name: str, unit: str) -> Sequence[Signature[Any]]:
        found: list[Signature[Any]] = []
        follower = self.chained(name)
        while follower is not None and len(found) < LONGEST_CHAIN - 1:
            unit = identity.child_unit(unit, DEFAULT_CHANNEL, follower, None)
            found.append(self._signature(follower, unit, RUN_ITSELF))
            follower = self.chained(follower)
        return found

    def _signature(self, name: str, unit: str, place: Place) -> Signature[Any]:
        """Return a node's signature, as a part of the chord that it carries, if any."""
        signature = self._bare(name, unit, place)
        signature.set(**self.part_options(name, place))
        return signature

    def _spec(self, name: str) -> TaskSpec:
        spec = self.plan.spec(name)
        if spec is None:
            raise ValueError(f"node {name!r} is served by somebody else")
        return spec

    def _bare(self, name: str, unit: str, place: Place) -> Signature[Any]:
        spec = self._spec(name)
        where = f" #{place.item}" if place.item else ""
        node = self.plan.recipe.nodes[name]
        if unit in self._reused:
            queue, limits = "control", {}
        else:
            queue, limits = spec.queue, _limits(node, spec)
        return Signature(
            celery_name(spec.name),
            args=self.arguments(name, None, place)[1:],
            options={
                "task_id": unit,
                "queue": queue,
                "priority": self._priority,
                "argsrepr": f"{name}{where} of run {self.run[:8]}",
                "kwargsrepr": "",
                **limits,
            },
            app=self.app,
        )

    def _forward(self, gather: str, stream: str) -> Signature[Any]:
        return Signature(
            FORWARD_TASK,
            args=(self.run, gather, stream),
            options={
                "task_id": stream_part(stream, gather),
                "queue": "control",
                "priority": self._priority,
            },
            immutable=True,
            app=self.app,
        )


def _limits(node: Node, spec: TaskSpec) -> dict[str, Any]:
    """Return the publishing options that hold a node back and end it in time."""
    limits: dict[str, Any] = {}
    if node.timeout and spec.kind not in LIVE_IN_ROWS:
        limits["soft_time_limit"] = node.timeout
    if node.transport_delay:
        limits["countdown"] = max(1, round(node.transport_delay))
    return limits
