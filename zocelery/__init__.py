"""Diffraction-image analysis for beamlines: recipes run as Celery canvases.

    import zocelery

    run = zocelery.submit("grid-scan", {"images": "/data/x.nxs", "grid": "20x15"})
    print(run.result())

The floors, highest first: command line and embedded mode · submission · the Celery
app · task base, watches, janitor · outbox · run context · registry of tasks · canvas ·
stores · plan · recipes · errors. Imports go down only.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zocelery.errors import (
    ImageError,
    ParameterError,
    PermanentError,
    RecipeError,
    RunFailedError,
    TaskError,
    TemporaryError,
    UserError,
    ZoceleryError,
)

if TYPE_CHECKING:
    from zocelery.catalogue import TaskKind
    from zocelery.messages import Burst, Emission, Member, Step
    from zocelery.recipe import Recipe
    from zocelery.recipe_format import load_recipe, parse_recipe
    from zocelery.run import Run, RunStatus
    from zocelery.submission import open_run, submit
    from zocelery.task import recipe_task

_HOMES = {
    "Burst": "messages",
    "Emission": "messages",
    "Member": "messages",
    "Recipe": "recipe",
    "Run": "run",
    "RunStatus": "run",
    "Step": "messages",
    "TaskKind": "catalogue",
    "load_recipe": "recipe_format",
    "open_run": "submission",
    "parse_recipe": "recipe_format",
    "recipe_task": "task",
    "rerun": "rerunning",
    "submit": "submission",
}

__all__ = [
    # running recipes
    "Recipe",
    "load_recipe",
    "parse_recipe",
    "submit",
    "rerun",
    "open_run",
    "Run",
    "RunStatus",
    # writing tasks
    "recipe_task",
    "TaskKind",
    "Step",
    "Member",
    "Emission",
    "Burst",
    # errors
    "ZoceleryError",
    "UserError",
    "RecipeError",
    "ParameterError",
    "RunFailedError",
    "TaskError",
    "TemporaryError",
    "PermanentError",
    "ImageError",
]


def __getattr__(name: str) -> Any:
    """Import what is public when it is asked for: a worker needs little of it."""
    if name in _HOMES:
        return getattr(import_module(f"zocelery.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'zocelery' has no attribute {name!r}")
