"""The tables of a CIF text."""

import re

Row = dict[str, str]
"""One row of a table: the values by the part of their names after the point."""

_TOKEN = re.compile(
    r"""
    ^;.*?^;                # a text field, between semicolons at starts of lines
    | \#[^\n]*             # a comment
    | '.*?'(?=\s|\Z)
    | ".*?"(?=\s|\Z)
    | \S+
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_KEYWORDS = ("loop_", "data_")


def read_tables(text: str) -> dict[str, list[Row]]:
    """Return the tables of a CIF text, by category (`axis`, `array_structure_list`).

    Names are taken in lower case. A name without a value, and a row that is cut off,
    are left out.
    """
    tables: dict[str, list[Row]] = {}
    names: list[str] = []
    values: list[str] = []
    in_loop = False
    for token in (*_tokens(text), "data_"):
        if token.startswith("_") and not values:
            names = [*names, token] if in_loop else [token]
        elif token.startswith(("_", *_KEYWORDS)):
            if in_loop:
                _add_rows(tables, names, values)
            elif names and values:
                category, item = _split(names[0])
                tables.setdefault(category, [{}])[0][item] = _value(values[0])
            names = [token] if token.startswith("_") else []
            values = []
            in_loop = token == "loop_"
        else:
            values.append(token)
    return tables


def _tokens(text: str) -> list[str]:
    """Return names and keywords in lower case, and values as they are written."""
    tokens = []
    for token in _TOKEN.findall(text.replace("\r\n", "\n")):
        if token[0] == "_" or token.lower().startswith(_KEYWORDS):
            tokens.append(token.lower())
        elif token[0] != "#":
            tokens.append(token)
    return tokens


def _value(token: str) -> str:
    """Return what a value says, without its quotation marks."""
    return token[1:-1] if token[0] in "'\";" and len(token) > 1 else token


def _add_rows(
    tables: dict[str, list[Row]], names: list[str], values: list[str]
) -> None:
    if not names:
        return
    category = _split(names[0])[0]
    items = [_split(name)[1] for name in names]
    told = [_value(value) for value in values]
    tables.setdefault(category, []).extend(
        dict(zip(items, told[start : start + len(items)], strict=True))
        for start in range(0, len(told) - len(items) + 1, len(items))
    )


def _split(name: str) -> tuple[str, str]:
    category, _, item = name[1:].partition(".")
    return category, item
