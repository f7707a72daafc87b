"""`zocelery logs`: what the programs of a run print."""

import json
from collections.abc import Iterable

import click

from zocelery.cli.runs import json_option
from zocelery.deployment import current_deployment
from zocelery.program_logs import LogPiece, follow_log, read_logs
from zocelery.run import find_run
from zocelery.terminal import printable


@click.command()
@click.argument("run")
@click.option("--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--node", help="Only what the program of this node prints.")
@json_option
def logs(run: str, follow: bool, node: str | None, as_json: bool) -> None:
    """Print what the programs of RUN have printed. RUN: an id, or the start of one."""
    deployment = current_deployment()
    found = find_run(run, deployment)
    client = deployment.store.client
    pieces: Iterable[LogPiece]
    if follow:
        pieces = follow_log(found, client)
    else:
        programs = deployment.history.run_programs(found.id)
        pieces = read_logs(found, client, programs)
    speaker = ""
    for piece in pieces:
        if node not in (None, piece.node):
            continue
        if as_json:
            told = {"node": piece.node, "item": piece.item, "text": piece.text}
            click.echo(json.dumps(told))
            continue
        name = f"{piece.node} {piece.item}".strip()
        if node is None and name != speaker:
            click.echo(f"==> {printable(name)} <==")
            speaker = name
        click.echo(printable(piece.text), nl=not piece.text.endswith("\n"))
