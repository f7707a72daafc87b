"""What has reached a gather, and what is still missing."""

from collections.abc import Sequence

from zocelery.context import RunContext
from zocelery.errors import PermanentError
from zocelery.messages import Member, Missing
from zocelery.records import Entry
from zocelery.unit import Unit


class NothingReachedError(Exception):
    """No branch that could have fed the gather was ever taken."""


def gathered(
    context: RunContext, unit: Unit
) -> tuple[Sequence[Member], Sequence[Missing]]:
    """Return the members that reached a gather, by item, and the missing ones.

    Raises:
        NothingReachedError: the gather is on a path that the run did not take.
        PermanentError: members were sent, but none of them gave a result.
    """
    entries = context.store.entries(context.run, unit.id)
    streams = context.store.streams(context.run, unit.id)
    if not entries and not streams:
        raise NothingReachedError
    members = sorted(
        map(_member, entries), key=lambda m: (item_order(m.item), m.source)
    )
    missing = _missing(context, unit, entries, list(streams))
    if not any(member.ok for member in members):
        raise PermanentError(_no_result(members, missing))
    return members, missing


def item_order(item: str) -> tuple[int, int, str]:
    """Return a key that sorts items as people do: numbers by value, then texts."""
    return (0, int(item), "") if item.isdecimal() else (1, 0, item)


def _member(entry: Entry) -> Member:
    return Member(entry.item, entry.source, entry.ok, entry.value, entry.error)


def _missing(
    context: RunContext, unit: Unit, entries: Sequence[Entry], streams: Sequence[str]
) -> list[Missing]:
    """Return the members that were published but left nothing for the gather."""
    found: list[Missing] = []
    for stream in streams:
        record = context.store.fan(context.run, stream)
        source = f"{record.node}/{record.channel}"
        answered = {entry.item for entry in entries if entry.source == source}
        silent = context.store.items(context.run, stream) - answered
        found += [Missing(item, source) for item in silent]
    return sorted(found, key=lambda member: item_order(member.item))


def _no_result(members: Sequence[Member], missing: Sequence[Missing]) -> str:
    failed = [member for member in members if not member.ok]
    if failed:
        name = f"{failed[0].item}: " if failed[0].item else ""
        return f"none of {len(failed)} members gave a result; {name}{failed[0].error}"
    if missing:
        return f"none of {len(missing)} members answered"
    return "its sources ended without a single member"
