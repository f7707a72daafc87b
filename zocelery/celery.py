"""The Celery app: `celery -A zocelery worker -Q images`.

Every setting that promises something has a test that fails without it.
"""

import gc
import logging
import threading
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from amqp.exceptions import NotFound
from celery import Celery, bootsteps, signals
from kombu import Connection, Queue

from zocelery import pulse, queues, readiness
from zocelery.attendance import Attendance
from zocelery.deliveries import forgive_running
from zocelery.deployment import Deployment, current_deployment
from zocelery.foreman import Foreman
from zocelery.janitor import Janitor
from zocelery.logs import set_up_logging
from zocelery.patience import ALARM_SECONDS, Patience, give_up, go_on
from zocelery.registry import ENTRY_POINTS, load_tasks
from zocelery.settings import Settings, current_settings
from zocelery.versions import MESSAGE_VERSION, VERSION_HEADER
from zocelery.watch import Keeper

logger = logging.getLogger(__name__)


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Return Celery's configuration for one environment.

    What is not here is as Celery has it: JSON only, a closed channel ends the worker,
    running tasks go on when the connection is lost.
    """
    return {
        "broker_url": settings.broker.url,
        "result_backend": settings.redis.url,
        "broker_transport_options": _transport_options(settings),
        # a broker that is restarted is waited for, for about a minute
        "task_publish_retry_policy": {
            "max_retries": 30,
            "interval_start": 0.2,
            "interval_step": 0.3,
            "interval_max": 2.0,
            "errback": give_up,
        },
        "broker_connection_max_retries": None,
        "broker_heartbeat": 60,
        # acknowledged when done; given back when the worker dies
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # what fails without having been parked is dead-lettered by the broker
        "task_acks_on_failure": False,
        # what is no task becomes a dead letter: Celery's own would throw it away
        "worker_consumer": "zocelery.dead_letter_gate:Gate",
        "worker_prefetch_multiplier": 1,
        # After a reconnection Celery would ask for fewer messages, and for more again
        # from a thread of the pool, while the main thread reads from the same socket:
        # with `threads` the worker then stands still until the heartbeat is missed.
        "worker_enable_prefetch_count_reduction": False,
        "worker_soft_shutdown_timeout": 30.0,
        # topic exchanges: delayed delivery on quorum queues needs them
        "task_queues": queues.work_queues(settings.broker),
        "task_default_queue": "control",
        "task_default_exchange": queues.EXCHANGE,
        "task_default_exchange_type": "topic",
        "task_default_routing_key": "control",
        "task_create_missing_queues": False,
        "task_ignore_result": True,
        "task_send_sent_event": settings.workers.events,
        "worker_send_task_events": settings.workers.events,
        "result_expires": settings.redis.expires,
        "result_chord_expires": settings.redis.gather_expires,
        "result_backend_always_retry": True,
        "result_backend_max_retries": 20,
        # one that hangs is asked again, as one that is away
        "redis_socket_timeout": settings.redis.timeout,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def _transport_options(settings: Settings) -> dict[str, Any]:
    if settings.broker.is_redis:
        # What a dead worker had is given back by `embedded`, and what takes longer than
        # the usual hour is not done twice.
        return {"visibility_timeout": settings.redis.gather_expires}
    return {
        **Patience(settings.broker.timeout).options(),
        "confirm_publish": True,
        "connect_retries_timeout": 60,
        "max_retries": 100,
        "interval_start": 0.2,
        "interval_step": 0.3,
        "interval_max": 2,
    }


def make_app(settings: Settings) -> Celery:
    """Return the Celery app of one environment, with the engine's own tasks."""
    made = Celery(
        "zocelery",
        include=[
            "zocelery.bundle",
            "zocelery.control",
            "zocelery.serving",
            *(entry.module for entry in entry_points(group=ENTRY_POINTS)),
        ],
    )
    made.conf.update(celery_settings(settings))
    made.steps["worker"].update(
        {
            TopologyStep,
            ForemanStep,
            KeeperStep,
            JanitorStep,
            AttendanceStep,
            pulse.PulseStep,
        }
    )
    return made


def apply_topology(connection: Connection, settings: Settings) -> list[str]:
    """Declare all exchanges and queues; return the names of the queues."""
    with connection.channel() as channel:
        queues.results_exchange()(channel).declare()
        declared = [
            *queues.dead_letter_queues(settings.broker),
            *queues.work_queues(settings.broker),
        ]
        for queue in declared:
            bound = queue(channel)
            bound.exchange.declare()
            bound.queue_declare()
            bound.queue_bind()
    clients = [*queues.client_queues(settings), *queues.results_queues(settings)]
    for queue in clients:
        _declare_if_absent(connection, queue)
    return [queue.name for queue in (*declared, *clients)]


def _declare_if_absent(connection: Connection, queue: Queue) -> None:
    """Declare a queue that may be somebody else's, then bind it if it is bound."""
    try:
        with connection.channel() as channel:
            queue(channel).queue_declare(passive=True)
    except NotFound:
        with connection.channel() as channel:
            queue(channel).queue_declare()
    if queue.exchange.name:
        with connection.channel() as channel:
            queue(channel).queue_bind()


class TopologyStep(bootsteps.StartStopStep):
    """Declares the places for dead letters before the first message is taken."""

    def start(self, worker: Any) -> None:
        """Declare queues and exchanges, unless the configuration forbids it."""
        settings = current_settings()
        if settings.broker.declare:
            with worker.app.connection_for_write() as connection:
                connection.ensure_connection(_end_if_told_to, None, 0, 0.2, 1.0)
                apply_topology(connection, settings)


def _end_if_told_to(error: Exception, pause: float) -> None:
    """End a worker that was told to end while it waits for the broker."""
    # Clients need nothing of this.
    from celery.worker import state

    state.maybe_shutdown()


class _ThreadStep(bootsteps.StartStopStep):
    """Runs something in a thread of the workers that consume a certain queue."""

    requires = ("celery.worker.components:Pool", TopologyStep)
    queue: str
    runner: Callable[[Celery, Deployment, int], "Foreman | Janitor | Keeper"]
    """Is also told how many slots the worker has."""

    def __init__(self, worker: Any, **options: Any) -> None:
        self.running: Foreman | Janitor | Keeper | None = None
        super().__init__(worker, **options)

    def start(self, worker: Any) -> None:
        """Start the thread if this worker consumes the queue."""
        if self.queue in worker.app.amqp.queues.consume_from:
            slots = max(1, int(worker.concurrency or 1))
            runner = type(self).runner
            self.running = runner(worker.app, current_deployment(), slots)
            name = type(self.running).__name__
            threading.Thread(target=self.running.run, name=name, daemon=True).start()

    def stop(self, worker: Any) -> None:
        """Stop the thread; others take over its work."""
        if self.running is not None:
            self.running.stop()

    def terminate(self, worker: Any) -> None:
        """Stop the thread, as in a warm shutdown."""
        self.stop(worker)


class KeeperStep(_ThreadStep):
    """Keeps watches in workers of the queue `watch`."""

    queue = "watch"

    @staticmethod
    def runner(app: Celery, deployment: Deployment, slots: int) -> Keeper:
        """Return a keeper; watches are threads, not slots."""
        del slots
        return Keeper(app, deployment)


class JanitorStep(_ThreadStep):
    """Goes the janitor's rounds in workers of the queue `control`."""

    queue = "control"

    @staticmethod
    def runner(app: Celery, deployment: Deployment, slots: int) -> Janitor:
        """Return a janitor."""
        del slots
        return Janitor(app, deployment)


class ForemanStep(_ThreadStep):
    """Runs long tasks in workers of the queue `wrappers`, one in each of its slots."""

    queue = "wrappers"
    runner = Foreman


class AttendanceStep(bootsteps.StartStopStep):
    """Says that the worker is there, and leaves paused queues alone.

    It comes after those that look at which queues the worker was started for.
    """

    requires = (TopologyStep, ForemanStep, KeeperStep, JanitorStep)

    def __init__(self, worker: Any, **options: Any) -> None:
        self._attendance: Attendance | None = None
        super().__init__(worker, **options)

    def start(self, worker: Any) -> None:
        """Obey what is paused now, then begin to report."""
        self._attendance = Attendance(worker, current_deployment())
        self._attendance.obey_before_start()
        thread = threading.Thread(
            target=self._attendance.run, name="Attendance", daemon=True
        )
        thread.start()

    def stop(self, worker: Any) -> None:
        """Sign off."""
        if self._attendance is not None:
            self._attendance.stop()

    def terminate(self, worker: Any) -> None:
        """Sign off, as in a warm shutdown."""
        self.stop(worker)


@signals.setup_logging.connect
def _set_up_logging(loglevel: int | str = "INFO", **_: Any) -> None:
    level = logging.getLevelName(loglevel) if isinstance(loglevel, int) else loglevel
    set_up_logging(level or "INFO")


@signals.celeryd_after_setup.connect
def _be_patient(instance: Any, **_: Any) -> None:
    """Let workers wait longer for a broker that hangs than those who submit."""
    settings, conf = current_settings().broker, instance.app.conf
    conf.task_publish_retry_policy["errback"] = go_on
    if not settings.is_redis:
        patience = Patience(settings.timeout, alarm_seconds=ALARM_SECONDS)
        conf.broker_transport_options.update(patience.options())


@signals.celeryd_after_setup.connect
def _warm_up(instance: Any, **_: Any) -> None:
    """Compile and load what the tasks of this worker need, before it forks."""
    consumed = instance.app.amqp.queues.consume_from
    for spec in load_tasks().values():
        if spec.warm_up is not None and spec.queue in consumed:
            spec.warm_up()
    # What is there by now stays: no collection has to look through it, nor, in a forked
    # child, to make a copy of it by that.
    gc.collect()
    gc.freeze()


@signals.before_task_publish.connect
def _say_version(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers.setdefault(VERSION_HEADER, MESSAGE_VERSION)


@signals.worker_process_init.connect
def _open_servers(**_: Any) -> None:
    """Connect each process of a pool before it takes its first task."""
    readiness.open_servers(app)


@signals.worker_ready.connect
def _say_ready(sender: Any, **_: Any) -> None:
    readiness.say_ready(sender)


@signals.worker_shutting_down.connect
def _forgive(**_: Any) -> None:
    """Do not blame the tasks that run now if they do not live to see their end."""
    forgive_running()


@signals.worker_shutdown.connect
def _say_gone(**_: Any) -> None:
    pulse.say_gone()


app = make_app(current_settings())
"""The app that `celery -A zocelery` finds."""
