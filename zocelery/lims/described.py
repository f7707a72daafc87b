"""Commands that store one row each: what their messages call the columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zocelery.lims.request import Request
from zocelery.lims.rows import RowKind
from zocelery.lims.writer import Writer


@dataclass(frozen=True, slots=True)
class RowCommand:
    """A command that stores one row, which it adds or changes."""

    kind: RowKind
    names: Mapping[str, str]
    """What a message calls each column."""
    key: str | None = None
    """What it calls the id of a row that is there already and is to be changed."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Values that no message gives."""

    def __call__(self, writer: Writer, request: Request) -> int:
        """Return the id of the row that a request describes; see `Writer.once`."""
        values = {**self.values(request), **self.fixed}
        known = None if self.key is None else request.key_of(self.key)
        if known is None:
            return writer.once(self.kind, values)
        writer.row(self.kind, known, ())
        writer.change(self.kind, known, values)
        return known

    def values(self, request: Request) -> dict[str, Any]:
        """Return the values that a request gives, by column."""
        return {
            column: request.key_of(name)
            if column in self.kind.parents
            else request.value(name)
            for column, name in self.names.items()
        }


def named(*columns: str, **others: str) -> dict[str, str]:
    """Return what messages call columns: `snake_case` of each, and those given.

    Args:
        columns: named in messages as in the table, in small letters with `_`.
        others: by column, what it is called where that is something else.
    """
    return {**others, **{column: _snake_case(column) for column in columns}}


def _snake_case(column: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in column)
