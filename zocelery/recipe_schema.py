"""Recipe documents: the two JSON forms of a recipe, as models and as a JSON schema.

`recipe_format` reads documents through these models, so that the published schema and
the parser cannot differ.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel
from pydantic.json_schema import (
    GenerateJsonSchema,
    JsonSchemaValue,
    models_json_schema,
)
from pydantic_core import core_schema

from zocelery.recipe import Retry

NODE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
NODE_NUMBER = r"^0*[1-9][0-9]{0,8}$"
PARAMETER_NAME = r"^[^.\[\]{}!:]+$"

_NOT_NEGATIVE = r"^[0-9]+(\.[0-9]+)?$"


def _as_pair(value: Any) -> Any:
    """Turn a JSON list into the tuple that a strict model asks for."""
    return tuple(value) if isinstance(value, list) else value


NodeName = Annotated[str, Field(pattern=NODE_NAME, max_length=100)]
NodeNumber = (
    Annotated[int, Field(ge=1, lt=10**9)] | Annotated[str, Field(pattern=NODE_NUMBER)]
)
ParameterName = Annotated[str, Field(pattern=PARAMETER_NAME)]
Seconds = Annotated[float, Field(gt=0)]
Delay = Annotated[float, Field(ge=0)]
NamedTargets = NodeName | list[NodeName]
NamedStart = Annotated[tuple[NodeName, Any], BeforeValidator(_as_pair)]
NumberedStart = Annotated[tuple[NodeNumber, Any], BeforeValidator(_as_pair)]


class NumberedTargets(RootModel[Any]):
    """A node number, a list of such, or an object of named channels, also nested."""

    model_config = ConfigDict(strict=True)

    root: NodeNumber | list["NumberedTargets"] | dict[str, "NumberedTargets"] | None


class Document(BaseModel):
    """A JSON object that refuses unknown keys and does not guess types."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class RetryDocument(Retry):
    """How often and how soon a node that failed for a passing reason is tried again."""

    model_config = ConfigDict(strict=True)


class NodeDocument(Document):
    """The keys of a node that both forms have."""

    service: str | None = Field(None, description="A label for people.")
    queue: str | None = Field(
        None, description="Zocalo's queue; the configuration maps it to a task."
    )
    topic: str | None = Field(None, description="A broadcast destination.")
    exchange: str | None = Field(
        None, description="Exchange to publish to, with the queue as routing key."
    )
    parameters: dict[str, Any] | None = Field(
        None, description="What the node's task is told."
    )
    job_parameters: dict[str, Any] | None = Field(
        None, description="What the node's program wrapper is told."
    )
    task: str | None = Field(None, description="The task that does the work.")
    gather: bool | Literal["join"] | None = Field(
        None,
        description="true: run once, on all members of the fan-out that reach the "
        'node; "join": once on all branches within one member.',
    )
    deadline: Seconds | None = Field(
        None, description="Gather: seconds without news before it runs incomplete."
    )
    foreach: str | None = Field(
        None,
        description="Run once for each member of the list under this key of the "
        'payload; "" is the payload itself.',
    )
    shed: bool | None = Field(
        None,
        description="true: drop members of a fan-out for which no worker is idle; "
        "they are counted, and named where the fan-out is gathered.",
    )
    only_if: Any = Field(
        True,
        description="Filled in: null, false, 0 or nothing leaves the node, and what "
        "only it leads to, out of the run.",
    )
    retry: RetryDocument | None = Field(
        None, description="Tries after failures that may pass."
    )
    timeout: Seconds | None = Field(
        None, description="Seconds that one try of this node may take."
    )


class NamedNode(NodeDocument):
    """A node of the form with named nodes."""

    transport_delay: Delay | None = Field(
        None,
        alias="transport-delay",
        description="Seconds that a message to this node is held back.",
    )
    description: str | None = Field(None, description="What the node is for.")
    wrapper: str | None = Field(
        None, description="The program wrapper that does the work."
    )
    output: NamedTargets | dict[str, NamedTargets] | None = Field(
        None,
        description="Whom the node feeds: a node, a list of nodes, or for each of its "
        "channels a node or list of nodes.",
    )
    error: NamedTargets | None = Field(
        None, description="The nodes that are told when this one fails."
    )
    extra: dict[str, Any] | None = Field(
        None, description="Further keys, as some of Zocalo's services take them."
    )


class RecipeDocument(Document):
    """The keys of a recipe that both forms have."""

    schema_: str | None = Field(
        None, alias="$schema", description="For editors: where this schema is."
    )
    name: str | None = Field(
        None, description="By default the file's name without .json."
    )
    description: str | None = Field(None, description="What the recipe does.")
    parameters: dict[ParameterName, Any] | None = Field(
        None,
        description="The parameters of the recipe: for each a default, or an object "
        "with `default` and `description`; without `default` it has to be given.",
    )


class NamedRecipe(RecipeDocument):
    """A recipe with named nodes."""

    start: NodeName | Annotated[list[NodeName | NamedStart], Field(min_length=1)] = (
        Field(
            description="Where a run begins: a node, or a list of nodes or of "
            "[node, payload]."
        )
    )
    error: NamedTargets | None = Field(
        None, description="The nodes that are told of every other failure."
    )
    nodes: dict[NodeName, NamedNode] = Field(min_length=1)


class ZocaloNode(NodeDocument):
    """A node of Zocalo's form; unknown keys are kept."""

    model_config = ConfigDict(extra="allow")

    transport_delay: Delay | Annotated[str, Field(pattern=_NOT_NEGATIVE)] | None = (
        Field(
            None,
            alias="transport-delay",
            description="Seconds that a message to this node is held back.",
        )
    )
    description: Any = Field(None, description="What the node is for.")
    wrapper: str | dict[str, Any] | None = Field(
        None, description="An object is Zocalo's, a text names a program wrapper."
    )
    output: NumberedTargets | None = Field(
        None,
        description="Whom the node feeds: a node number, a list of node numbers, or "
        "such for each of its channels.",
    )
    error: NumberedTargets | None = Field(
        None, description="The nodes that are told when this one fails."
    )


class ZocaloRecipe(RecipeDocument):
    """A recipe in Zocalo's form: every other key is the number of a node."""

    parameters: dict[ParameterName, Any] | None = Field(
        None, description="Defaults, as in the form with named nodes."
    )
    start: list[NumberedStart] = Field(
        min_length=1,
        description="Where a run begins: pairs of a node number and a payload.",
    )
    error: NumberedTargets | None = Field(
        None, description="The nodes that are told of every other failure."
    )
    nodes: dict[str, ZocaloNode] = Field(min_length=1)
    """In a document these stand beside the other keys; their keys are the numbers."""


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of both forms of a recipe document."""
    modes: list[tuple[type[BaseModel], Literal["validation"]]] = [
        (NamedRecipe, "validation"),
        (ZocaloRecipe, "validation"),
    ]
    definitions = models_json_schema(modes, schema_generator=_Generator)[1]["$defs"]
    zocalo = definitions["ZocaloRecipe"]
    del zocalo["properties"]["nodes"]
    zocalo["required"].remove("nodes")
    zocalo["patternProperties"] = {NODE_NUMBER: {"$ref": "#/$defs/ZocaloNode"}}
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": "Recipe",
        "description": "A graph of nodes. With the key `nodes`, nodes have names; "
        "without it, this is Zocalo's form, whose nodes are numbers.",
        "type": "object",
        "if": {"required": ["nodes"]},
        "then": {"$ref": "#/$defs/NamedRecipe"},
        "else": {"$ref": "#/$defs/ZocaloRecipe"},
        "$defs": definitions,
    }


class _Generator(GenerateJsonSchema):
    """Says also that keys must fit their pattern, and leaves out derived titles."""

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Allow only keys that fit the pattern, where there is one."""
        result = super().dict_schema(schema)
        if "patternProperties" in result:
            result["additionalProperties"] = False
        return result

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Leave titles out: they only repeat the names."""
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Leave defaults out: null means that a key is not given."""
        return self.generate_inner(schema["schema"])
