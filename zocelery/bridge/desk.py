"""The desk: deals with one message of a client, up to its acknowledgement."""

import logging
import time
from typing import Any

from celery import Celery

from zocelery import dead_letter, identity
from zocelery.bridge.delivery import Delivery
from zocelery.bridge.hooks import apply_filters, waits_for
from zocelery.bridge.request import Request, digest, read_request
from zocelery.bridge.services import forward
from zocelery.bridge.start import alone, start_all, wanted_runs
from zocelery.bridge.waiting import WaitingRoom, WaitingRow
from zocelery.deployment import Deployment
from zocelery.errors import ParameterError, TemporaryError
from zocelery.leases import PREFIX
from zocelery.logs import log_context
from zocelery.task import PASSING_ERRORS

logger = logging.getLogger(__name__)
SAME = PREFIX + "bridge:same:"
"""Keys with the run ids of messages that have no guid, by the message's digest."""
SAME_SECONDS = 3600
"""A bridge that dies before it has acknowledged a message comes back by then."""


class NotReadyError(ParameterError):
    """What a request waits for has not come in time."""


class Desk:
    """Deals with messages; several may be dealt with at the same time."""

    def __init__(self, app: Celery, deployment: Deployment) -> None:
        """Start runs on `deployment`."""
        self._app = app
        self._deployment = deployment
        self._settings = deployment.settings
        client = deployment.store.client
        self.room = WaitingRoom(client, self._settings.bridge.ready_interval)

    def deal_with(self, delivery: Delivery) -> str | None:
        """Start what a message asks for, let it wait, or make it a dead letter.

        It may be acknowledged afterwards, and its key then be given to `forget`.

        Returns:
            The key by which an equal message is known, if it has no guid.

        Raises:
            Exception: one of `PASSING_ERRORS`: a server is away, nothing was lost.
        """
        try:
            if delivery.queue != self._settings.bridge.queue:
                forward(self._app, self._settings, delivery)
                return None
            largest = self._settings.workers.largest_message
            request = read_request(delivery, largest)
            run, key = self._run_of(delivery, request)
        except PASSING_ERRORS:
            raise
        except Exception as error:
            self._refuse(delivery, error)
            return None
        with alone(self._deployment, f"request:{run}"), log_context(run=run):
            self._answer_or_refuse(delivery, request, run, None)
        return key

    def look_at_waiting(self) -> bool:
        """Look at one request that waits and is due; False if there is none."""
        row = self.room.take()
        if row is None:
            return False
        try:
            mine = alone(self._deployment, f"request:{row.run}", patience=0.0)
            with mine, log_context(run=row.run):
                largest = self._settings.workers.largest_message
                request = read_request(row.message, largest)
                if self._answer_or_refuse(row.message, request, row.run, row):
                    self.room.remove(row.run)
        except PASSING_ERRORS as error:
            logger.warning("The request for run %s waits on: %s", row.run, error)
        return True

    def forget(self, key: str | None) -> None:
        """Take an equal message for a new one before long: this one is done."""
        if key is not None:
            seconds = round(1000 * self._settings.bridge.same_message)
            self._deployment.store.client.pexpire(key, max(1, seconds))

    def _run_of(self, delivery: Delivery, request: Request) -> tuple[str, str | None]:
        """Return the id for a request's run: the same when its message comes again."""
        if request.guid is not None:
            return identity.check_run_id(request.guid), None
        key = SAME + digest(delivery)
        client = self._deployment.store.client
        while True:
            client.set(key, identity.new_run_id(), nx=True, ex=SAME_SECONDS)
            found = client.get(key)
            if found is not None:
                return str(found), key

    def _answer_or_refuse(
        self, delivery: Delivery, request: Request, run: str, row: WaitingRow | None
    ) -> bool:
        """Return whether the request is dealt with; False if it waits."""
        try:
            return self._answer(delivery, request, run, row)
        except PASSING_ERRORS:
            raise
        except NotReadyError as error:
            if request.error_queue in self._settings.queues.foreign:
                self._send_to(str(request.error_queue), delivery, error)
            else:
                self._refuse(delivery, error)
        except Exception as error:
            self._refuse(delivery, error)
        return True

    def _answer(
        self, delivery: Delivery, request: Request, run: str, row: WaitingRow | None
    ) -> bool:
        who = {"requested_by": dict(request.asker)} if request.asker else {}
        parameters = {**who, **request.parameters, "guid": run}
        hook = waits_for(request.message, parameters)
        if hook is not None:
            self._check_patience(request, row.since if row else time.time(), hook)
            if row is None:
                self.room.put(run, delivery, hook)
            return False
        message, parameters = apply_filters(request.message, parameters)
        wanted = wanted_runs(self._deployment, run, message, parameters, request.guid)
        start_all(self._app, self._deployment, wanted)
        return True

    def _check_patience(self, request: Request, since: float, hook: str) -> None:
        limit = request.timeout
        limit = self._settings.lims.ready_timeout if limit is None else limit
        if time.time() - since >= limit:
            raise NotReadyError(f"it is not ready after {limit:g} s: {hook} says so")

    def _refuse(self, delivery: Delivery, error: Exception) -> None:
        """Make a message a dead letter; until it is one, it is not lost."""
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        logger.error("Refused a message of %s: %s", delivery.queue, reason)
        try:
            dead_letter.refuse(self._app, delivery, delivery.queue, reason)
        except PASSING_ERRORS:
            raise
        except Exception as failed:
            raise TemporaryError(f"cannot be made a dead letter: {failed}") from failed

    def _send_to(self, queue: str, delivery: Delivery, error: Exception) -> None:
        """Publish a message to the queue that its sender wants for what fails."""
        headers: dict[str, Any] = {
            **delivery.client_headers,
            f"{dead_letter.REASON_PREFIX}error": str(error),
        }
        properties = {**delivery.properties, "delivery_mode": 2}
        with self._app.producer_pool.acquire(block=True) as producer:
            dead_letter.publish_exactly(
                producer, delivery.body, headers, properties, "", queue
            )
