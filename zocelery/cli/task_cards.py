"""What `zocelery recipe tasks` says of a task."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from zocelery.catalogue import Catalogue, TaskSpec
from zocelery.errors import ParameterError
from zocelery.recipe_documents import did_you_mean


def named_tasks(catalogue: Catalogue, names: Sequence[str]) -> list[TaskSpec]:
    """Return the tasks called `names`; all of them if there are no names.

    Raises:
        ParameterError: there is no such task.
    """
    known = {spec.name: spec for spec in catalogue}
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ParameterError(f"there is no task {name!r:.200}{hint}")
    return [known[name] for name in names] or list(known.values())


def task_parameters(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yield name and meaning of each parameter that fits `model`."""
    for name, field in model.model_fields.items():
        meaning = " ".join((field.description or "").split())
        default = field.get_default(call_default_factory=True)
        if field.is_required():
            meaning = f"{meaning} (has to be given)"
        elif isinstance(default, bool | int | float | str) and default != "":
            meaning = f"{meaning} (default {json.dumps(default, ensure_ascii=False)})"
        yield field.alias or name, meaning.strip() or "(optional)"


def describe_task(spec: TaskSpec) -> dict[str, Any]:
    """Return what there is to know of a task as JSON."""
    model = spec.parameters
    return {
        "name": spec.name,
        "kind": spec.kind,
        "queue": spec.queue,
        "summary": spec.summary,
        "once": list(spec.once),
        "stream": list(spec.stream),
        "default_channel": spec.default_channel,
        "aliases": list(spec.aliases),
        "parameters": model.model_json_schema() if model is not None else None,
    }


def marked_channels(spec: TaskSpec) -> list[str]:
    """Return the channels, those that speak for each member with an asterisk."""
    streams = {pattern.replace(r"\d+", "N") for pattern in spec.stream}
    names = [f"{name}*" if name in streams else name for name in spec.channel_names]
    return ["any name" if name == ".+" else name for name in names]
