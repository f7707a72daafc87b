"""Zocalo's way to name a wrapper: a cluster job whose command is `zocalo.wrap`.

    "queue": "cluster.submission", "wrapper": {"task_information": "xia2"},
    "parameters": {"cluster": {"commands": "zocalo.wrap --wrap xia2 ..."}},
    "job_parameters": {...}

The wrapper of that name runs on a worker of the queue `wrappers`, with the same
`job_parameters`; what the cluster would have been told is left alone.
"""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

from zocelery.catalogue import TaskKind
from zocelery.desk import Desk
from zocelery.errors import ParameterError, PermanentError
from zocelery.messages import Step
from zocelery.registry import load_tasks, task_function
from zocelery.task import recipe_task
from zocelery_tasks.wrappers.base import ONCE_CHANNELS, STREAM_CHANNELS, Answer

_OPTION = "--wrap"


def _check(parameters: Mapping[str, Any]) -> None:
    wrapper_name(parameters)


def _wrapper_if_named(parameters: Mapping[str, Any]) -> str | None:
    with suppress(ParameterError):
        return wrapper_name(parameters)
    return None


@recipe_task(
    "zocalo_wrapper",
    queue="wrappers",
    kind=TaskKind.WRAPPER,
    once=(*ONCE_CHANNELS, "ispyb", "job_submitted"),
    stream=STREAM_CHANNELS,
    default_channel="success",
    aliases=("cluster.submission", "DLS Cluster Service"),
    check=_check,
    stands_for=_wrapper_if_named,
)
def zocalo_wrapper(step: Step, desk: Desk) -> Answer:
    """Run the wrapper that a cluster job of Zocalo's names."""
    name = wrapper_name(step.parameters)
    spec = load_tasks().get(name)
    if spec is None or spec.kind is not TaskKind.WRAPPER or name == "zocalo_wrapper":
        raise PermanentError(f"wrapper {name!r} is not installed")
    step.send("job_submitted", {"jobid": desk.unit, "scheduler": "zocelery"})
    answer: Answer = task_function(spec)(step, desk)
    return answer


def wrapper_name(parameters: Mapping[str, Any]) -> str:
    """Return the name behind `--wrap` in a cluster job's commands.

    Raises:
        ParameterError: there is none.
    """
    words = list(_words(parameters))
    for word, follower in pairwise(words):
        if word == _OPTION:
            return follower
    for word in words:
        if word.startswith(f"{_OPTION}="):
            return word.removeprefix(f"{_OPTION}=")
    raise ParameterError(
        "cluster.commands: no 'zocalo.wrap --wrap NAME' among them; zocelery runs no "
        "other cluster jobs"
    )


def _words(parameters: Mapping[str, Any]) -> Iterator[str]:
    cluster = parameters.get("cluster")
    given = cluster if isinstance(cluster, Mapping) else parameters
    commands = given.get("commands") or given.get("command") or []
    for line in [commands] if isinstance(commands, str) else commands:
        try:
            yield from shlex.split(str(line), comments=True)
        except ValueError as error:
            raise ParameterError(f"cluster.commands: {line!r}: {error}") from error
