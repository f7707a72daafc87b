"""Requests: what a client's message asks for, read before anything is done."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zocelery.bridge.delivery import Delivery
from zocelery.errors import ParameterError
from zocelery.plain_json import plain_json, shown

RESERVED = (
    "dispatcher_timeout",
    "dispatcher_error_queue",
    "dispatcher_expiration",
)
"""Parameters that are for Zocalo's dispatcher and not for recipes."""
MOST_RECIPES = 50
_WHO = ("zocalo.go.user", "zocalo.go.host")


@dataclass(frozen=True, slots=True)
class Request:
    """A message of a client, its parameters apart from what they are for."""

    message: Mapping[str, Any]
    """All of it, as filters are given it."""
    parameters: Mapping[str, Any]
    timeout: float | None = None
    """Seconds that it may wait to get ready, if the client says so."""
    error_queue: str | None = None
    """Where the client wants it if it does not get ready."""
    asker: Mapping[str, Any] = field(default_factory=dict)
    """Who has sent it, as far as the headers say."""

    @property
    def guid(self) -> str | None:
        """The id that the client has given its run, if it has."""
        guid = self.parameters.get("guid")
        return None if guid in (None, "") else str(guid)


def read_request(delivery: Delivery, largest: int) -> Request:
    """Return what a message asks for.

    Args:
        delivery: of the queue of clients; recipe-wrapped ones carry it as payload.
        largest: the most bytes that it may have.

    Raises:
        ParameterError: it is no request; says why.
    """
    message = read_object(delivery, largest)
    if delivery.is_recipe_wrapped or ("payload" in message and "recipe" in message):
        message = message.get("payload")
    if not isinstance(message, dict):
        raise ParameterError(f"it carries {shown(message)}, not a request")
    parameters = message.get("parameters")
    if not isinstance(parameters, dict):
        raise ParameterError(f"its parameters are {shown(parameters)}, not an object")
    _recipe_names(message)
    custom = message.get("custom_recipe")
    if custom is not None and not isinstance(custom, dict):
        raise ParameterError(f"its custom_recipe is {shown(custom)}, not an object")
    headers = delivery.client_headers
    who = {name: headers[name] for name in _WHO if isinstance(headers.get(name), str)}
    error_queue = parameters.get("dispatcher_error_queue")
    return Request(
        message=message,
        parameters={k: v for k, v in parameters.items() if k not in RESERVED},
        timeout=_seconds(parameters.get("dispatcher_timeout")),
        error_queue=error_queue if isinstance(error_queue, str) else None,
        asker=who,
    )


def read_object(delivery: Delivery, largest: int) -> Any:
    """Return the body of a message as JSON within limits.

    Raises:
        ParameterError: it is too large, or no JSON object.
    """
    if len(delivery.body) > largest:
        raise ParameterError(
            f"{len(delivery.body)} bytes, {largest} are accepted "
            "(workers.largest_message)"
        )
    try:
        message = json.loads(delivery.body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"its body is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise ParameterError(f"its body is {shown(message)}, not a JSON object")
    try:
        return plain_json(message)
    except ValueError as error:
        raise ParameterError(f"its body {error}") from error


def named_recipes(message: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the recipes that a message names, each once, in its order.

    Raises:
        ParameterError: they are not names.
    """
    return _recipe_names(message)


def digest(delivery: Delivery) -> str:
    """Return what is the same for copies of one message only."""
    told = json.dumps(delivery.client_headers, sort_keys=True, default=str)
    parts = (delivery.queue.encode(), told.encode(), delivery.body)
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _recipe_names(message: Mapping[str, Any]) -> tuple[str, ...]:
    named = message.get("recipes")
    names = [named] if isinstance(named, str) else named or []
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise ParameterError(f"its recipes are {shown(named)}, not a list of names")
    if len(names) > MOST_RECIPES:
        raise ParameterError(
            f"it names {len(names)} recipes, {MOST_RECIPES} are allowed"
        )
    return tuple(dict.fromkeys(names))


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < 1e7:
        raise ParameterError(f"dispatcher_timeout {shown(value)} is no time in seconds")
    return seconds
