"""Hooks of the bridge: filters, and what a request has to wait for.

Both are called as Zocalo's dispatcher calls them, so that a facility's own functions
need only another entry point.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from zocelery.errors import ParameterError
from zocelery.installed import entry_points
from zocelery.lims.known import PROCESS, known_parameters
from zocelery.plain_json import plain_json

logger = logging.getLogger(__name__)
FILTERS = "zocelery.bridge.filters"
"""Entry-point group of functions (message, parameters) -> (message, parameters)."""
READY_HOOKS = "zocelery.bridge.ready"
"""Entry-point group of functions (message, parameters) -> bool."""
LIMS_KEYS = ("ispyb_dcid", PROCESS, "ispyb_reprocessing_id")

Message = dict[str, Any]
Filter = Callable[[Message, Message], tuple[Message, Message]]
ReadyHook = Callable[[Message, Message], bool]


def lims_filter(message: Message, parameters: Message) -> tuple[Message, Message]:
    """Fill in what the LIMS knows of the data collection or job, and name its recipe.

    A recipe is named only if the message names none.
    """
    if all(parameters.get(key) in (None, "") for key in LIMS_KEYS):
        return message, parameters
    names = bool(message.get("recipes") or message.get("custom_recipe"))
    found, recipe = known_parameters(parameters, names_recipe=names, waits=False)
    if not names and recipe:
        message = {**message, "recipes": [recipe]}
    return message, found


def lims_is_ready(message: Message, parameters: Message) -> bool:
    """Whether the data collection has a run status, where the message asks for that."""
    del message
    from zocelery.lims.current import current_lims
    from zocelery.lims.lookup import WAIT, is_ready

    return not parameters.get(WAIT) or is_ready(current_lims(), parameters)


def apply_filters(
    message: Mapping[str, Any], parameters: Mapping[str, Any]
) -> tuple[Message, Message]:
    """Return message and parameters as the LIMS and then the facility's filters say.

    Raises:
        ParameterError: a filter answers something else.
    """
    told, values = dict(message), dict(parameters)
    for name, function in _filters():
        answer = function(told, values)
        try:
            told, values = (_object(part) for part in answer)
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"filter {name!r} of {FILTERS} does not answer message and parameters: "
                f"{error}"
            ) from error
    return told, values


def waits_for(message: Mapping[str, Any], parameters: Mapping[str, Any]) -> str | None:
    """Return the name of the first hook that says that it is not ready, or None."""
    for name, function in _ready_hooks():
        if not function(dict(message), dict(parameters)):
            return name
    return None


def load_hooks() -> None:
    """Import the filters and hooks of the facility; their first message need not."""
    _filters()
    _ready_hooks()


def _filters() -> list[tuple[str, Filter]]:
    return [("lims", lims_filter), *_installed(FILTERS)]


def _ready_hooks() -> list[tuple[str, ReadyHook]]:
    return [("lims", lims_is_ready), *_installed(READY_HOOKS)]


def _object(value: Any) -> Message:
    if not isinstance(value, Mapping):
        raise TypeError(f"{type(value).__name__} is not an object")
    plain: Message = plain_json(value)
    return plain


def _installed(group: str) -> Iterator[tuple[str, Any]]:
    for entry in sorted(entry_points(group=group), key=lambda e: e.name):
        yield entry.name, entry.load()
