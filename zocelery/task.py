"""The base of every recipe task: one policy for leases, retries, failures and results.

The order is always the same: is it poison, is it cancelled, has it been done, does a
twin hold its lease; then the task's own function; then what it answered is sent on and
its end recorded; only then is its message acknowledged.
"""

import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

from amqp.exceptions import MessageNacked, RecoverableConnectionError
from celery import shared_task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.exceptions import Retry as CeleryRetry
from celery.utils.time import get_exponential_backoff_interval
from kombu.exceptions import OperationalError as BrokerError
from pydantic import BaseModel
from redis.exceptions import RedisError

from zocelery import dead_letter, registry
from zocelery.alarm import ended_after
from zocelery.canvas import Place, celery_name
from zocelery.catalogue import TaskKind, TaskSpec
from zocelery.context import STATE_SECONDS, RunContext, get_context
from zocelery.deliveries import DeliveredTask
from zocelery.deployment import current_deployment
from zocelery.endings import Endings
from zocelery.errors import (
    PermanentError,
    ServerUnreachableError,
    TemporaryError,
    ZoceleryError,
)
from zocelery.execution import end_gather, end_unit, make_step, start_try
from zocelery.gather import NothingReachedError
from zocelery.logs import log_context
from zocelery.long_row import store_long_task
from zocelery.outbox import Outbox
from zocelery.parking import is_parked, parked
from zocelery.recipe import Retry
from zocelery.registry import TaskFunction
from zocelery.reuse import reuse_answer
from zocelery.unit import Unit
from zocelery.watch_row import store_watch

logger = logging.getLogger(__name__)

PASSING_ERRORS = (
    TemporaryError,
    ServerUnreachableError,
    BrokerError,
    RecoverableConnectionError,
    MessageNacked,
    RedisError,
    ConnectionError,
    TimeoutError,
)
"""Trying again may help; everything else is permanent."""


def recipe_task(
    name: str,
    *,
    queue: str = "control",
    kind: TaskKind = TaskKind.PLAIN,
    once: tuple[str, ...] = (),
    stream: tuple[str, ...] = (),
    default_channel: str = "result",
    parameters: type[BaseModel] | None = None,
    aliases: tuple[str, ...] = (),
    check: Callable[[Mapping[str, Any]], None] | None = None,
    picture: Callable[[Any], str] | None = None,
    stands_for: Callable[[Mapping[str, Any]], str | None] | None = None,
    warm_up: Callable[[], None] | None = None,
    bundle: int = 1,
) -> Callable[[TaskFunction], TaskFunction]:
    """Make a function of a `Step` a task that recipes can name.

    Args:
        name: as recipes name it; a facility's own carry a prefix, `i99.flatness`.
        queue: the queue whose workers run it.
        kind: how it is run.
        once: regular expressions of the channels that speak at most once.
        stream: regular expressions of the channels that speak for each member.
        default_channel: the channel on which the returned value is also sent.
        parameters: model that a node's parameters must fit.
        aliases: Zocalo's queue and service names for it.
        check: looks at a node's parameters before a run starts; raises a UserError.
        picture: draws an answer as text for a terminal.
        stands_for: reads from a node's parameters which other task this one runs.
        warm_up: called once in each worker of the queue before it forks.
        bundle: the most members of a fan-out that one message may bring when many are
            sent at once; more than 1 only for a task of milliseconds.

    Returns:
        A decorator that leaves the function as it is, to be called in tests.
    """

    def _register(function: TaskFunction) -> TaskFunction:
        spec = TaskSpec(
            name=name,
            queue=queue,
            kind=kind,
            once=once,
            stream=stream,
            default_channel=default_channel,
            parameters=parameters,
            check=check,
            picture=picture,
            stands_for=stands_for,
            warm_up=warm_up,
            bundle=bundle,
            summary=(function.__doc__ or "").strip().partition("\n")[0],
            aliases=aliases,
        )
        registry.register(spec, function)
        shared_task(base=RecipeTask, name=celery_name(name), spec=spec)(function)
        return function

    return _register


class RecipeTask(DeliveredTask):
    """A Celery task that runs one node of a recipe."""

    abstract = True
    typing = False
    ignore_result = True
    max_retries = None
    spec: ClassVar[TaskSpec]

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Run a node on a payload; see `perform`."""
        return self.perform(*args, **keywords)

    def perform(
        self,
        payload: Any,
        run: str,
        node: str,
        item: str = "",
        stream: str = "",
        depth: str = "0",
        *,
        endings: Endings | None = None,
    ) -> Any:
        """Run node `node` of run `run` on `payload`; all but it say where.

        With `endings` its end is one of these: then it is done, and may be
        acknowledged, when they have been settled.
        """
        with log_context(run=run, node=node, item=item):
            place = Place(stream, item, int(depth))
            try:
                answer = self._attempt(payload, run, node, place, endings)
            except (Ignore, Reject, CeleryRetry):
                raise
            except PASSING_ERRORS as error:  # not even the failure could be recorded
                self.give_back(error)
            except Exception as error:  # whatever it is, its message is kept
                unit = self._unit(node, place)
                with parked(current_deployment(), run, unit, one_line(error)):
                    dead_letter.park(self, error)
                raise Ignore from error
            # The outbox has paid this part: Celery, which cannot try again, need not.
            self.request.chord = None
            return answer

    def _attempt(
        self,
        payload: Any,
        run: str,
        node: str,
        place: Place,
        endings: Endings | None,
    ) -> Any:
        context = self._context(run, node)
        unit = self._unit(node, place)
        outbox = Outbox(context, unit, endings=endings)
        try:
            return self._run(context, unit, outbox, payload)
        except (Ignore, Reject, CeleryRetry):
            raise
        except SoftTimeLimitExceeded:
            seconds = context.recipe.nodes[node].timeout
            late = PermanentError(f"took longer than {seconds:g} s")
            self._fail(context, unit, outbox, payload, late)
        except PASSING_ERRORS as error:
            self._try_again(context, unit, outbox, payload, error)
        except Exception as error:
            self._fail(context, unit, outbox, payload, error)
        return None

    def _context(self, run: str, node: str) -> RunContext:
        context = get_context(self.app, run)
        if node not in context.recipe.nodes:
            raise PermanentError(f"the run has no node {node!r}")
        return context

    def _unit(self, node: str, place: Place) -> Unit:
        request = self.request
        carries = request.group if request.chord else None
        return Unit(str(request.id), node, place, carries, bool(request.chain))

    def _run(
        self, context: RunContext, unit: Unit, outbox: Outbox, payload: Any
    ) -> Any:
        is_gather = context.plan.is_gather(unit.node)
        comes_again = self.comes_again()
        once = is_gather or comes_again or not unit.place.stream
        if once and context.store.is_finished(context.run, unit.id):
            return self._answer_again(context, unit, outbox)
        # of a run lost just now a gather would answer with what came after the loss
        if context.is_cancelled(0.0 if is_gather else STATE_SECONDS):
            self._stop(context, unit, outbox)
            return None
        if unit.id in context.reused:
            return reuse_answer(context, unit, outbox)
        if self._store_row(context, unit, payload):
            return None
        with self.survived():
            if not is_gather:
                return self._work(context, unit, outbox, payload)
            seconds = context.deployment.settings.workers.gather_lease
            with self.leased(unit.id, seconds):
                if context.store.is_finished(context.run, unit.id):
                    return self._answer_again(context, unit, outbox)
                return self._work(context, unit, outbox, payload)

    def _stop(self, context: RunContext, unit: Unit, outbox: Outbox) -> None:
        """End a unit of which nobody wants to know any more.

        What is parked stays so, if its message comes again: its letter can be
        re-injected, and the run goes on.
        """
        if is_parked(context.store, context.run, unit.id):
            raise Ignore
        if context.plan.is_gather(unit.node):
            context.store.gather_ran(context.run, unit.id)
        outbox.finish("cancelled", {"node": unit.node, "state": "cancelled"})

    def _store_row(self, context: RunContext, unit: Unit, payload: Any) -> bool:
        """Store the row of a task that lives in one; False if this one does not."""
        if self.spec.kind is TaskKind.WATCH:
            store_watch(context.store, context.run, unit, payload)
        elif self.spec.kind is TaskKind.WRAPPER:
            priority = int(context.record["priority"])
            store_long_task(context.store, context.run, unit, payload, priority)
        return self.spec.kind in (TaskKind.WATCH, TaskKind.WRAPPER)

    def _work(
        self, context: RunContext, unit: Unit, outbox: Outbox, payload: Any
    ) -> Any:
        """Run the task's function, send what it answers and record its end."""
        number = self.request.retries + 1
        start_try(context, unit, self.spec, number)
        outbox.open_fans()
        try:
            step = make_step(context, unit, outbox, payload)
        except NothingReachedError:
            context.store.gather_ran(context.run, unit.id)
            end_unit(context, unit, outbox, number, "skipped")
            return None
        with ended_after(self._limit(context)):
            answer = registry.task_function(self.spec)(step)
        if answer is not None:
            outbox.answer(answer)
            if unit.is_chained:
                context.store.save_answer(context.run, unit.id, answer)
        if context.plan.is_gather(unit.node):
            end_gather(context, unit, step)
        end_unit(context, unit, outbox, number, "done", answer)
        if not unit.is_chained:
            return None
        if answer is None:
            raise Ignore
        return answer

    def _limit(self, context: RunContext) -> float:
        """Return the seconds after which nothing but a hung library is to blame."""
        if self.spec.queue != "images":
            return 0.0
        return context.deployment.settings.workers.image_limit

    def _answer_again(self, context: RunContext, unit: Unit, outbox: Outbox) -> Any:
        """Answer a second delivery of what has been done as the first was answered."""
        outbox.pay_own_part()
        answer = context.store.answer(context.run, unit.id)
        if unit.is_chained and answer is None:
            raise Ignore
        return answer

    def _try_again(
        self,
        context: RunContext,
        unit: Unit,
        outbox: Outbox,
        payload: Any,
        error: Exception,
    ) -> None:
        policy = context.recipe.nodes[unit.node].retry or Retry()
        number = self.request.retries + 1
        if number >= policy.attempts:
            self._fail(context, unit, outbox, payload, error)
            return
        pause = retry_pause(policy, self.request.retries)
        logger.warning("Try %d failed, next in %d s: %s", number, pause, error)
        if not unit.place.stream:
            with suppress(TemporaryError, ServerUnreachableError):
                history = context.history
                history.end_try(context.run, unit.id, number, "retry", one_line(error))
        raise self.retry(countdown=pause, max_retries=None) from error

    def _fail(
        self,
        context: RunContext,
        unit: Unit,
        outbox: Outbox,
        payload: Any,
        error: Exception,
    ) -> None:
        """Answer with an error inside a fan-out; park it outside of one."""
        text = one_line(error)
        if not isinstance(error, ZoceleryError):
            logger.error("Node %r failed", unit.node, exc_info=error)
        told = {"node": unit.node, "item": unit.place.item, "error": text}
        handled = outbox.send_error({**told, "payload": payload})
        in_fan = bool(unit.place.stream)
        gathers = context.plan.is_gather(unit.node)
        if gathers:
            context.store.gather_ran(context.run, unit.id)
        if in_fan or handled or gathers:
            outbox.leave_error(text)
            number = self.request.retries + 1
            end_unit(context, unit, outbox, number, "failed", error=text)
        else:
            self._park(context, unit, outbox, error, {**told, "state": "parked"})
        if unit.is_chained:
            raise Ignore from error

    def _park(
        self,
        context: RunContext,
        unit: Unit,
        outbox: Outbox,
        error: Exception,
        event: Mapping[str, Any],
    ) -> None:
        history, text = context.history, one_line(error)
        number = self.request.retries + 1
        history.end_try(context.run, unit.id, number, "parked", text)
        history.end_unit(context.run, unit.id, unit.node, "parked", None, text)
        # Only now: if the history is away, it is tried again, and nothing is parked.
        dead_letter.park(self, error)
        still_open = context.store.park_unit(context.run, unit.id, unit.node, event)
        outbox.end_run_if_idle(still_open)
        raise Ignore from error


def retry_pause(policy: Retry, retries: int) -> int:
    """Return the whole seconds before the next try, never less than one.

    Pauses double from `policy.pause` to `policy.longest_pause`, with full jitter over
    their upper half. RabbitMQ's quorum queues refuse pauses between 0 and 1 s.
    """
    longest = get_exponential_backoff_interval(
        max(1, round(policy.pause)), retries, round(policy.longest_pause), False
    )
    return max(1, round(random.uniform(longest / 2, longest)))


def one_line(error: BaseException) -> str:
    """Return the error as one line for people, its type only where that says more."""
    text = " ".join(str(error).split())
    if isinstance(error, ZoceleryError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
