"""What a worker knows of a run: read once, kept for the next message."""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celery import Celery

from zocelery.canvas import Canvas
from zocelery.catalogue import Catalogue
from zocelery.deployment import Deployment, current_deployment
from zocelery.errors import PermanentError
from zocelery.plan import Plan
from zocelery.recipe import Recipe
from zocelery.registry import current_catalogue
from zocelery.store import RunStore
from zocelery.versions import refuse_newer

if TYPE_CHECKING:
    from zocelery.history import History

KEPT_RUNS = 64
"""Runs whose compiled recipes a process keeps."""
STATE_SECONDS = 1.0
"""A process asks at most this often whether a run has been cancelled."""


class RunContext:
    """One run as its workers see it: recipe, plan, canvas and stores."""

    def __init__(
        self,
        app: Celery,
        deployment: Deployment,
        catalogue: Catalogue,
        run: str,
        record: Mapping[str, Any],
    ) -> None:
        """Compile the recipe in `record`, as `submission` stored it."""
        self.app = app
        self.run = run
        self.record = record
        self.deployment = deployment
        recipe = Recipe.restore(record["recipe"])
        self.plan = Plan(recipe, catalogue)
        rerun = record.get("rerun") or {}
        self.reused: Mapping[str, str] = rerun.get("units") or {}
        """Units answered from the history: their ids, and those in the run before."""
        self._again = frozenset(rerun["again"]) if rerun else None
        priority = int(record["priority"])
        self.canvas = Canvas(app, run, self.plan, self.store, priority, self.reused)
        self._stopped = (False, 0.0)

    @property
    def store(self) -> RunStore:
        """The live state of runs."""
        return self.deployment.store

    @property
    def history(self) -> "History":
        """The history of runs."""
        return self.deployment.history

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe with its parameters filled in, `foreach` expanded."""
        return self.plan.recipe

    def runs(self, node: str) -> bool:
        """Whether the node does its work in this run: in a re-run not all do."""
        return self._again is None or node in self._again

    def is_cancelled(self, max_age: float = STATE_SECONDS) -> bool:
        """Whether the run is cancelled or lost, as of at most `max_age` s ago."""
        stopped, asked = self._stopped
        now = time.monotonic()
        if now - asked > max_age:
            stopped = self.store.is_stopped(self.run)
            self._stopped = (stopped, now)
        return stopped


class ContextCache:
    """The contexts of the runs that a process has lately worked for."""

    def __init__(self) -> None:
        """Start empty."""
        self._kept: OrderedDict[str, RunContext] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, app: Celery, deployment: Deployment, catalogue: Catalogue, run: str
    ) -> RunContext:
        """Return the context of a run.

        Raises:
            PermanentError: the run's recipe is not there, or not any more.
            NewerVersionError: a newer zocelery has submitted it.
        """
        with self._lock:
            if run in self._kept and self._kept[run].deployment is deployment:
                self._kept.move_to_end(run)
                return self._kept[run]
        record = deployment.store.recipe_record(run)
        if record is None:
            raise PermanentError(f"run {run}: its recipe is not in Redis (any more)")
        refuse_newer(f"run {run}", record["version"])
        context = RunContext(app, deployment, catalogue, run, record)
        with self._lock:
            self._kept[run] = context
            while len(self._kept) > KEPT_RUNS:
                self._kept.popitem(last=False)
        return context


_contexts = ContextCache()


def get_context(app: Celery, run: str) -> RunContext:
    """Return what this process knows of a run.

    Raises:
        PermanentError: the run's recipe is not there, or not any more.
    """
    return _contexts.get(app, current_deployment(), current_catalogue(), run)
