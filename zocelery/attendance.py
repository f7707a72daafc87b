"""Attendance: each worker says every second that it is there, and obeys pauses."""

import logging
import threading
from typing import Any

from redis.exceptions import RedisError

from zocelery import identity
from zocelery.deployment import Deployment
from zocelery.pauses import Pauses, WorkerReport

logger = logging.getLogger(__name__)
REPORT_SECONDS = 1.0


class Attendance:
    """Reports for one worker and lets it leave paused queues alone."""

    def __init__(self, worker: Any, deployment: Deployment) -> None:
        """Attend to `worker`, a Celery WorkController that does not consume yet."""
        self._worker = worker
        self._pauses = Pauses(deployment.store.client)
        self._beamline = deployment.settings.workers.beamline
        self._queues = tuple(worker.app.amqp.queues.consume_from)
        self._left: set[str] = set()
        """Queues that are left alone because they are paused: what somebody cancels by
        Celery's remote control stays cancelled."""
        self._ended = threading.Event()

    def run(self) -> None:
        """Report and obey until `stop` is called."""
        while not self._ended.wait(REPORT_SECONDS):
            try:
                self._obey()
                self._report()
            except RedisError as error:
                logger.warning("Whether queues are paused is not known: %s", error)
            except Exception:
                logger.exception("The worker could not report")

    def obey_before_start(self) -> None:
        """Leave paused queues alone from the first message on."""
        try:
            self._pauses.forget_gone()
            paused = self._pauses.paused(self._beamline) & set(self._queues)
            for queue in paused:
                logger.warning("The queue %s is paused", queue)
                self._worker.app.amqp.queues.deselect(queue)
                self._left.add(queue)
            self._report()
        except RedisError as error:  # the worker starts, and waits for it as it works
            logger.warning("Whether queues are paused is not known: %s", error)

    def stop(self) -> None:
        """Say that the worker takes nothing more."""
        self._ended.set()
        try:
            self._pauses.forget(self._worker.hostname)
        except RedisError as error:
            logger.info("The worker could not sign off: %s", error)

    def _obey(self) -> None:
        paused = self._pauses.paused(self._beamline)
        consumer, consumed = self._worker.consumer, self._consumed()
        for queue in self._queues:
            # The connection belongs to the consumer's own thread.
            if queue in paused and queue in consumed:
                logger.warning("The queue %s is paused", queue)
                self._left.add(queue)
                consumer.call_soon(consumer.cancel_task_queue, queue)
            elif queue in self._left and queue not in paused:
                logger.warning("The queue %s goes on", queue)
                self._left.discard(queue)
                consumer.call_soon(consumer.add_task_queue, queue)

    def _report(self) -> None:
        consumed = self._consumed()
        self._pauses.report(
            WorkerReport(
                name=self._worker.hostname,
                host=identity.host_name(),
                beamline=self._beamline,
                slots=max(1, int(self._worker.concurrency or 1)),
                queues=self._queues,
                paused=tuple(q for q in self._queues if q not in consumed),
                time=self._pauses.now(),
                bundles=True,
            )
        )

    def _consumed(self) -> set[str]:
        return set(self._worker.app.amqp.queues.consume_from)
