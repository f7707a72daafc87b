"""Dead letters and their runs: a parked unit is taken back, or given up for good.

What waits for a parked unit goes on waiting until one of the two happens. Both may be
done again: after a crash in the middle the second time completes the first.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery

from zocelery.canvas import Place
from zocelery.context import RunContext, get_context
from zocelery.dead_letter_format import Address, DeadLetter
from zocelery.deployment import Deployment
from zocelery.errors import TemporaryError, UserError
from zocelery.execution import end_unit
from zocelery.leases import PREFIX
from zocelery.outbox import Outbox
from zocelery.parking import is_parked
from zocelery.plan import ERROR_CHANNEL
from zocelery.run import ENDED
from zocelery.run_end import ENDING_SECONDS, ending_lease
from zocelery.store import WAITING_RUNS, RunStore, run_key
from zocelery.unit import Unit

LATEST_EVENTS = 50
"""The end of a run is told among the last of its events."""
PATIENCE = 2 * ENDING_SECONDS
"""Seconds to wait for somebody who is just ending the run, or has died doing it."""

_REOPEN = """
if redis.call('SREM', KEYS[2], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[5], ARGV[2] .. ':parked', -1)
  local told = redis.call('HGET', KEYS[7], ARGV[1])
  if told then redis.call('XDEL', KEYS[6], told) end
elseif redis.call('SREM', KEYS[3], ARGV[1]) == 1
    and redis.call('SREM', KEYS[4], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[5], ARGV[2] .. ':failed', -1)
else
  return 0
end
redis.call('HINCRBY', KEYS[1], 'open', 1)
if redis.call('HGET', KEYS[1], 'state') ~= 'cancelled' then
  redis.call('HSET', KEYS[1], 'state', 'running')
end
redis.call('SADD', KEYS[8], ARGV[3])
return 1
"""
"""KEYS: run, parked, dropped, finished, counts, events, told, runs that wait."""


class NotTakenBackError(UserError):
    """A dead letter cannot be re-injected; it stays where it is."""


def take_back(app: Celery, deployment: Deployment, letter: DeadLetter) -> None:
    """Let the run of a letter wait for its unit again; called before it is published.

    A run that has ended meanwhile goes on. A letter of no run needs nothing.

    Raises:
        NotTakenBackError: the run is cancelled, or lost, or has gone on without it.
    """
    for unit in letter.units:
        _take_back(app, deployment, unit)
    if len(letter.units) > 1:
        deployment.store.leases.forget_deliveries(letter.id)


def _take_back(app: Celery, deployment: Deployment, letter: DeadLetter) -> None:
    address, store = letter.address, deployment.store
    if address is None:
        return
    run, unit = address.run, letter.id
    if store.recipe_record(run) is None:
        raise NotTakenBackError(
            f"run {run}: its live state is gone; 'zocelery rerun' does it anew"
        )
    if store.state(run) == "cancelled":
        raise NotTakenBackError(f"run {run} has been cancelled; drop the letter")
    if store.is_stopped(run):
        raise NotTakenBackError(
            f"run {run} was ended from outside; 'zocelery rerun' does it anew"
        )
    parked, dropped = is_parked(store, run, unit), is_dropped(store, run, unit)
    if dropped and not parked:
        _check_that_nobody_was_told(get_context(app, run), address)
    store.leases.forget_deliveries(unit)
    if parked or dropped:
        store.client.delete(PREFIX + "lease:" + unit)  # nobody runs what is parked
        deployment.history.reopen(run, unit)
        _reopen(deployment, letter, address)


def hold_open(deployment: Deployment, letter: DeadLetter) -> None:
    """Let the run of a letter that is about to be given up go on until it has been.

    Done for many letters before the first is given up, so that a run ends once and not
    with each of them.
    """
    for unit in letter.units:
        address, store = unit.address, deployment.store
        if address is not None and is_parked(store, address.run, unit.id):
            _reopen(deployment, unit, address)


def give_up(
    app: Celery, deployment: Deployment, letter: DeadLetter, reason: str
) -> str:
    """Record that the unit of a letter has failed for good; tell all that waits for it.

    Args:
        app: publishes what goes on.
        deployment: where its run is.
        letter: the dead letter; it is acknowledged by the caller afterwards.
        reason: what is recorded, one line.

    Returns:
        What became of the unit, for people.
    """
    hold_open(deployment, letter)
    told = [_give_up(app, deployment, unit, reason) for unit in letter.units]
    return "; ".join(dict.fromkeys(told))


def _give_up(
    app: Celery, deployment: Deployment, letter: DeadLetter, reason: str
) -> str:
    address, store = letter.address, deployment.store
    if address is None:
        return "belongs to no run"
    run, unit = address.run, letter.id
    if store.recipe_record(run) is None:
        return f"run {run[:8]} is forgotten"
    context = get_context(app, run)
    if address.node not in context.recipe.nodes:
        return "is no node's"
    if store.is_finished(run, unit):
        return f"{address.node} has ended before"
    hold_open(deployment, letter)
    store.client.sadd(run_key(run, "dropped"), unit)
    _fail(context, letter, address, reason)
    return f"{address.node} failed: {reason}"


def is_dropped(store: RunStore, run: str, unit: str) -> bool:
    """Whether the unit has ended because its dead letter was dropped."""
    return bool(store.client.sismember(run_key(run, "dropped"), unit))


def _fail(
    context: RunContext, letter: DeadLetter, address: Address, reason: str
) -> None:
    """End the unit as its own task would have if its failure were no dead letter."""
    place = Place(address.stream, address.item, address.depth)
    # Its message carries no part of a chord any more: that is paid here.
    unit = Unit(letter.id, address.node, place)
    outbox = Outbox(context, unit)
    told = {"node": unit.node, "item": place.item, "error": reason}
    outbox.send_error({**told, "payload": letter.payload})
    if context.plan.is_gather(unit.node):
        context.store.gather_ran(context.run, unit.id)
    outbox.leave_error(reason)
    end_unit(context, unit, outbox, letter.tries, "failed", error=reason)


def _reopen(deployment: Deployment, letter: DeadLetter, address: Address) -> None:
    """Count the unit as under way again, and its run as running."""
    store, run = deployment.store, address.run
    parts = ("parked", "dropped", "finished", "counts", "events", "told")
    keys = [run_key(run), *(run_key(run, part) for part in parts), WAITING_RUNS]
    with _nobody_ends(store, run):
        if store.state(run) in ENDED:
            _keep(store, run, deployment.settings.redis.gather_expires)
            _forget_end(store, run)
        reopen = store.client.register_script(_REOPEN)
        reopen(keys=keys, args=[letter.id, address.node, run])


@contextmanager
def _nobody_ends(store: RunStore, run: str) -> Iterator[None]:
    """Wait until nobody is just bringing the run to its end, and let nobody begin."""
    give_up = time.monotonic() + PATIENCE
    while True:
        with store.leases.hold(ending_lease(run), ENDING_SECONDS) as held:
            if held:
                yield
                return
        if time.monotonic() > give_up:
            raise TemporaryError(f"run {run} has been coming to its end for too long")
        time.sleep(0.1)


def _keep(store: RunStore, run: str, recipe_seconds: int) -> None:
    """Let nothing of the run expire while it goes on."""
    with store.client.pipeline() as pipe:
        for key in store.live_keys(run):
            pipe.persist(key)
        pipe.expire(run_key(run, "recipe"), recipe_seconds)
        pipe.execute()


def _forget_end(store: RunStore, run: str) -> None:
    """Take the end of the run out of what is told of it: there is another to come."""
    key = run_key(run, "events")
    for ident, fields in store.client.xrevrange(key, count=LATEST_EVENTS):
        if "run" in json.loads(fields["e"]):
            store.client.xdel(key, ident)


def _check_that_nobody_was_told(context: RunContext, address: Address) -> None:
    plan, node = context.plan, address.node
    error_nodes = plan.recipe.error and node not in plan.error_region
    if plan.reachable_gathers(node) or plan.edge(node, ERROR_CHANNEL) or error_nodes:
        raise NotTakenBackError(
            f"run {address.run}: {node!r} was dropped, what waited for it has gone on "
            "without it; 'zocelery rerun' does it anew"
        )
