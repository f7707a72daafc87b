"""What the programs of a run print, live, in Redis: for `zocelery logs`."""

import json
from collections.abc import Iterator
from typing import Any

from zocelery.leases import PREFIX

MOST_PIECES = 2000
"""Pieces of a run's log that are kept in Redis; the files have all of it."""
LONGEST_PIECE = 8192
_NAME = "log"


class RunLog:
    """The log of one run: pieces of text, each of one node."""

    def __init__(self, client: Any, run: str) -> None:
        """Use `client`, a `redis.Redis` that decodes responses."""
        self._client = client
        self._key = f"{PREFIX}run:{run}:{_NAME}"
        self._names = f"{PREFIX}run:{run}:names"

    def write(self, node: str, item: str, text: str) -> None:
        """Add what the program of `node` has printed since the last time."""
        with self._client.pipeline() as pipe:
            for first in range(0, len(text), LONGEST_PIECE):
                piece = text[first : first + LONGEST_PIECE]
                told = {"e": json.dumps([node, item, piece])}
                pipe.xadd(self._key, told, maxlen=MOST_PIECES, approximate=True)
            pipe.sadd(self._names, _NAME)  # it expires with the rest of the run
            pipe.execute()

    def read(
        self, since: str = "0", wait: float = 0.0
    ) -> Iterator[tuple[str, str, str, str]]:
        """Yield id, node, item and text of the pieces after `since`.

        Waits at most `wait` s for the first.
        """
        block = max(1, int(wait * 1000)) if wait else None
        found = self._client.xread({self._key: since}, count=500, block=block)
        for ident, fields in found[0][1] if found else ():
            node, item, text = json.loads(fields["e"])
            yield ident, node, item, text
