"""Texts of others on a terminal: shown as they are, never obeyed."""

import re

_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1, but for tab and line feed
    r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # lines, directions
    r"\ud800-\udfff]"
)


def printable(text: object) -> str:
    """Return a text in which control characters are spelt out: `\\x1b` for escape.

    Line ends and tabs stay. What would clear a screen, retitle a window, overwrite the
    line before or turn the direction of writing is readable instead.
    """
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], str(text))
