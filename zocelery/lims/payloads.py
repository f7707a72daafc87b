"""Payloads: what a message wants stored, read into a model."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from zocelery.errors import PermanentError

Model = TypeVar("Model", bound=BaseModel)


def read_payload(model: type[Model], what: str, payload: Mapping[str, Any]) -> Model:
    """Return a payload as a model; `what` it is about is for people.

    Raises:
        PermanentError: names the key and its value.
    """
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PermanentError(
            f"LIMS: {what}: {where}: {first['msg']} (value: {first['input']!r:.60})"
        ) from error
