"""The live progress of a run in a terminal."""

import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console, JustifyMethod
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from zocelery.run import NodeStatus, Run, RunStatus, as_result, is_result
from zocelery.terminal import printable

REFRESH_SECONDS = 0.2
LONGEST_PROGRESS = 60
Progress = dict[str, tuple[int, int | None]]
"""What watches have seen and expect, by node."""
_STYLES = {
    "done": "green",
    "finished": "green",
    "failed": "red",
    "parked": "red",
    "reused": "cyan",
    "running": "yellow",
    "skipped": "dim",
    "waiting": "dim",
    "cancelled": "magenta",
}
_COLUMNS: tuple[tuple[str, JustifyMethod], ...] = (
    ("node", "left"),
    ("state", "left"),
    ("done", "right"),
    ("", "left"),
    ("failed", "right"),
    ("rate", "right"),
    ("", "left"),
)


def follow(run: Run, console: Console) -> Iterator[dict[str, Any]]:
    """Yield the results of a run as they come, drawing its progress on `console`.

    On anything but a terminal nothing is drawn.
    """
    started = time.monotonic()
    progress: Progress = {}
    with Live(console=console, auto_refresh=False, transient=True) as live:
        drawn = 0.0
        for event in run.events():
            counts = (event.get("seen"), event.get("expected"))
            if event.get("state") == "progress" and any(counts):
                progress[event["node"]] = (event["seen"], event["expected"])
            if is_result(event):
                yield as_result(event)
            now = time.monotonic()
            if console.is_terminal and now - drawn > REFRESH_SECONDS:
                drawn = now
                live.update(draw(run.status(), now - started, progress), refresh=True)


def draw(status: RunStatus, seconds: float, progress: Progress | None = None) -> Table:
    """Return a table with one line per node: state, n/N, a bar and a rate."""
    title = f"{status.recipe}  {status.run[:8]}  {status.state}"
    table = Table(
        title=Text(printable(title)), title_justify="left", box=None, pad_edge=False
    )
    for name, justify in _COLUMNS:
        table.add_column(name, justify=justify)
    for node in status.nodes:
        _add_row(table, node, seconds, (progress or {}).get(node.node))
    return table


def _add_row(
    table: Table,
    node: NodeStatus,
    seconds: float,
    seen: tuple[int, int | None] | None,
) -> None:
    total, over = node.total, node.done + node.failed
    if seen is not None and node.state == "running":  # a watch: what it has seen
        over, total = seen[0], max(seen[0], seen[1] or 0)
    rate = f"{over / seconds:.0f}/s" if total > 1 and over and seconds > 0 else ""
    table.add_row(
        Text(printable(node.node)),
        Text(node.state, style=_STYLES.get(node.state, "")),
        f"{over}/{total}" if total else "",
        ProgressBar(total=total or 1, completed=over, width=24),
        Text(str(node.failed), style="red") if node.failed else "",
        rate,
        Text(printable(node.progress or "")[:LONGEST_PROGRESS], style="dim"),
    )
