"""What is asked of the LIMS in Zocalo's way: parameters, payload, `$variables`."""

import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zocelery.errors import PermanentError
from zocelery.lims.values import as_id

COMMAND = "ispyb_command"
COMMANDS = "ispyb_command_list"
MULTIPART = "multipart_message"
STORE_RESULT = "store_result"
_NOTHING = ("", "None", "null")
_VARIABLE = re.compile(r"\$\{?(\w+)")


@dataclass
class Request:
    """One command: what it is given, looked up as Zocalo does."""

    layers: Sequence[Mapping[str, Any]]
    """Where a value is looked for; the first that has its name counts, even if it is
    None: the step of a list, what the node before has sent, the node's parameters."""
    variables: MutableMapping[str, Any]
    """What stands for `$name` and `${name}`; `store_result` adds to it."""
    key: str
    """Tells this request from all others, the same in every try."""
    sends: list[tuple[str, Any]] = field(default_factory=list)
    """Channel and payload of what is sent on once all is stored."""
    programs: list[int] = field(default_factory=list)
    """The programs that have been registered."""

    @property
    def command(self) -> str:
        """The name of the command.

        Raises:
            PermanentError: none is named.
        """
        name = self.plain(COMMAND)
        if not name:
            raise PermanentError(f"LIMS: no {COMMAND} is named")
        return str(name)

    def plain(self, name: str) -> Any:
        """Return a value as it is, None if there is none."""
        for layer in self.layers:
            if name in layer:
                return layer[name]
        return None

    def value(self, name: str) -> Any:
        """Return a value; variables in a text are filled in."""
        return replaced(self.plain(name), self.variables)

    def loosely(self, name: str) -> Any:
        """Return a value whose name is spelt with or without capitals and `_`."""
        wanted = _plain_name(name)
        for layer in self.layers:
            for key in layer:
                if _plain_name(key) == wanted:
                    return replaced(layer[key], self.variables)
        return None

    def text(self, name: str) -> str | None:
        """Return a text, None if there is none."""
        value = self.value(name)
        return None if value is None else str(value)

    def key_of(self, name: str) -> int | None:
        """Return the id of a row, None if it is not given.

        Raises:
            PermanentError: it is no whole number above 0; names unset variables.
        """
        return self.as_key(name, self.value(name))

    def as_key(self, name: str, value: Any) -> int | None:
        """Return `value`, given for `name`, as the id of a row; see `key_of`."""
        if value is None or str(value).strip() in _NOTHING:
            return None
        number = as_id(value)
        if not number:
            raise PermanentError(
                f"LIMS: {self.command}: {name} = {value!r:.60} is no id"
                f"{_unset(value, self.variables)}"
            )
        return number

    def required_key(self, name: str) -> int:
        """Return the id of a row.

        Raises:
            PermanentError: it is not given, or is none.
        """
        found = self.key_of(name)
        if found is None:
            raise PermanentError(f"LIMS: {self.command}: {name} is not given")
        return found

    def required(self, name: str) -> Any:
        """Return a value that must be there."""
        value = self.value(name)
        if value is None or value == "":
            raise PermanentError(f"LIMS: {self.command}: {name} is not given")
        return value

    def everything(self) -> dict[str, Any]:
        """Return all values by name, the first layer's before those of the next."""
        names = dict.fromkeys(name for layer in self.layers for name in layer)
        return {name: self.value(name) for name in names}

    def steps(self) -> "Iterator[Request]":
        """Yield the commands of a list, each when the ones before have been done.

        Raises:
            PermanentError: there is no list.
        """
        told = self.plain(COMMANDS)
        if not isinstance(told, list) or not told:
            raise PermanentError(f"LIMS: {self.command}: {COMMANDS} is no list")
        for number, step in enumerate(told, start=1):
            if not isinstance(step, Mapping) or not step.get(COMMAND):
                raise PermanentError(
                    f"LIMS: step {number} of {len(told)} names no {COMMAND}"
                )
            layers = (step, *(_without(layer) for layer in self.layers))
            key = f"{self.key}/{number}"
            yield Request(layers, self.variables, key, self.sends, self.programs)


def replaced(value: Any, variables: Mapping[str, Any]) -> Any:
    """Return a text with `$name` and `${name}` replaced, longest names first."""
    if not isinstance(value, str) or "$" not in value:
        return value
    for name in sorted(variables, key=len, reverse=True):
        for form in (f"${{{name}}}", f"${name}"):
            if form in value:
                value = value.replace(form, str(variables[name]))
    return value


def _plain_name(name: str) -> str:
    return name.replace("_", "").lower()


def _without(layer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a step takes from around it: not which command, nor where to."""
    return {
        name: value
        for name, value in layer.items()
        if name not in (COMMAND, COMMANDS, STORE_RESULT)
    }


def _unset(value: Any, variables: Mapping[str, Any]) -> str:
    names = [name for name in _VARIABLE.findall(str(value)) if name not in variables]
    return f": no step before has set {', '.join(names)}" if names else ""
