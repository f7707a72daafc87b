"""What is installed beside zocelery, found by entry points and read once."""

from functools import cache
from importlib import metadata


@cache
def entry_points(group: str) -> tuple[metadata.EntryPoint, ...]:
    """Return the entry points of a group, as a process finds them when it first asks.

    To read the data of all installed packages takes some ten milliseconds, and the
    bridge needs several groups for each message.
    """
    return tuple(metadata.entry_points(group=group))
