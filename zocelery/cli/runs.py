"""Commands about runs: what there was, how it stands, what came out."""

import json
import time
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zocelery import display
from zocelery.deployment import current_deployment
from zocelery.recipe import Recipe
from zocelery.recipe_format import dump_recipe
from zocelery.run import Run, as_result, find_run, is_result
from zocelery.terminal import printable

LISTED = ("run", "recipe", "state", "submitted", "ended", "error", "rerun_of")


def json_option(command: Any) -> Any:
    """Add the option --json."""
    return click.option("--json", "as_json", is_flag=True, help="JSON lines.")(command)


@click.group(invoke_without_command=True)
@click.option("--limit", default=20, show_default=True, help="How many, newest first.")
@json_option
@click.pass_context
def runs(context: click.Context, limit: int, as_json: bool) -> None:
    """List the newest runs, or prune old ones."""
    if context.invoked_subcommand is None:
        _list_runs(limit, as_json)


@runs.command()
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    required=True,
    metavar="DAYS",
    help="Since the end of the run.",
)
@click.option("--dry-run", is_flag=True, help="Only say which; forget nothing.")
@json_option
def prune(days: float, dry_run: bool, as_json: bool) -> None:
    """Forget old runs: their history, live state and working folders.

    A run that goes on, or of which a re-run is kept, stays. Dead letters of what is
    forgotten are named and stay where they are.
    """
    from zocelery.celery import app
    from zocelery.retention import prune as forget
    from zocelery.submission import check_servers

    deployment = current_deployment()
    check_servers(app, deployment)
    for found in forget(app, deployment, days, dry_run=dry_run):
        if as_json:
            click.echo(found.model_dump_json())
            continue
        click.echo(printable(f"{found.run} {found.recipe} {found.state}"))
        for letter in found.dead_letters:
            note = printable(f"Note: its dead letter stays: {letter}")
            click.echo(note, err=True)


def _list_runs(limit: int, as_json: bool) -> None:
    rows = current_deployment().history.recent_runs(limit)
    if as_json:
        for row in rows:
            click.echo(json.dumps({name: row[name] for name in LISTED}))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("run", "recipe", "state", "submitted", "took", "re-run of"):
        table.add_column(name, no_wrap=name == "run")
    for row in rows:
        took = f"{row['ended'] - row['submitted']:.1f} s" if row["ended"] else ""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["submitted"]))
        first = (row["rerun_of"] or "")[:8]
        cells = (row["run"], row["recipe"], row["state"], when, took, first)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    Console().print(table)


@click.command()
@click.argument("run")
@json_option
def status(run: str, as_json: bool) -> None:
    """Say how far RUN and each of its nodes is. RUN: an id, or the start of one."""
    found = _find(run).status()
    if as_json:
        click.echo(found.model_dump_json())
        return
    seconds = (found.ended or time.time()) - found.submitted
    Console().print(display.draw(found, seconds))
    if found.error:
        click.echo(printable(f"{found.state}: {found.error}"))


@click.command()
@click.argument("run")
@json_option
def show(run: str, as_json: bool) -> None:
    """Show all that is known of RUN as JSON.

    Recipe, parameters, nodes, tries, programs, results, failed members.
    """
    history = current_deployment().history
    row = history.run(run)
    known = {
        **row,
        "document": dump_recipe(Recipe.restore(row["document"])),
        "nodes": history.run_nodes(row["run"]),
        "tries": history.run_tries(row["run"]),
        "programs": history.run_programs(row["run"]),
        "failures": history.run_failures(row["run"]),
    }
    click.echo(json.dumps(known, indent=None if as_json else 2))


@click.command()
@click.argument("run")
@click.option("--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--node", help="Only the results of this node.")
@json_option
def results(run: str, follow: bool, node: str | None, as_json: bool) -> None:
    """Print the results of RUN, members of fan-outs included, as they came."""
    found = _find(run)
    events = found.stream(node) if follow else _known(found, node)
    for result in events:
        if as_json:
            click.echo(json.dumps(result))
        else:
            where = " ".join(filter(None, (result["node"], result["item"])))
            told = json.dumps(result["value"]) if result["ok"] else result["error"]
            click.echo(printable(f"{where}: {told}"))


@click.command()
@click.argument("run")
@json_option
def cancel(run: str, as_json: bool) -> None:
    """Cancel RUN: what has not begun ends without doing its work."""
    found = _find(run)
    found.cancel()
    row = {"run": found.id, "state": found.state}
    click.echo(json.dumps(row) if as_json else f"{found.id} {found.state}")


def _find(run: str) -> Run:
    return find_run(run, current_deployment())


def _known(run: Run, node: str | None) -> Any:
    """Yield the results that are known now: live ones, else those in the history."""
    told = [as_result(e) for e in run.events(wait=False) if is_result(e)]
    if not told:
        told = [
            {"node": name, "item": "", "ok": True, "value": value}
            for name, value in run.results().items()
        ]
        told += [
            {"node": f["node"], "item": f["item"], "ok": False, "error": f["error"]}
            for f in run.failures()
        ]
    return (result for result in told if node in (None, result["node"]))
