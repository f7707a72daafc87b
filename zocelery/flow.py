"""Flow: how many members a run may have, and have under way; what is dropped.

A node may shed: members that no idle worker can take are dropped. That is for data
that come faster than they can be analysed and of which a part is enough, as in serial
crystallography. A dropped member ends like any other, once, in the state "shed":
gathers hear of it, and nobody waits for it.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from redis.exceptions import RedisError

from zocelery import chords
from zocelery.canvas import Place
from zocelery.context import RunContext
from zocelery.endings import Ending
from zocelery.errors import PermanentError
from zocelery.leases import PREFIX
from zocelery.parts import owed_parts
from zocelery.pauses import Pauses
from zocelery.records import SHED, Entry

_NAME = "shed"
_DECIDE = """
local function count(state)
  return tonumber(redis.call('HGET', KEYS[3], ARGV[1] .. ':' .. state) or 0)
end
local busy = count('total')
for _, ended in ipairs({'done', 'failed', 'skipped', 'cancelled', 'parked', 'shed'}) do
  busy = busy - count(ended)
end
local answers = {}
for i = 4, #ARGV do
  local drop = redis.call('SISMEMBER', KEYS[4], ARGV[i])
  if drop == 0 and redis.call('SISMEMBER', KEYS[2], ARGV[i]) == 0 then
    if busy < tonumber(ARGV[2]) then
      redis.call('SADD', KEYS[2], ARGV[i])
      redis.call('HINCRBY', KEYS[1], 'open', 1)
      redis.call('HINCRBY', KEYS[3], ARGV[1] .. ':total', 1)
      busy = busy + 1
    else
      redis.call('SADD', KEYS[4], ARGV[i])
      redis.call('SADD', KEYS[5], ARGV[3])
      drop = 1
    end
  end
  table.insert(answers, drop)
end
return answers
"""
"""Counts those that are kept as under way, so that twins decide alike. Idle are the
slots of the workers that serve the queue, less the units of this run that have not
ended: the broker is not asked."""


def has_room(context: RunContext) -> bool:
    """Whether so little of the run is under way that more may be sent."""
    most = context.deployment.settings.run.most_queued
    return not most or context.store.open_count(context.run) <= most


@contextmanager
def announced(context: RunContext, node: str, units: Sequence[str]) -> Iterator[None]:
    """Count units before they are published inside, and no more if they cannot be.

    Otherwise the run would wait for ever for what nobody works on.
    """
    store, run = context.store, context.run
    store.open_units(run, node, units)
    try:
        yield
    except Exception:
        with suppress(RedisError):
            store.withdraw_units(run, node, units)
        raise


def refuse_too_many(
    context: RunContext, node: str, stream: str, items: Sequence[str]
) -> None:
    """Raise PermanentError if a stream would have more members than one may have."""
    store, run = context.store, context.run
    most = context.deployment.settings.run.most_members
    count = store.item_count(run, stream) + len(items)
    if count > most and len(store.items(run, stream) | set(items)) > most:
        raise PermanentError(f"node {node!r}: more than {most} members")


def shed_surplus(
    context: RunContext, node: str, places: Mapping[str, Place], source: str
) -> set[str]:
    """End those of a node's units that no worker is idle for; return their ids.

    What was decided for a unit stays: one that was dropped or published before, by a
    watch that was then killed, is not decided again.

    Args:
        context: the run.
        node: the node, which sheds.
        places: its units that are about to be published, in their order, and where.
        source: `NODE/CHANNEL` of the fan-out.
    """
    client, key = context.store.client, f"{PREFIX}run:{context.run}"
    parts = ("opened", "counts", _NAME, "names")
    keys = [key, *(f"{key}:{part}" for part in parts)]
    args = [node, slots(context, node), _NAME, *places]
    answers = client.register_script(_DECIDE)(keys=keys, args=args) if places else ()
    gone = [unit for unit, drop in zip(places, answers, strict=True) if drop]
    _end(context, node, {unit: places[unit] for unit in gone}, source)
    return set(gone)


def slots(context: RunContext, node: str, *, bundles: bool = False) -> int:
    """Return how many units the workers that live can run at once for the node.

    With `bundles` 0 if one of them does not know messages with several members.
    """
    spec = context.plan.spec(node)
    if spec is None:
        return 0
    workers = Pauses(context.store.client).workers(spec.queue)
    if bundles and not all(worker.bundles for worker in workers):
        return 0
    return sum(w.slots for w in workers if spec.queue not in w.paused)


def _end(
    context: RunContext, node: str, places: Mapping[str, Place], source: str
) -> None:
    if not places:
        return
    store, run = context.store, context.run
    store.open_units(run, node, list(places))
    gathers = context.plan.reachable_gathers(node)
    endings = []
    for unit, place in places.items():
        told = {"node": node, "item": place.item, "state": "shed", "error": SHED}
        event = {**told, "time": time.time()}
        entries = list(_entries(context, node, unit, place, source, gathers))
        endings.append(Ending(unit, node, "shed", event, entries))
    store.finish_units(run, endings)
    for unit, place in places.items():
        for gather in gathers:
            chord, body = context.canvas.chord_of(gather, place)
            for part in owed_parts(context.plan, unit, node, gather):
                chords.arrive(context.app, chord, part, body)


def _entries(
    context: RunContext,
    node: str,
    unit: str,
    place: Place,
    source: str,
    gathers: Iterable[str],
) -> Iterable[tuple[str, Entry]]:
    key = f"{node}|{source}|{place.item}|{unit[:8]}"
    entry = Entry(key=key, source=source, item=place.item, ok=False, error=SHED)
    return [(context.canvas.gather_unit(gather, place), entry) for gather in gathers]
