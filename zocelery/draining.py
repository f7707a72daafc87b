"""Draining: whether anything that was taken from a paused queue is still under way."""

from collections.abc import Iterable, Mapping
from typing import Any

from celery import Celery

from zocelery import long_row, watch_row
from zocelery.deployment import Deployment
from zocelery.leases import PREFIX
from zocelery.pauses import Pauses, WorkerReport
from zocelery.queues import queue_of

ANSWER_SECONDS = 1.0
"""So long a worker may take to say what it does."""
_ROWS = {"watch": (watch_row.ROWS, "watch"), "wrappers": (long_row.ROWS, "long")}


class Draining:
    """Looks again and again at what workers do for one paused queue."""

    def __init__(
        self, app: Celery, deployment: Deployment, queue: str, beamline: str = ""
    ) -> None:
        """Look at the workers of `queue`, all or those of `beamline`."""
        self._app = app
        self._client = deployment.store.client
        self._queue, self._beamline = queue, beamline

    def busy(self) -> str:
        """Return for people what is not idle yet; "" if all is."""
        pauses = Pauses(self._client)
        workers = pauses.workers(self._queue, self._beamline)
        deaf = [w.name for w in workers if self._queue not in w.paused]
        if deaf:
            return f"{', '.join(deaf)} have not heard of it"
        running = self._running(workers)
        if running:
            return f"{running} tasks"
        held = self._held(workers)
        return f"{held} tasks that are kept in rows" if held else ""

    def _running(self, workers: Iterable[WorkerReport]) -> int:
        names = [worker.name for worker in workers]
        if not names:
            return 0
        inspect = self._app.control.inspect(names, timeout=ANSWER_SECONDS)
        return sum(
            self._is_ours(request)
            for answer in (inspect.active(), inspect.reserved())
            for requests in (answer or {}).values()
            for request in requests
        )

    def _is_ours(self, request: Mapping[str, Any]) -> bool:
        return queue_of(request.get("delivery_info")) == self._queue

    def _held(self, workers: Iterable[WorkerReport]) -> int:
        """Count rows whose lease a worker holds that runs on one of these hosts."""
        if self._queue not in _ROWS:
            return 0
        rows, name = _ROWS[self._queue]
        units = self._client.hkeys(rows)
        keys = [f"{PREFIX}lease:{name}:{unit}" for unit in units]
        owners = self._client.mget(keys) if keys else []
        hosts = {worker.host for worker in workers}
        return sum(bool(o) and o.rpartition(":")[0] in hosts for o in owners)
