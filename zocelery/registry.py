"""The tasks of this process: found by entry points, never imported by name."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from zocelery.catalogue import Catalogue, TaskSpec
from zocelery.deployment import current_deployment
from zocelery.errors import PermanentError
from zocelery.installed import entry_points
from zocelery.queues import refuse_own_queues
from zocelery.settings import QueueSettings

ENTRY_POINTS = "zocelery.tasks"
"""The entry-point group; each names a module that defines tasks."""
TaskFunction = Callable[..., Any]

_specs: dict[str, TaskSpec] = {}
_functions: dict[str, TaskFunction] = {}


def register(spec: TaskSpec, function: TaskFunction) -> None:
    """Make a task known under its name; the last one of a name wins."""
    _specs[spec.name] = spec
    _functions[spec.name] = function


def load_tasks() -> Mapping[str, TaskSpec]:
    """Import every module under the entry point `zocelery.tasks`; return the specs."""
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()
    return dict(_specs)


def load_catalogue(queues: QueueSettings) -> Catalogue:
    """Return all tasks that are installed, with the queues of the configuration.

    Raises:
        ConfigurationError: a queue that others are to serve is zocelery's own.
    """
    refuse_own_queues("queues.foreign", queues.foreign)
    return Catalogue(load_tasks(), queues.tasks, frozenset(queues.foreign))


@cache
def current_catalogue() -> Catalogue:
    """Return the catalogue of this process, read once."""
    return load_catalogue(current_deployment().settings.queues)


def task_function(spec: TaskSpec | None) -> TaskFunction:
    """Return the function of a task.

    Raises:
        PermanentError: the task is not installed in this process.
    """
    if spec is None or spec.name not in _functions:
        name = "of a foreign queue" if spec is None else repr(spec.name)
        raise PermanentError(f"task {name} is not installed in this worker")
    return _functions[spec.name]
