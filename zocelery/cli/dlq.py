"""`zocelery dlq`: what could not be worked on, and what is to become of it."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zocelery.deployment import current_deployment

if TYPE_CHECKING:
    from zocelery.dead_letter_format import DeadLetter
    from zocelery.dead_letters import DeadLetters, Outcome

UNITS: Mapping[str, float] = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
"""Seconds."""
SHOWN_ERROR = 100


class Age(click.ParamType[float]):
    """A time span as people write it: 30s, 10m, 2h, 2d, 1w."""

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no time span such as 30s, 10m, 2h or 2d")
        return float(found[1]) * UNITS[found[2]]


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says which dead letters are meant."""
    for decorate in reversed(
        (
            click.argument("ids", nargs=-1, metavar="[ID]..."),
            click.option("--queue", "queues", multiple=True, help="Work queue."),
            click.option("--task", "tasks", multiple=True, help="Task."),
            click.option(
                "--run", "runs", multiple=True, help="Run, or the start of its id."
            ),
            click.option("--node", "nodes", multiple=True, help="Node of the recipe."),
            click.option("--older-than", type=Age(), help="Age: 30s, 10m, 2h, 2d, 1w."),
            click.option("--json", "as_json", is_flag=True, help="JSON lines."),
        )
    ):
        command = decorate(command)
    return command


all_option = click.option("--all", "everything", is_flag=True, help="All of them.")


@click.group()
def dlq() -> None:
    """Dead letters: what could not be worked on waits in dlq.QUEUE, with its reason.

    Select by ID (or its start), --queue, --task, --run, --node, --older-than; several
    of one kind are alternatives, different kinds must all fit.

    \b
    zocelery dlq list --older-than 2d
    zocelery dlq show 3f2a
    zocelery dlq reinject --run 8c41          once the cause is mended
    zocelery dlq drop --node spot_finding     give up; what waits goes on without
    zocelery dlq purge --all -o letters.jsonl
    zocelery dlq reinject --from letters.jsonl
    """


@dlq.command("list")
@selection_options
def list_command(as_json: bool, **selected: Any) -> None:
    """List dead letters, oldest first in each queue; nothing is changed."""
    found = _desk().look(_selection(**selected))
    if as_json:
        for letter in found:
            click.echo(json.dumps(letter.summary()))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("id", "queue", "task", "run", "node", "age", "error"):
        table.add_column(name, no_wrap=name != "error")
    for letter in found:
        table.add_row(*_row(letter))
    Console().print(table)


@dlq.command()
@selection_options
@click.option(
    "--raw", is_flag=True, help="The whole messages, as 'reinject --from' reads them."
)
def show(as_json: bool, raw: bool, **selected: Any) -> None:
    """Show dead letters in full: reason, host, tries, time, traceback, payload."""
    found = 0
    for letter in _desk().look(_selection(**selected)):
        found += 1
        if raw:
            click.echo(letter.to_line())
        elif as_json:
            click.echo(json.dumps(letter.details()))
        else:
            _show(letter)
    _say_if_none(found)


@dlq.command()
@selection_options
@all_option
@click.option(
    "--from",
    "file",
    type=click.Path(path_type=Path),
    help="A file that 'purge' or 'show --raw' has written; it stays as it is.",
)
def reinject(as_json: bool, everything: bool, file: Path | None, **sel: Any) -> None:
    """Send dead letters to their work queues again, and let their runs go on.

    Exit 1 if some cannot be: they stay where they are, and it is said why.
    """
    if file is None:
        _require_choice(everything, sel)
        outcomes = _desk().reinject(_selection(**sel))
    else:
        outcomes = _desk().reinject_file(file, _selection(**sel))
    sys.exit(_report(outcomes, as_json, "reinjected"))


@dlq.command()
@selection_options
@all_option
@click.option("--reason", default="", help="Why, for the history of the run.")
def drop(as_json: bool, everything: bool, reason: str, **sel: Any) -> None:
    """Give dead letters up: their nodes have failed, what waits for them goes on."""
    _require_choice(everything, sel)
    outcomes = _desk().drop(_selection(**sel), reason)
    sys.exit(_report(outcomes, as_json, "dropped"))


@dlq.command()
@selection_options
@all_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A new file, or a folder for one; by default here.",
)
@click.option(
    "--keep-waiting",
    is_flag=True,
    help="Let the runs wait for what is in the file, instead of dropping it.",
)
def purge(
    as_json: bool,
    everything: bool,
    output: Path | None,
    keep_waiting: bool,
    **sel: Any,
) -> None:
    """Move dead letters to a file, then drop them.

    Nothing leaves the broker before it is on the disk. With --keep-waiting their runs
    go on waiting: 'reinject --from FILE' completes them.
    """
    from zocelery.dead_letters import new_file_name

    _require_choice(everything, sel)
    folder = output or Path()
    file = new_file_name(folder) if folder.is_dir() else folder
    outcomes = _desk().purge(_selection(**sel), file, drop=not keep_waiting)
    code = _report(outcomes, as_json, "purged")
    click.echo(f"written to {file}", err=True)
    sys.exit(code)


def _desk() -> "DeadLetters":
    from zocelery.celery import app
    from zocelery.dead_letters import DeadLetters
    from zocelery.registry import load_tasks
    from zocelery.submission import check_servers

    deployment = current_deployment()
    check_servers(app, deployment)
    load_tasks()
    return DeadLetters(app, deployment)


def _selection(**selected: Any) -> Any:
    from zocelery.dead_letter_box import Selection

    return Selection(**selected)


def _require_choice(everything: bool, selected: Mapping[str, Any]) -> None:
    if not everything and not any(v or v == 0 for v in selected.values()):
        raise click.UsageError("say which dead letters: an ID, an option, or --all")


def _report(outcomes: "Iterable[Outcome]", as_json: bool, verb: str) -> int:
    """Print what became of each letter; return the exit code."""
    done = left = 0
    for outcome in outcomes:
        done, left = done + outcome.done, left + (not outcome.done)
        state = verb if outcome.done else "left"
        if as_json:
            line = {"state": state, "note": outcome.note, **outcome.letter.summary()}
            click.echo(json.dumps(line))
        else:
            click.echo(_printable(f"{state} {outcome.letter.id}: {outcome.note}"))
    _say_if_none(done + left)
    if done + left:
        click.echo(f"{done} {verb}, {left} left", err=True)
    return 1 if left else 0


def _say_if_none(found: int) -> None:
    if not found:
        click.echo("no dead letter fits", err=True)


def _row(letter: "DeadLetter") -> list[Text]:
    run = (letter.run or "")[:8]
    cells = (letter.id[:8], letter.queue, letter.task, run, letter.node)
    error = letter.error
    short = error if len(error) <= SHOWN_ERROR else error[:SHOWN_ERROR] + "..."
    return [Text(_printable(cell or "")) for cell in (*cells, _age(letter), short)]


def _age(letter: "DeadLetter") -> str:
    if letter.time is None:
        return "?"
    seconds = max(0.0, time.time() - letter.time)
    unit = next(u for u in "wdhms" if seconds >= UNITS[u] or u == "s")
    return f"{seconds / UNITS[unit]:.0f}{unit}"


def _show(letter: "DeadLetter") -> None:
    when = letter.time
    shown = {
        **letter.summary(),
        "time": when and time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when)),
        "payload": json.dumps(letter.payload),
    }
    for name, value in shown.items():
        if value not in (None, ""):
            click.echo(_printable(f"{name:<11} {value}"))
    for line in letter.traceback.splitlines():
        click.echo(_printable(f"            {line}"))
    click.echo()


def _printable(text: str) -> str:
    """Return a stranger's text without what would command the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
