"""Small tasks that recipes are glued together with."""

import time
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from zocelery.catalogue import TaskKind
from zocelery.errors import PermanentError, TemporaryError
from zocelery.messages import Emission, Step
from zocelery.task import recipe_task

SPLIT_BURST = 200
"""Members that `split` publishes at once."""


class _Parameters(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SplitParameters(_Parameters):
    """Parameters of `split`."""

    key: str = ""
    """Where in the payload the list is; "" if the payload is the list."""


class ChooseParameters(_Parameters):
    """Parameters of `choose`."""

    key: str
    """The key of the payload whose value is the name of a channel."""


class FailParameters(_Parameters):
    """Parameters of `fail`."""

    message: str = "asked to fail"
    passing: bool = False
    """Whether trying again might help."""


class SleepParameters(_Parameters):
    """Parameters of `sleep`."""

    seconds: float = Field(default=1.0, ge=0, le=86400)


@recipe_task("echo")
def echo(step: Step) -> Any:
    """Answer the parameters, laid over by the payload if that is an object too."""
    if isinstance(step.payload, Mapping):
        return {**step.parameters, **step.payload}
    return dict(step.parameters) or step.payload


@recipe_task("split", stream=("each",), parameters=SplitParameters)
def split(step: Step) -> int:
    """Send each member of a list on the channel `each`; answer how many there are."""
    key = SplitParameters.model_validate(step.parameters).key
    members = step.payload
    if key:
        if not isinstance(members, Mapping) or key not in members:
            raise PermanentError(f"the payload has no list {key!r}")
        members = members[key]
    if not isinstance(members, list):
        raise PermanentError(f"{key or 'the payload'} is not a list: {members!r:.80}")
    emissions = [
        Emission("each", member, str(number))
        for number, member in enumerate(members, start=1)
    ]
    for first in range(0, len(emissions), SPLIT_BURST):
        step.send_members("each", emissions[first : first + SPLIT_BURST])
    return len(members)


@recipe_task("choose", once=(".+",), parameters=ChooseParameters)
def choose(step: Step) -> None:
    """Send the payload on the channel that one of its keys names."""
    key = ChooseParameters.model_validate(step.parameters).key
    if not isinstance(step.payload, Mapping) or key not in step.payload:
        raise PermanentError(f"the payload has no key {key!r}")
    step.send(str(step.payload[key]), step.payload)


@recipe_task("collect", kind=TaskKind.GATHER)
def collect(step: Step) -> dict[str, Any]:
    """Answer what all members answered, and name the failed and the missing ones."""
    return {
        "members": [member.value for member in step.members if member.ok],
        "items": [member.item for member in step.members if member.ok],
        "failed": [
            {"item": member.item, "error": member.error}
            for member in step.members
            if not member.ok
        ],
        "missing": [member.item for member in step.missing],
    }


@recipe_task("sleep", queue="wrappers", parameters=SleepParameters)
def sleep(step: Step) -> Any:
    """Wait, then answer the payload: a stand-in for a program that takes long."""
    time.sleep(SleepParameters.model_validate(step.parameters).seconds)
    return step.payload if step.payload is not None else {}


@recipe_task("fail", parameters=FailParameters)
def fail(step: Step) -> None:
    """Fail, for trying out what a recipe does about it."""
    parameters = FailParameters.model_validate(step.parameters)
    raise (TemporaryError if parameters.passing else PermanentError)(parameters.message)
