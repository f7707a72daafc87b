"""Hooks of a facility for the bridge, as Zocalo's dispatcher would call them."""

from typing import Any

Message = dict[str, Any]


def add_beamline(message: Message, parameters: Message) -> tuple[Message, Message]:
    return {**message, "recipes": ["ours"]}, {**parameters, "beamline": "i99"}


def never(message: Message, parameters: Message) -> bool:
    return bool(message.get("ready")) and "word" in parameters


def says_nothing(message: Message, parameters: Message) -> None:
    parameters["changed"] = bool(message)
