"""Deliveries: what becomes of a message that comes again, or that cannot be answered.

A broker delivers a message again when its worker died, was stopped, or lost its
connection. The runs that such a message costs are counted: one that kills every worker
that touches it is given up after a few, whatever the pool. Its last run it has alone,
so that what was merely beside it when a worker died is not blamed for it.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from celery import Task
from celery.exceptions import Ignore, Reject, Retry
from redis.exceptions import RedisError

from zocelery.deployment import current_deployment
from zocelery.errors import PermanentError

logger = logging.getLogger(__name__)
COME_BACK_SECONDS = 10
SUSPECT = "zocelery_suspect"
"""A header: the message comes again, and if true it may kill its worker once more."""
SUSPECT_LEASE = "suspect"
"""Held by the only message that may kill its worker once more."""


def forgive_running() -> None:
    """Blame none of the tasks that run in this worker for its end.

    In a thread: a signal may have come in the middle of anything.
    """
    # Clients need nothing of this.
    from celery.worker import state

    running = [request.id for request in list(state.active_requests)]

    def _forgive_all() -> None:
        leases = current_deployment().store.leases
        with suppress(RedisError):
            for task in running:
                leases.forgive_delivery(task)

    thread = threading.Thread(target=_forgive_all, name="forgive", daemon=True)
    thread.start()
    thread.join(timeout=2.0)


class DeliveredTask(Task[Any, Any]):
    """A task whose messages are acknowledged late, and may therefore come again."""

    abstract = True

    def is_redelivered(self) -> bool:
        """Whether the broker has delivered the running task's message before."""
        return bool((self.request.delivery_info or {}).get("redelivered"))

    def comes_again(self) -> bool:
        """Whether the running task may have run before, in this message or another."""
        request = self.request
        sent_again = request.get(SUSPECT) is not None
        return sent_again or self.is_redelivered() or request.retries > 0

    @contextmanager
    def survived(self) -> Iterator[None]:
        """Count a run of a message that was delivered before.

        Raises:
            PermanentError: every run so far has killed its worker.
        """
        workers, request = current_deployment().settings.workers, self.request
        limit, count = workers.delivery_limit, 0
        if self.is_redelivered() or request.get(SUSPECT):
            leases = current_deployment().store.leases
            count = leases.count_delivery(str(request.id))
        if count >= limit:
            raise PermanentError(f"its worker died {limit} times while running it")
        request.update({SUSPECT: 0 < count == limit - 1})
        if request.get(SUSPECT):
            with self.leased(SUSPECT_LEASE, workers.gather_lease):
                yield
        else:
            yield

    @contextmanager
    def leased(self, name: str, seconds: float) -> Iterator[None]:
        """Hold a lease, or come back later if somebody else holds it."""
        with current_deployment().store.leases.hold(name, seconds) as held:
            if not held:
                logger.warning("Somebody holds %s; coming back later", name)
                self.come_back_later(seconds / 3)
            yield

    def come_back_later(self, seconds: float) -> NoReturn:
        """Publish the running task's message again, as it is, for some time later."""
        if self.is_redelivered() or self.request.get(SUSPECT):
            self._forgive()  # it has not run
        self.signature_from_request(
            self.request,
            countdown=max(1, round(seconds)),
            retries=self.request.retries,  # it has not been tried: it waits
            headers={SUSPECT: True} if self.request.get(SUSPECT) else {},
        ).apply_async()
        raise Ignore

    def give_back(self, error: Exception) -> NoReturn:
        """Try again in a while."""
        logger.warning("Coming back later: %s", error)
        raise self.retry(countdown=COME_BACK_SECONDS, max_retries=None) from None

    def retry(self, *args: Any, **options: Any) -> Retry:
        """Publish the message for another try, or give it back to the broker.

        Celery itself rejects a message for good whose next try it cannot publish.
        """
        try:
            return super().retry(*args, **options)
        except Reject as error:
            logger.warning("The next try could not be published: %s", error.args[0])
            with suppress(RedisError):
                self._forgive()  # it has not killed anything
            time.sleep(1.0)  # it comes back at once
            raise Reject(error.args[0], requeue=True) from error

    def _forgive(self) -> None:
        leases = current_deployment().store.leases
        leases.forgive_delivery(str(self.request.id))

    def on_failure(self, exc: Exception, *_: Any, **__: Any) -> None:
        """Give back a message that Celery could not bring to its end.

        A task ends well, or its failure is recorded and its message kept: what comes
        here has gone wrong around it, for instance when the next of a chain could not
        be published.
        """
        time.sleep(1.0)  # it comes back at once
        raise Reject(exc, requeue=True)
