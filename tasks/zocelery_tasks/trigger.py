"""The task `trigger`: start another recipe when this one has come so far."""

import operator
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from zocelery.errors import (
    PermanentError,
    RecipeError,
    ServerUnreachableError,
    UserError,
)
from zocelery.messages import Step
from zocelery.recipe_library import is_recipe_name
from zocelery.task import recipe_task
from zocelery_tasks.wrappers.command import look_up

Comparison = Literal["==", "!=", "<", "<=", ">", ">=", "in", "exists"]
_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda found, values: found in values,
}
_NAMESPACE = uuid.UUID("3d8f0c0e-2f0b-5a53-8d52-8f5f3b8a2b0d")


class Condition(BaseModel):
    """Something that has to hold of what the node before has answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    """Where in the payload; `merging_statistics.overall.ccHalf`."""
    is_: Comparison = Field(default="exists", alias="is")
    value: Any = None

    def holds(self, payload: Any) -> bool:
        """Whether it does; what cannot be compared does not hold."""
        found = look_up(payload, self.key)
        if self.is_ == "exists":
            return found is not None
        try:
            return bool(_COMPARISONS[self.is_](found, self.value))
        except TypeError:
            return False

    def __str__(self) -> str:
        value = "" if self.is_ == "exists" else f" {self.value}"
        return f"{self.key} {self.is_}{value}"


class TriggerParameters(BaseModel):
    """Parameters of `trigger`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    recipe: str
    """Name of the recipe that is started."""
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    """Its parameters."""
    payload: Mapping[str, str] = Field(default_factory=dict)
    """More of them, each from the payload's value under a key: `{"mtz": "mtz"}`."""
    conditions: tuple[Condition, ...] = ()
    """All have to hold; otherwise nothing is started, and that is no failure."""
    urgency: Literal["live", "reprocessing"] = "reprocessing"


@recipe_task(
    "trigger",
    queue="control",
    once=("started", "skipped"),
    default_channel="started",
    parameters=TriggerParameters,
)
def trigger(step: Step) -> dict[str, Any] | None:
    """Start another recipe, if all conditions hold; answer the new run's id."""
    given = TriggerParameters.model_validate(step.parameters)
    unmet = [str(c) for c in given.conditions if not c.holds(step.payload)]
    if unmet:
        step.send("skipped", {"recipe": given.recipe, "unmet": unmet})
        return None
    run = start(step, given)
    return {"recipe": given.recipe, "run": run}


def start(step: Step, given: TriggerParameters) -> str:
    """Start the recipe; the second time changes nothing, as the run's id is the same.

    Raises:
        PermanentError: the recipe or its parameters cannot be used.
    """
    from zocelery.submission import submit

    told = {key: look_up(step.payload, place) for key, place in given.payload.items()}
    parameters = {**given.parameters, **told, "triggered_by": step.run_id}
    parts = (step.run_id, step.node, step.item, given.recipe)
    run = str(uuid.uuid5(_NAMESPACE, "\0".join(parts)))
    try:
        if not is_recipe_name(given.recipe):  # `submit` would also take a file's path
            raise RecipeError(f"{given.recipe!r} is no recipe name")
        submit(given.recipe, parameters, run_id=run, urgency=given.urgency)
    except ServerUnreachableError:
        raise
    except UserError as error:
        raise PermanentError(f"trigger {given.recipe!r}: {error}") from error
    return run
