"""`zocelery logs`: what the programs of a run print."""

import json
from collections.abc import Iterable
from typing import Any

import click

from zocelery.cli.runs import json_option
from zocelery.deployment import current_deployment
from zocelery.program_logs import LogPiece, follow_log, read_logs
from zocelery.run import ENDED, find_run
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
    if follow and found.state not in ENDED:
        pieces = follow_log(found, client)
    else:
        rows = deployment.history.run_programs(found.id)
        programs = [row for row in rows if node in (None, row["node"])]
        pieces = read_logs(found, client, programs)
    wanted = (piece for piece in pieces if node in (None, piece.node))
    if as_json:
        for piece in wanted:
            click.echo(json.dumps(_described(piece)))
    else:
        _print(wanted, is_named=node is None)


def _described(piece: LogPiece) -> dict[str, Any]:
    told: dict[str, Any] = {"node": piece.node, "item": piece.item, "text": piece.text}
    return told if piece.number is None else {**told, "try": piece.number}


def _print(pieces: Iterable[LogPiece], *, is_named: bool) -> None:
    """Print pieces one after the other, with a line before each change of speaker."""
    speaker, is_ended = "", True
    for piece in pieces:
        number = piece.number or 1
        which = f"try {number}" if number > 1 else ""
        name = " ".join(filter(None, (piece.node, piece.item, which)))
        if name != speaker:
            click.echo("" if is_ended else "\n", nl=False)
            if is_named or which:
                click.echo(f"==> {printable(name)} <==")
            speaker = name
        click.echo(printable(piece.text), nl=False)
        is_ended = piece.text.endswith("\n")
    click.echo("" if is_ended else "\n", nl=False)
