"""Nodes of recipe documents: one JSON object to a `Node`, and back without loss."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zocelery.recipe import DEFAULT_CHANNEL, Node, Retry
from zocelery.recipe_schema import ZocaloNode

_TEXT_KEYS = ("service", "queue", "topic", "exchange", "task", "wrapper", "foreach")
_NUMBER_KEYS = ("deadline", "timeout")
_MAPPING_KEYS = ("parameters", "job_parameters")
_KEYS = frozenset(
    field.alias or name for name, field in ZocaloNode.model_fields.items()
)


def read_node(name: str, raw: Mapping[str, Any], *, numbered: bool) -> Node:
    """Build a node from a document that fits the models of `recipe_schema`.

    Args:
        name: the node's name.
        raw: the keys of the node, those that zocelery does not know among them.
        numbered: whether targets are numbers, so that "07" and 7 are the same node.
    """
    extra = {key: value for key, value in raw.items() if is_extra(key, value)}
    own = {key: value for key, value in raw.items() if key not in extra}
    output = own.get("output")
    channels = output if isinstance(output, dict) else {DEFAULT_CHANNEL: output}
    outputs = {key: read_targets(to, numbered=numbered) for key, to in channels.items()}
    retry = own.get("retry")
    fields: dict[str, Any] = {key: own.get(key) for key in (*_TEXT_KEYS, *_NUMBER_KEYS)}
    fields.update((key, own.get(key) or {}) for key in _MAPPING_KEYS)
    node = Node(
        name=name,
        outputs=outputs if isinstance(output, dict) or any(outputs.values()) else {},
        error=read_targets(own.get("error"), numbered=numbered),
        transport_delay=float(own.get("transport-delay") or 0),
        description=own.get("description") or "",
        gather=own.get("gather") or False,
        shed=own.get("shed") or False,
        only_if=own.get("only_if", True),
        retry=None if retry is None else Retry(**retry),
        extra=extra,
        **fields,
    )
    spelling = differing(raw, _dump_plainly(node, numbered))
    return node.model_copy(update={"spelling": spelling}) if spelling else node


def dump_node(node: Node, *, numbered: bool) -> dict[str, Any]:
    """Return the node as a document, `extra` among its other keys.

    It is written as it was read, unless the node has been changed since.
    """
    plain = _dump_plainly(node, numbered)
    if not node.spelling:
        return plain
    written = {**plain, **node.spelling}
    return (
        written if read_node(node.name, written, numbered=numbered) == node else plain
    )


def read_targets(targets: Any, *, numbered: bool) -> tuple[str, ...]:
    """Return the node names in a target, or in nested lists and objects of targets."""
    return tuple(
        str(int(target)) if numbered else str(target) for target in _flat(targets)
    )


def dump_targets(targets: Sequence[str], *, numbered: bool) -> Any:
    """Return one target as such, several as a list; as integers if `numbered`."""
    written = [int(target) if numbered else target for target in targets]
    return written[0] if len(written) == 1 else written


def differing(raw: Mapping[str, Any], canonical: Mapping[str, Any]) -> dict[str, Any]:
    """Return those keys of `raw` that `canonical` does not have so."""
    return {
        key: value
        for key, value in raw.items()
        if key not in canonical or canonical[key] != value
    }


def is_extra(key: str, value: Any) -> bool:
    """Whether a key is for Zocalo's services only, or has a value that only they take.

    Zocalo's `wrapper` is an object, and its comments may stand under `description`.
    """
    if key == "wrapper":
        return isinstance(value, dict)
    if key == "description":
        return not isinstance(value, str | None)
    return key not in _KEYS


def _flat(targets: Any) -> Iterator[int | str]:
    if isinstance(targets, dict):
        targets = list(targets.values())
    if isinstance(targets, list):
        for target in targets:
            yield from _flat(target)
    elif targets is not None:
        yield targets


def _dump_plainly(node: Node, numbered: bool) -> dict[str, Any]:
    """Return the node's document in the shortest spelling."""
    delay = node.transport_delay
    document: dict[str, Any] = {
        "description": node.description or None,
        **{key: getattr(node, key) for key in _TEXT_KEYS},
        "transport-delay": int(delay) if delay.is_integer() else delay,
        **{key: dict(getattr(node, key)) for key in _MAPPING_KEYS},
        **{key: getattr(node, key) for key in _NUMBER_KEYS},
        "gather": node.gather,
        "shed": node.shed,
        "only_if": None if node.only_if is True else node.only_if,
        "output": _dump_outputs(node, numbered),
        "error": dump_targets(node.error, numbered=numbered),
    }
    if node.retry is not None:
        document["retry"] = node.retry.model_dump(exclude_defaults=True)
    kept = {k: v for k, v in document.items() if v or k in ("foreach", "retry")}
    return {**{k: v for k, v in kept.items() if v is not None}, **node.extra}


def _dump_outputs(node: Node, numbered: bool) -> Any:
    channels = {
        channel: dump_targets(targets, numbered=numbered)
        for channel, targets in node.outputs.items()
    }
    return (
        channels.get(DEFAULT_CHANNEL)
        if channels.keys() == {DEFAULT_CHANNEL}
        else channels
    )
