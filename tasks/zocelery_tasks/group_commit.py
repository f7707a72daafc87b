"""Group commit: what many threads want to store goes into one transaction.

A transaction costs the same for one row as for a hundred. Whoever comes while one is
under way waits, and the next takes along all who have waited. Nobody waits for others
to come, nobody goes on before its own rows are stored: a message that is acknowledged
then is never lost.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zocelery.errors import PermanentError

MOST_ROWS = 1000
Row = Mapping[str, Any]


@dataclass
class _Share:
    """The rows of one thread."""

    rows: Sequence[Row]
    woken: threading.Event = field(default_factory=threading.Event)
    is_stored: bool = False
    error: Exception | None = None


class GroupCommit:
    """Stores rows of many threads together."""

    def __init__(self, store: Callable[[Sequence[Row]], object]) -> None:
        """Store by `store`, which stores all it is given or nothing."""
        self._store = store
        self._waiting: list[_Share] = []
        self._is_busy = False
        self._lock = threading.Lock()

    def add(self, rows: Sequence[Row]) -> None:
        """Store rows; return when they are stored.

        Raises:
            Exception: what `store` raised. A `PermanentError` only those get whose own
                rows it is about.
        """
        share = _Share(rows)
        with self._lock:
            self._waiting.append(share)
            leads, self._is_busy = not self._is_busy, True
        if not leads:
            share.woken.wait()
        if not share.is_stored:  # our turn to store for all who have come
            self._lead()
        if share.error is not None:
            raise share.error

    def _lead(self) -> None:
        with self._lock:
            shares = self._take()
        try:
            self._store_all(shares)
        finally:
            with self._lock:
                followers = self._waiting[:1]
                self._is_busy = bool(followers)
            for share in shares:
                share.is_stored = True
            for share in (*shares, *followers):
                share.woken.set()

    def _take(self) -> list[_Share]:
        """Return the first who wait, until there are enough rows."""
        taken: list[_Share] = []
        count = 0
        while self._waiting and (not taken or count < MOST_ROWS):
            taken.append(self._waiting.pop(0))
            count += len(taken[-1].rows)
        return taken

    def _store_all(self, shares: Sequence[_Share]) -> None:
        try:
            self._store([row for share in shares for row in share.rows])
        except PermanentError as error:
            if len(shares) == 1:
                shares[0].error = error
                return
            for share in shares:  # one of them: the others are stored all the same
                self._store_all([share])
        except Exception as error:
            for share in shares:
                share.error = error
        except BaseException:
            for share in shares:
                share.error = RuntimeError("the worker ends")
            raise
