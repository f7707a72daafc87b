"""Bundles: what a worker does with a message that brings several members of a fan-out.

They are run one after the other, each as if its own message had come; but what Redis
answers to their ends is waited for once. The bundle's message is acknowledged when all
have ended; one that comes again, because its worker died, is taken apart: from then on
each member has a message of its own.
"""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore, Reject
from celery.exceptions import Retry as CeleryRetry

from zocelery import dead_letter
from zocelery.canvas import BUNDLE_TASK, BundleMember, Place, celery_name
from zocelery.confirms import confirmed_together
from zocelery.context import RunContext, get_context
from zocelery.deliveries import SUSPECT, DeliveredTask
from zocelery.deployment import current_deployment
from zocelery.endings import Endings
from zocelery.errors import PermanentError
from zocelery.logs import log_context
from zocelery.parking import parked
from zocelery.task import PASSING_ERRORS, RecipeTask, one_line
from zocelery.unit import Unit

logger = logging.getLogger(__name__)
LONGEST_SECONDS = 0.25
"""Members that have not begun by then get messages of their own: other slots may have
time for them, and what is more urgent waits no longer."""


@shared_task(
    bind=True,
    base=DeliveredTask,
    name=BUNDLE_TASK,
    ignore_result=True,
    max_retries=None,
)
def bundle(
    self: DeliveredTask,
    run: str,
    node: str,
    stream: str,
    depth: str,
    members: Sequence[BundleMember],
) -> None:
    """Run a node on several members of a stream."""
    with log_context(run=run, node=node):
        try:
            context = get_context(self.app, run)
            found = _Bundle(self, context, node, stream, int(depth), members)
            found.run()
        except (Ignore, Reject, CeleryRetry):
            raise
        except PASSING_ERRORS as error:
            self.give_back(error)
        except Exception as error:  # whatever it is, its message is kept
            with ExitStack() as stack:
                for unit in _units(node, stream, depth, members):
                    told = parked(current_deployment(), run, unit, one_line(error))
                    stack.enter_context(told)
                dead_letter.park(self, error)
            raise Ignore from error


def _units(node: str, stream: str, depth: str, members: Any) -> list[Unit]:
    """Return the units of a bundle's members, as far as they are any."""
    if not isinstance(members, list) or not str(depth).isdecimal():
        return []
    whole = (m for m in members if isinstance(m, list) and len(m) == 3)
    return [
        Unit(unit, node, Place(stream, item, int(depth))) for unit, item, _ in whole
    ]


@dataclass(frozen=True)
class _Bundle:
    """A message with several members, and the task that received it."""

    task: DeliveredTask
    context: RunContext
    node: str
    stream: str
    depth: int
    members: Sequence[BundleMember]

    def run(self) -> None:
        """Run the members, or give each a message of its own."""
        if self.task.is_redelivered() or self.task.request.retries:
            self._take_apart()
            return
        recipe_task = self._recipe_task()
        late, waiting = time.monotonic() + LONGEST_SECONDS, iter(self.members)
        endings = self.context.store.endings(self.context.run)
        try:
            for unit, item, payload in waiting:
                self._run_member(recipe_task, endings, unit, item, payload)
                if time.monotonic() > late:
                    break
        finally:
            endings.settle()
        if rest := list(waiting):
            self._send_alone(rest, {})

    def _recipe_task(self) -> RecipeTask:
        known = self.node in self.context.recipe.nodes
        spec = self.context.plan.spec(self.node) if known else None
        if spec is None:
            raise PermanentError(f"the run has no node {self.node!r} with a task")
        found = self.task.app.tasks[celery_name(spec.name)]
        if not isinstance(found, RecipeTask):
            raise PermanentError(f"{found.name} is no recipe's task")
        return found

    def _run_member(
        self,
        recipe_task: RecipeTask,
        endings: Endings,
        unit: str,
        item: str,
        payload: Any,
    ) -> None:
        """Run one member as its own message would be, but for waiting for its end."""
        context, own = self.context, self.task.request
        place = Place(self.stream, item, self.depth)
        args = context.canvas.arguments(self.node, payload, place)
        part = context.canvas.part_options(self.node, place)
        recipe_task.push_request(
            id=unit,
            args=args,
            kwargs={},
            group=part.get("group_id"),
            group_index=part.get("group_index"),
            chord=part.get("chord"),
            called_directly=False,
            correlation_id=unit,
            delivery_info=own.delivery_info,
            headers={},
            hostname=own.hostname,
            ignore_result=True,
            root_id=own.root_id,
        )
        try:
            recipe_task.perform(*args, endings=endings)
        except (Ignore, CeleryRetry):
            pass  # it has a message of its own now, or needs none
        except Reject as error:  # which it could not be given: all come again
            raise Reject(str(error), requeue=True) from error
        finally:
            recipe_task.pop_request()

    def _take_apart(self) -> None:
        """Give each member a message of its own: the next death tells who is to blame.

        Those that have ended are answered again by it.
        """
        limit = self.context.deployment.settings.workers.delivery_limit
        deaths = self.context.store.leases.count_delivery(str(self.task.request.id))
        self._send_alone(self.members, {SUSPECT: limit > 1 and deaths > 0})

    def _send_alone(
        self, members: Iterable[BundleMember], headers: Mapping[str, Any]
    ) -> None:
        canvas = self.context.canvas
        acquired = self.task.app.producer_pool.acquire(block=True)
        with acquired as producer, confirmed_together(producer):
            for unit, item, payload in members:
                place = Place(self.stream, item, self.depth)
                signature = canvas.node(self.node, unit, payload, place)
                signature.apply_async(producer=producer, headers=dict(headers))
