"""Values on their way into the LIMS: refused here if the LIMS would change them."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Column, DateTime, Enum, String, Table

from zocelery.errors import PermanentError

_RANGES = {
    "TINYINT": (-128, 255),
    "SMALLINT": (-32_768, 65_535),
    "MEDIUMINT": (-8_388_608, 16_777_215),
    "INTEGER": (-2_147_483_648, 4_294_967_295),
    "BIGINT": (-(2**63), 2**64 - 1),
}
"""Smallest of the signed, largest of the unsigned: the models do not say which of the
two a column is; the server, in strict mode, refuses what is left."""
LARGEST_ID = 2**32 - 1
_FLOATS = ("float", "double")
_RELATIVE = 1e-5
"""A FLOAT keeps, and MariaDB shows, six digits."""
_LONGEST_SHOWN = 60


def checked(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` as the table's columns take them.

    Words of an enumeration get the spelling of the table; numbers that are text become
    numbers; NaN and infinity become NULL, which is what they mean in ISPyB.

    Raises:
        PermanentError: names table, column and value: an unknown column, text that is
            too long, a number out of range, a word that is none of the enumeration.
    """
    return {name: _checked(table, name, value) for name, value in values.items()}


def as_id(value: Any) -> int:
    """Return the id of a row that a value is, be it text; 0 if it is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        number = int(str(value))
    except ValueError:
        return 0
    return number if 1 <= number <= LARGEST_ID else 0


def shortened(table: Table, column: str, text: str) -> str:
    """Return `text`, cut to what the column holds: for messages, never for names."""
    length = getattr(table.columns[column].type, "length", None)
    if length is None or len(text) <= length:
        return text
    return text[: length - 1] + "…" if length > 1 else text[:length]


def is_same(column: "Column[Any]", stored: Any, given: Any) -> bool:
    """Whether a stored value is what storing `given` leaves.

    A value that is not given is the column's default; numbers lose digits on the way.
    """
    if given is None or stored is None:
        return stored is given or (given is None and _is_default(column, stored))
    if type(column.type).__visit_name__ in _RANGES or isinstance(stored, str):
        return bool(stored == given)
    try:
        return math.isclose(float(stored), float(given), rel_tol=_RELATIVE)
    except (TypeError, ValueError):
        return bool(stored == given)


def default_of(column: "Column[Any]") -> str | None:
    """Return the text of what the database puts where nothing is given."""
    default = getattr(column.server_default, "arg", None)
    return None if default is None else str(default).strip("'")


def _is_default(column: "Column[Any]", stored: Any) -> bool:
    default = default_of(column)
    if default is None:
        return False
    try:
        return float(default) == float(stored)
    except (TypeError, ValueError):
        return "(" in default or default == str(stored)


def _checked(table: Table, name: str, value: Any) -> Any:
    column = table.columns.get(name)
    if column is None:
        raise PermanentError(f"LIMS: table {table.name} has no column {name!r}")
    if value is None:
        return None
    kind = type(column.type).__visit_name__
    if isinstance(column.type, Enum):
        return _word(column, value)
    if isinstance(column.type, String):
        return _text(column, value)
    if kind in _RANGES:
        return _integer(column, value, *_RANGES[kind])
    if kind in _FLOATS:
        return _float(column, value)
    if isinstance(column.type, DateTime):
        return _moment(column, value)
    return value


def _word(column: "Column[Any]", value: Any) -> str:
    known = {str(word).lower(): str(word) for word in column.type.enums}  # type: ignore[attr-defined]  # an Enum
    word = known.get(str(value).lower())
    if word is None:
        raise _refusal(column, value, f"is none of {', '.join(known.values())}")
    return word


def _text(column: "Column[Any]", value: Any) -> str:
    text = str(value)
    length = getattr(column.type, "length", None)
    if length is not None and len(text) > length:
        raise _refusal(column, text, f"has {len(text)} characters, {length} fit")
    return text


def _integer(column: "Column[Any]", value: Any, lowest: int, highest: int) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _refusal(column, value, "is no number") from None
    if not math.isfinite(number) or number != int(number):
        raise _refusal(column, value, "is no whole number")
    if not lowest <= number <= highest:
        raise _refusal(column, value, f"is not within {lowest} and {highest}")
    return int(value) if isinstance(value, int) else int(number)


def _float(column: "Column[Any]", value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _refusal(column, value, "is no number") from None
    return number if math.isfinite(number) else None


def _moment(column: "Column[Any]", value: Any) -> datetime:
    """Return a moment in the facility's own time, which is what ISPyB holds."""
    if isinstance(value, datetime):
        moment = value
    else:
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            raise _refusal(column, value, "is no date and time") from None
    if moment.tzinfo is not None:
        moment = moment.astimezone().replace(tzinfo=None)
    return moment.replace(microsecond=0)


def _refusal(column: "Column[Any]", value: Any, why: str) -> PermanentError:
    shown = repr(value)
    if len(shown) > _LONGEST_SHOWN:
        shown = shown[:_LONGEST_SHOWN] + "…"
    return PermanentError(f"LIMS: {column.table.name}.{column.name}: {shown} {why}")
