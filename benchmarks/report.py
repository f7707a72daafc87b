"""What a benchmark prints: Markdown for people and pages, or JSON lines."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import click

from benchmarks.machine import describe_machine
from benchmarks.rounds import Spread

Row = Mapping[str, Any]
"""By the columns' names; all rows of a table have the same."""


class Report:
    """One benchmark's section of the page of results, printed as it comes.

    As JSON: a line {"benchmark", "command", "date", "machine", ...}, then a line
    {"table", "rows"} for each table.
    """

    def __init__(self, benchmark: str, about: str, *, as_json: bool) -> None:
        """Print what comes, on which machine and by which command."""
        self._as_json = as_json
        command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
        facts = describe_machine()
        if as_json:
            self._line({"benchmark": benchmark, "command": command, **facts})
            return
        click.echo(f"## {benchmark}\n\n{about}\n")
        click.echo(f"```sh\nuv run {command}\n```\n")
        click.echo("\n".join(f"- {name}: {value}" for name, value in facts.items()))

    def table(self, title: str, rows: Sequence[Row]) -> None:
        """Print a table."""
        if self._as_json:
            self._line({"table": title, "rows": rows})
            return
        click.echo(f"\n### {title}\n")
        if rows:
            click.echo("\n".join(_markdown(rows)))

    def remark(self, text: str) -> None:
        """Print a sentence; with JSON, to stderr."""
        click.echo(text if self._as_json else f"\n{text}", err=self._as_json)

    def _line(self, content: Mapping[str, Any]) -> None:
        click.echo(json.dumps(content, default=_plain))


def progress(text: str) -> None:
    """Tell who waits what is being done."""
    click.echo(text, err=True)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{value!r} cannot be JSON")


def _markdown(rows: Sequence[Row]) -> list[str]:
    cells = [list(rows[0]), *([_text(v) for v in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [lines[0], rule, *lines[1:]]


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "NO"
        case float():
            return _number(value)
        case Spread():
            low, high = _number(value.low), _number(value.high)
            return f"{_number(value.median)} ({low}–{high})"
    return str(value)


def _number(value: float) -> str:
    """Return three digits, and more only before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")
