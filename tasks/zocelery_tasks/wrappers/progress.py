"""Progress that is read from what programs print."""

import re

from zocelery.errors import ParameterError
from zocelery_tasks.wrappers.program_log import ProgressParser


def pattern_progress(pattern: str) -> ProgressParser:
    """Return a parser for lines that a regular expression describes.

    Its groups `seen` and `expected` are numbers; both may be missing.

    Raises:
        ParameterError: it is no regular expression.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ParameterError(
            f"progress: {pattern!r} is no expression: {error}"
        ) from None

    def _parse(line: str) -> tuple[str, int, int | None] | None:
        found = expression.search(line)
        if found is None:
            return None
        groups = found.groupdict()
        return (
            found[0].strip(),
            _number(groups.get("seen")) or 0,
            _number(groups.get("expected")),
        )

    return _parse


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
