"""Outbox: what one unit sends while it runs, and what it still owes when it ends."""

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from celery import Signature

from zocelery import chords, identity
from zocelery.bundling import publish_members
from zocelery.canvas import Place
from zocelery.catalogue import ChannelKind
from zocelery.context import RunContext
from zocelery.egress import send_to_foreign_queue
from zocelery.endings import Ending, Endings, Settled
from zocelery.errors import PermanentError
from zocelery.flow import announced, refuse_too_many, shed_surplus
from zocelery.messages import Emission
from zocelery.parts import own_parts, passed_on_parts
from zocelery.plan import ERROR_CHANNEL, Edge, Fan
from zocelery.recipe import DEFAULT_CHANNEL
from zocelery.records import Entry, FanRecord, Written
from zocelery.run_end import ask_for_end, is_idle
from zocelery.unit import Unit

_JSON = json.JSONEncoder(allow_nan=False)


class Outbox:
    """Sends for one unit, and settles what it owes when it ends."""

    def __init__(
        self,
        context: RunContext,
        unit: Unit,
        spoken: Iterable[str] = (),
        endings: Endings | None = None,
    ) -> None:
        """Send for `unit` of the run of `context`.

        `spoken` are the channels for one message on which it has sent before. Its end
        is left to `endings` to be recorded, if given.
        """
        self.spoken = set(spoken)
        self._endings = endings
        self._sent: dict[str, Any] = {}
        self._answer: Written | None = None
        self._context = context
        self._unit = unit
        self._open_fans: set[str] = set()
        self._closed_fans: set[Fan] = set()
        self._entries: list[tuple[str, Entry]] = []
        self._lock = threading.Lock()

    # sending

    def open_fans(self) -> None:
        """Make the streams known that the unit will emit, before the first member."""
        for fan in self._context.plan.fans(self._unit.node):
            self._open_fan(fan)

    def send(self, channel: str, payload: Any, item: str | None = None) -> None:
        """Send on a channel; silently nothing if it is not connected.

        Raises:
            PermanentError: a channel for one message is used twice, or a member of a
                stream comes without an item.
        """
        if self._context.plan.edge(self._unit.node, channel) is not None:
            check_json(payload, self._unit.node)
            self._send(channel, payload, item)

    def _send(self, channel: str, payload: Any, item: str | None = None) -> None:
        edge = self._context.plan.edge(self._unit.node, channel)
        if edge is None:
            return
        if edge.kind is ChannelKind.STREAM:
            self.send_members(channel, [Emission(channel, payload, item)])
            return
        with self._lock:
            if edge.channel in self.spoken:
                raise PermanentError(
                    f"node {self._unit.node!r}: channel {channel!r} speaks only once"
                )
        self._send_once(edge, payload)

    def send_members(self, channel: str, emissions: Sequence[Emission]) -> None:
        """Send several members of a stream at once."""
        edge = self._context.plan.edge(self._unit.node, channel)
        if edge is None or not emissions:
            return
        for emission in emissions:
            check_json(emission.payload, self._unit.node)
            if not emission.item:
                raise PermanentError(
                    f"node {self._unit.node!r}: a member of channel {channel!r} "
                    "comes without an item"
                )
        fan = Fan(self._unit.node, edge.channel)
        stream = self._open_fan(fan)
        items = [str(emission.item) for emission in emissions]
        refuse_too_many(self._context, fan.node, stream, items)
        self._await_item_gathers(fan, stream, items)
        for target, copy in edge.copies():
            self._send_members_to(target, copy, fan, stream, emissions)
        # Counted when published: a member that never was a message is not waited for.
        self._context.store.add_items(self._context.run, stream, items)

    def answer(self, payload: Any) -> None:
        """Send what the unit answered on its default output.

        Raises:
            PermanentError: it is not JSON.
        """
        self._answer = Written(payload, check_json(payload, self._unit.node))
        if not self._unit.is_chained:
            self._send(DEFAULT_CHANNEL, payload)
            return
        follower = self._context.canvas.chained(self._unit.node)
        if follower is not None:
            unit = self._child(DEFAULT_CHANNEL, follower, None)
            self.spoken.add(DEFAULT_CHANNEL)
            self._context.store.open_units(self._context.run, follower, [unit])

    def send_error(self, payload: Mapping[str, Any]) -> bool:
        """Tell the error nodes of a failure; False if the recipe names none."""
        plan = self._context.plan
        edge = plan.edge(self._unit.node, ERROR_CHANNEL)
        if edge is not None:
            self._send_once(edge, payload)
        elif plan.recipe.error and self._unit.node not in plan.error_region:
            errors = Edge(ERROR_CHANNEL, ChannelKind.ONCE, plan.recipe.error)
            self._send_once(errors, payload)
            return True
        return edge is not None

    def leave_error(self, error: str) -> None:
        """Tell every gather that the unit could have reached why it does not."""
        for gather in self._context.plan.reachable_gathers(self._unit.node):
            self._leave(gather, ok=False, error=error)

    def told(self) -> dict[str, Any] | None:
        """Return what was sent on channels for one message, beside the answer.

        None if that is not known, because an earlier keeper of a watch has sent it.
        """
        default = self._context.plan.edge(self._unit.node, DEFAULT_CHANNEL)
        apart = {ERROR_CHANNEL}
        if self._answer is not None and default is not None:
            apart.add(default.channel)
        if self.spoken - self._sent.keys() - apart:
            return None
        return {c: payload for c, payload in self._sent.items() if c not in apart}

    # ending

    def finish(self, state: str, event: Mapping[str, Any]) -> None:
        """Pay what is owed and record the end, or leave it to be recorded."""
        context, unit = self._context, self._unit
        if state in ("failed", "cancelled"):  # an earlier try may have sent something
            channels = [edge.channel for edge in context.plan.edges[unit.node]]
            self.spoken |= context.store.spoken(context.run, unit.id, channels)
        unpaid = list(self._unpaid())
        if unpaid or self._open_fans:
            self.flush()
        self.close_fans()
        for gather, part in unpaid:
            chord, body = context.canvas.chord_of(gather, unit.place)
            chords.arrive(context.app, chord, part, body)
        own = self._own_chord()
        paid = chords.part_of(context.app, own[0], unit.id) if own else chords.NO_PART
        entries, answer = self._entries, self._answer
        ending = Ending(unit.id, unit.node, state, event, entries, paid, answer)
        if self._endings is not None:
            self._endings.add(ending, self._go_on)
            return
        (settled,) = context.store.finish_units(context.run, [ending])
        self._go_on(settled)

    def _go_on(self, settled: Settled) -> None:
        """Do what only may be done when the end has been recorded."""
        if not settled.arrived:
            self.pay_own_part()
        self.end_run_if_idle(settled.still_open, settled.parked)

    def close_fans(self) -> None:
        """Say that the unit sends no more members: gathers may run before it ends."""
        for fan in set(self._context.plan.fans(self._unit.node)) - self._closed_fans:
            self._close_fan(fan)
            self._closed_fans.add(fan)

    def pay_own_part(self) -> None:
        """Arrive at the gather whose chord the unit's message carries, if any.

        Celery would do it after the task has returned; but what goes wrong there, for
        instance because Redis is away, is not tried again.
        """
        if own := self._own_chord():
            chords.arrive(self._context.app, own[0], self._unit.id, own[1])

    def _own_chord(self) -> tuple[str, Signature[Any]] | None:
        gather = self._context.plan.carried_gather(self._unit.node)
        if not self._unit.carries or gather is None:
            return None
        return self._context.canvas.chord_of(gather, self._unit.place)

    def flush(self) -> None:
        """Hand over now what was left for gathers; it would be at the end anyway."""
        for gather_unit, entry in self._entries:
            self._context.store.add_entries(self._context.run, gather_unit, [entry])
        self._entries.clear()

    def end_run_if_idle(self, still_open: int, parked: int | None = None) -> None:
        """Ask for the end of the run if nothing that can go on is under way."""
        if is_idle(self._context, still_open, parked):
            ask_for_end(self._context)

    # once channels

    def _send_once(self, edge: Edge, payload: Any) -> None:
        context, place = self._context, self._unit.place
        self.spoken.add(edge.channel)
        self._sent[edge.channel] = payload
        if not all(context.plan.is_gather(target) for target in edge.targets):
            context.store.note_spoken(context.run, self._unit.id, edge.channel)
        for target, copy in edge.copies():
            if context.plan.is_gather(target):
                self._leave(target, ok=True, value=payload)
            elif context.plan.spec(target) is None:
                if context.runs(target):  # else it has had its message before
                    unit = self._child(edge.channel, target, None, copy)
                    send_to_foreign_queue(context, target, payload, unit)
            else:
                unit = self._child(edge.channel, target, None, copy)
                with announced(context, target, [unit]):
                    context.canvas.node(target, unit, payload, place).apply_async()

    def _child(self, channel: str, node: str, item: str | None, copy: int = 0) -> str:
        return identity.child_unit(self._unit.id, channel, node, item, copy)

    def _leave(self, gather: str, **envelope: Any) -> None:
        place = self._unit.place
        source = self._source(place)
        key = f"{self._unit.node}|{source}|{place.item}|{self._unit.id[:8]}"
        entry = Entry(key, source, place.item, **envelope, written=self._answer)
        gather_unit = self._context.canvas.gather_unit(gather, place)
        self._entries.append((gather_unit, entry))

    def _source(self, place: Place) -> str:
        if not place.stream:
            return self._unit.node
        record = self._context.store.fan(self._context.run, place.stream)
        return f"{record.node}/{record.channel}"

    # streams

    def _open_fan(self, fan: Fan) -> str:
        context, place = self._context, self._unit.place
        stream = identity.stream_id(self._unit.id, fan.channel)
        if stream not in self._open_fans:
            record = FanRecord(
                fan.node, fan.channel, place.stream, place.item, place.depth
            )
            context.store.open_fan(context.run, stream, record)
            for gather in context.plan.closing_gathers(fan):
                unit = context.canvas.gather_unit(gather, place)
                context.store.note_stream(context.run, unit, stream, closed=False)
            self._open_fans.add(stream)
        return stream

    def _await_item_gathers(self, fan: Fan, stream: str, items: Sequence[str]) -> None:
        context = self._context
        depth = self._unit.place.depth + 1
        for gather in context.plan.item_gathers(fan):
            for item in items:
                await_gather(context, gather, Place(stream, item, depth))

    def _send_members_to(
        self,
        target: str,
        copy: int,
        fan: Fan,
        stream: str,
        emissions: Sequence[Emission],
    ) -> None:
        context = self._context
        if context.plan.is_gather(target):
            self._leave_members(target, fan, emissions)
            return
        if context.plan.spec(target) is None:
            for emission in emissions:
                send_to_foreign_queue(context, target, emission.payload)
            return
        depth = self._unit.place.depth + 1
        units = {
            self._child(fan.channel, target, e.item, copy): e.payload for e in emissions
        }
        items = (Place(stream, str(e.item), depth) for e in emissions)
        places = dict(zip(units, items, strict=True))
        if context.recipe.nodes[target].shed:
            source = f"{fan.node}/{fan.channel}"
            for unit in shed_surplus(context, target, places, source):
                del units[unit]
        with announced(context, target, list(units)):
            publish_members(context, target, units, places)

    def _leave_members(
        self, gather: str, fan: Fan, emissions: Sequence[Emission]
    ) -> None:
        source = f"{fan.node}/{fan.channel}"
        unit = self._context.canvas.gather_unit(gather, self._unit.place)
        entries = [
            Entry(f"{fan.node}|{source}|{e.item}", source, str(e.item), True, e.payload)
            for e in emissions
        ]
        self._context.store.add_entries(self._context.run, unit, entries)

    def _close_fan(self, fan: Fan) -> None:
        """Say how many members the stream had: its gathers wait for no more."""
        context, place = self._context, self._unit.place
        stream = self._open_fan(fan)
        count = context.store.item_count(context.run, stream)
        for gather in context.plan.closing_gathers(fan):
            size = count * context.plan.member_parts(fan, gather) + 1
            chord, body = context.canvas.stream_chord(gather, stream)
            chords.set_chord_size(context.app, chord, size)
            unit = context.canvas.gather_unit(gather, place)
            context.store.note_stream(context.run, unit, stream, closed=True)
            chords.arrive(context.app, chord, stream, body)

    # what is owed to gathers

    def _unpaid(self) -> Iterator[tuple[str, str]]:
        """Yield gather and id of the parts that no message will bring."""
        plan, unit = self._context.plan, self._unit
        for gather in plan.reachable_gathers(unit.node):
            for part in own_parts(plan, unit.id, unit.node, gather):
                if part != unit.id or not unit.carries:
                    yield gather, part
            for edge in plan.edges[unit.node]:
                silent = edge.channel not in self.spoken
                if silent and edge.kind is ChannelKind.ONCE:
                    for part in passed_on_parts(plan, unit.id, edge, gather):
                        yield gather, part


def check_json(value: Any, node: str) -> str:
    """Return what a node says as JSON; raise PermanentError if it is none."""
    try:
        return _JSON.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise PermanentError(
            f"node {node!r} says something that is not JSON: {error}"
        ) from error


def await_gather(context: RunContext, gather: str, place: Place) -> None:
    """Open the chord of a gather for one instance of its scope.

    Called before anything that owes it a part is published.
    """
    instance = identity.scope_instance(context.run, place.stream, place.item)
    unit = identity.gather_unit(instance, gather)
    size = context.plan.scope_parts(gather, context.plan.scopes[gather])
    chord = identity.chord_id(instance, gather)
    chords.set_chord_size(context.app, chord, size)
    record = {
        "node": gather,
        "stream": place.stream,
        "item": place.item,
        "depth": place.depth,
        "since": time.time(),
    }
    context.store.await_gather(context.run, unit, record)
    context.store.open_units(context.run, gather, [unit])
