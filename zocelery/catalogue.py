"""The tasks that recipes may name: what each takes, answers and emits."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from zocelery.errors import RecipeError
from zocelery.recipe import DEFAULT_CHANNEL, Node

ELSEWHERE = "zocelery-elsewhere"
"""Among a node's other keys: others serve its queue, whatever tasks there are."""


class TaskKind(StrEnum):
    """How a task is run."""

    PLAIN = "plain"
    """Once per message; answers by its return value and by named channels."""
    GATHER = "gather"
    """Once on all members that reach it."""
    WATCH = "watch"
    """Waits for things to appear and emits them; holds no broker message meanwhile."""
    WRAPPER = "wrapper"
    """Runs an external program for minutes to days."""


class ChannelKind(StrEnum):
    """How often a channel speaks in one run of its node."""

    ONCE = "once"
    """Once or never."""
    STREAM = "stream"
    """Any number of times: the members of a fan-out."""


@dataclass(frozen=True)
class TaskSpec:
    """What a recipe and the canvas need to know of a task, without importing it."""

    name: str
    """As in recipes and in Celery: `per_image_analysis`, `i99.flatness`."""
    queue: str
    kind: TaskKind = TaskKind.PLAIN
    once: tuple[str, ...] = ()
    """Regular expressions of the channels that speak at most once."""
    stream: tuple[str, ...] = ()
    """Regular expressions of the channels that speak for each member."""
    default_channel: str = "result"
    """The named channel that also carries what the unnamed output carries."""
    parameters: type[BaseModel] | None = None
    """Model that a node's parameters must fit, checked before a run starts."""
    check: Callable[[Mapping[str, Any]], None] | None = None
    """Looks at a node's filled-in parameters before a run starts: raises a UserError
    for a file that is not there, a folder that cannot be written."""
    picture: Callable[[Any], str] | None = None
    """Draws the task's answer as text for a terminal."""
    stands_for: Callable[[Mapping[str, Any]], str | None] | None = None
    """Reads from a node's parameters which other task this one runs, if they tell it:
    the node has that one's channels too."""
    warm_up: Callable[[], None] | None = None
    """Called once in a worker before it forks: compiles, fills caches."""
    bundle: int = 1
    """The most members of a fan-out that one message may bring, for it costs as much as
    milliseconds of work."""
    summary: str = ""
    """First line of the task's docstring."""
    aliases: tuple[str, ...] = field(default=())
    """Zocalo's queue and service names for it."""

    def channel_kind(self, channel: str) -> ChannelKind | None:
        """Return how often `channel` speaks, or None if the task does not have it."""
        if channel in (DEFAULT_CHANNEL, self.default_channel):
            return ChannelKind.ONCE
        for kind, patterns in (
            (ChannelKind.ONCE, self.once),
            (ChannelKind.STREAM, self.stream),
        ):
            if any(re.fullmatch(pattern, channel) for pattern in patterns):
                return kind
        return None

    def given_by(self, node: Node) -> dict[str, Any]:
        """Return what a node gives the task: a wrapper's job parameters, too."""
        wraps = self.kind is TaskKind.WRAPPER and self.parameters is not None
        return {**node.parameters, **(node.job_parameters if wraps else {})}

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The channels in a form for people: `every-N` instead of a pattern."""
        names = (*self.once, *self.stream, self.default_channel)
        return tuple(dict.fromkeys(name.replace(r"\d+", "N") for name in names))


class Catalogue:
    """All known tasks, by name and by Zocalo's queue and service names."""

    def __init__(
        self,
        specs: Mapping[str, TaskSpec],
        queues: Mapping[str, str] | None = None,
        foreign_queues: frozenset[str] = frozenset(),
    ) -> None:
        """Take the specs by name, and what the configuration says of queues.

        Args:
            specs: the known tasks by name.
            queues: Zocalo's queue and service names, and the tasks that they mean.
            foreign_queues: the queues that somebody else serves.
        """
        self._specs = dict(specs)
        self._foreign = foreign_queues
        self._queues = {a: s.name for s in specs.values() for a in s.aliases}
        self._queues.update(queues or {})

    def __iter__(self) -> Iterator[TaskSpec]:
        """Iterate over the specs, sorted by name."""
        return iter(sorted(self._specs.values(), key=lambda spec: spec.name))

    def __getitem__(self, name: str) -> TaskSpec:
        """Return the spec of the task called `name`; KeyError if there is none."""
        return self._specs[name]

    def is_foreign(self, node: Node) -> bool:
        """Whether the node's messages go to a queue that somebody else serves."""
        if node.task or node.wrapper:
            return False
        if node.topic or node.exchange or node.extra.get(ELSEWHERE):
            return True
        return node.queue in self._foreign

    def find(self, node: Node) -> TaskSpec:
        """Return the spec of the task that does the node's work.

        Raises:
            RecipeError: if no task is known for it; the message names the node.
        """
        for key, value in (("task", node.task), ("wrapper", node.wrapper)):
            if value is not None:
                if value in self._specs:
                    return self._specs[value]
                raise RecipeError(
                    f"node {node.name!r}: {key} {value!r:.200} is not known; "
                    "'zocelery recipe tasks' lists the known ones"
                )
        for name in (node.queue, node.service):
            if name in self._queues and self._queues[name] in self._specs:
                return self._with_channels(self._specs[self._queues[name]], node)
            if name in self._specs:
                return self._specs[name]
        raise _nobody_for(node)

    def _with_channels(self, spec: TaskSpec, node: Node) -> TaskSpec:
        """Add the channels of the task for which `spec` stands in this node."""
        meant = spec.stands_for and spec.stands_for(node.parameters)
        other = self._specs.get(meant or "")
        if other is None:
            return spec
        once = tuple(dict.fromkeys((*spec.once, *other.once)))
        stream = tuple(dict.fromkeys((*spec.stream, *other.stream)))
        return replace(spec, once=once, stream=stream)


def _nobody_for(node: Node) -> RecipeError:
    """Return what to say of a node whose work nobody is known to do."""
    if node.queue is None and node.service is None:
        reason = "names no task, wrapper or queue: nobody would do its work"
    else:
        key = "service" if node.queue is None else "queue"
        reason = (
            f"no task is known for {key} {node.queue or node.service!r:.200}; map it "
            "to a task or list it as a foreign queue in the configuration"
        )
    return RecipeError(f"node {node.name!r}: {reason}")
