"""Recipe: a graph of nodes, as data.

A recipe says which node feeds which. Nothing here knows Celery, files or servers;
`recipe_format` reads and writes the JSON forms, `recipe_checks` validates the graph.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_CHANNEL = ""
"""The name under which the unnamed output of a node is kept."""


class Frozen(BaseModel):
    """A model that never changes and refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Retry(Frozen):
    """How often and how soon a node that failed for a passing reason is tried again."""

    attempts: int = Field(default=5, ge=1, le=100)
    """Tries in all, the first included."""
    pause: float = Field(default=2.0, gt=0, le=3600)
    """Seconds before the second try; doubled for each further one, with jitter."""
    longest_pause: float = Field(default=300.0, gt=0, le=86400)
    """Seconds: no pause is longer."""


class Node(Frozen):
    """One step of a recipe."""

    name: str
    """The node's key in the recipe: "1" in Zocalo's form, any identifier in ours."""
    task: str | None = None
    """Name of the task that does the work; None where `queue` decides."""
    wrapper: str | None = None
    """Name of the program wrapper that does the work."""
    service: str | None = None
    """Zocalo's label for people; also looked up when nothing else names the task."""
    queue: str | None = None
    """Zocalo's queue name, mapped to a task by the configuration."""
    topic: str | None = None
    """Zocalo's broadcast destination (fanout exchange)."""
    exchange: str | None = None
    """Exchange to publish to; with `queue` as routing key."""
    transport_delay: float = 0.0
    """Seconds that a message to this node is held back."""
    description: str = ""
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    job_parameters: Mapping[str, Any] = Field(default_factory=dict)
    outputs: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Channel name to the nodes that it feeds; `DEFAULT_CHANNEL` is the unnamed one."""
    error: tuple[str, ...] = ()
    """Nodes that are told when this one fails."""
    gather: bool | Literal["join"] = False
    """True: the node runs once on all members of the fan-out around it; "join": once on
    all branches within one member."""
    deadline: float | None = None
    """Gather only: seconds after the last source ended, or after the last member came,
    until it runs with what is there."""
    foreach: str | None = None
    """The node runs once for each member of the list under this key of the payload
    ("" for the payload itself)."""
    shed: bool = False
    """Members of a stream for which no worker is idle are dropped and counted."""
    only_if: Any = True
    """Filled in: null, false, 0 or nothing leaves the node out of the run."""
    retry: Retry | None = None
    timeout: float | None = None
    """Seconds that one try of this node may take."""
    extra: Mapping[str, Any] = Field(default_factory=dict)
    """Keys that zocelery does not know, kept as they came (`gridinfo`, `comment`)."""
    spelling: Mapping[str, Any] = Field(default_factory=dict, repr=False)
    """Keys as the document wrote them where there are several ways (`[2]` and `2`).
    Only `dump_recipe` reads it, so that a recipe comes out as it went in."""

    @property
    def targets(self) -> tuple[str, ...]:
        """All nodes that this one feeds, error nodes included, in recipe order."""
        named = [name for names in self.outputs.values() for name in names]
        return (*named, *self.error)


class Start(Frozen):
    """A node that a run begins with, and what it is given."""

    node: str
    payload: Any = None


class Recipe(Frozen):
    """A graph of nodes with at least one start.

    Build one with `load_recipe()` or `recipe_format.parse_recipe()`.
    """

    nodes: Mapping[str, Node]
    start: tuple[Start, ...]
    error: tuple[str, ...] = ()
    """Nodes that are told of every failure that no node-level `error` caught."""
    name: str = "recipe"
    """For people: file stem, or "custom" for a recipe that came in a message."""
    description: str = ""
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    """Defaults of the placeholders, overridden by the submitter's parameters."""
    placeholders: Mapping[str, str] = Field(default_factory=dict)
    """What each parameter means, for `zocelery recipe show`."""
    spelling: Mapping[str, Any] = Field(default_factory=dict, repr=False)
    """As in `Node`, for the keys beside the nodes."""

    def __iter__(self) -> Iterator[Node]:  # type: ignore[override]  # nodes, not fields
        """Iterate over the nodes in recipe order."""
        return iter(self.nodes.values())

    @classmethod
    def restore(cls, stored: Any) -> "Recipe":
        """Return a recipe as `model_dump` has stored it, here or in a newer version.

        Keys that a newer version has added are passed over.
        """
        return cls.model_validate(stored, extra="ignore")

    def parents(self) -> Mapping[str, tuple[str, ...]]:
        """For each node the nodes that feed it, error edges included."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self:
            for target in node.targets:
                found[target].append(node.name)
        return MappingProxyType({name: tuple(names) for name, names in found.items()})
