"""The report of a run: one HTML page that needs nothing but itself.

The page runs no scripts and loads nothing: pictures are inside it, and a policy in its
head forbids the rest, whatever names, answers and logs hold.
"""

import base64
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from zocelery.run import NodeStatus, RunStatus
from zocelery.terminal import printable

LONGEST_TEXT = 20_000
"""Characters of an answer or a log that a page shows."""
MOST_FAILURES = 200
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 72em;
       padding: 0 1em; color: #1f2933; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .2em 1em .2em 0;
         border-bottom: 1px solid #e4e7eb; overflow-wrap: anywhere; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: #f5f7fa; padding: .8em; overflow-x: auto; line-height: 1.2; }
img { max-width: 100%; }
.done, .finished { color: #18794e; } .reused { color: #0b7285; }
.failed, .parked { color: #c92a2a; } .running { color: #99640c; }
.waiting, .skipped { color: #616e7c; } .cancelled { color: #862e9c; }
"""
_NODE_COLUMNS = ("node", "task", "state", "done", "failed", "started", "took", "error")
_NUMBERS = ("done", "failed", "started", "took")


@dataclass(frozen=True, slots=True)
class Report:
    """What is told of a run."""

    status: RunStatus
    parameters: Mapping[str, Any]
    graph: bytes | None
    """The recipe as SVG; None if it is too large for a picture."""
    answers: Sequence[tuple[str, str]]
    """The nodes at the end of the recipe, and what each answered, as text."""
    failures: Sequence[Mapping[str, Any]]
    """The failed members of fan-outs: node, item and error."""
    logs: Sequence[tuple[str, str]]
    """The programs of nodes that failed, and the end of what each printed."""


def draw_page(report: Report) -> str:
    """Return the page; all texts in it are escaped."""
    status = report.status
    title = _text(f"{status.recipe} {status.run[:8]}")
    body = "\n".join(_sections(report))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{title}: {_text(status.state)}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def shorten_text(text: str, *, keep_end: bool = False) -> str:
    """Return a text of at most `LONGEST_TEXT` characters, saying what was left out."""
    left_out = len(text) - LONGEST_TEXT
    if left_out <= 0:
        return text
    if keep_end:
        return f"[{left_out} characters before this]\n{text[-LONGEST_TEXT:]}"
    return f"{text[:LONGEST_TEXT]}\n[and {left_out} characters more]"


def _sections(report: Report) -> Iterator[str]:
    status = report.status
    yield f"<h1>{_text(status.recipe)} {_state(status.state)}</h1>"
    yield _facts(status)
    for name, text in report.answers:
        yield f"<h2>{_text(name)}</h2>\n<pre>{_text(shorten_text(text))}</pre>"
    yield "<h2>Nodes</h2>"
    rows = (_node_cells(node, status.submitted) for node in status.nodes)
    yield _table(_NODE_COLUMNS, rows)
    if report.graph is not None:
        data = base64.b64encode(report.graph).decode()
        yield "<h2>Recipe</h2>"
        yield f'<img alt="graph" src="data:image/svg+xml;base64,{data}">'
    if report.failures:
        yield "<h2>Failed members</h2>"
        yield _failure_table(report.failures)
    for name, text in report.logs:
        end = _text(shorten_text(text, keep_end=True))
        yield f"<h2>Log of {_text(name)}</h2>\n<pre>{end}</pre>"
    if report.parameters:
        yield "<h2>Parameters</h2>"
        given = sorted(report.parameters.items())
        cells = ([_text(k), _text(shorten_text(json.dumps(v)))] for k, v in given)
        yield _table(("name", "value"), cells)


def _facts(status: RunStatus) -> str:
    facts = [("run", status.run), ("submitted", _moment(status.submitted))]
    if status.ended is not None:
        facts.append(("took", f"{status.ended - status.submitted:.1f} s"))
    if status.rerun_of:
        facts.append(("re-run of", status.rerun_of))
    if status.error:
        facts.append(("error", status.error))
    facts.append(("this page", _moment(time.time())))
    return _table((), ([_text(name), _text(value)] for name, value in facts))


def _node_cells(node: NodeStatus, submitted: float) -> list[str]:
    """Return what the table of nodes says of one; times are s."""
    took = started = ""
    if node.started is not None:
        started = f"{node.started - submitted:+.2f} s"
        if node.ended is not None:
            took = f"{node.ended - node.started:.2f} s"
    done = f"{node.done}/{node.total}" if node.total else ""
    failed = str(node.failed) if node.failed else ""
    rest = (done, failed, started, took, node.error or "")
    named = [_text(node.node), _text(node.task or ""), _state(node.state)]
    return [*named, *map(_text, rest)]


def _failure_table(failures: Sequence[Mapping[str, Any]]) -> str:
    names = ("node", "item", "error")
    shown = failures[:MOST_FAILURES]
    table = _table(names, ([_text(f[name]) for name in names] for f in shown))
    left_out = len(failures) - len(shown)
    return f"{table}\n<p>and {left_out} more</p>" if left_out else table


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells are HTML already."""
    head = "".join(f"<th>{name}</th>" for name in columns)
    lines = [f"<tr>{head}</tr>"] if columns else []
    kinds = [' class="number"' if name in _NUMBERS else "" for name in columns]
    for row in rows:
        marks = kinds or [""] * len(row)
        cells = zip(marks, row, strict=True)
        line = "".join(f"<td{mark}>{cell}</td>" for mark, cell in cells)
        lines.append(f"<tr>{line}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _state(state: str) -> str:
    return f'<span class="{_text(state)}">{_text(state)}</span>'


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))


def _text(text: object) -> str:
    return escape(printable(text))
