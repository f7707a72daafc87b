"""`zocelery pickup`: send what was submitted while the servers were away."""

import sys
import time

import click

from zocelery.deployment import current_deployment
from zocelery.terminal import printable


@click.command()
@click.option(
    "--every",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Go on, looking so often, until interrupted.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def pickup(every: float | None, as_json: bool) -> None:
    """Send the requests that wait in the drop folder, oldest first.

    `zocelery submit` stores them there while a server is away. What can never be sent
    is moved to the folder `refused` in it, with the reason beside it; exit 1 then.
    """
    refused = _look(as_json)
    while every is not None:
        time.sleep(every)
        refused = _look_again(as_json) or refused
    sys.exit(1 if refused else 0)


def _look(as_json: bool) -> bool:
    """Pick up once; return whether something was refused."""
    from zocelery.drop_folder import pick_up, require_folder

    refused = False
    for found in pick_up(require_folder(current_deployment())):
        refused = refused or found.event == "refused"
        if as_json:
            click.echo(found.model_dump_json())
        elif found.event == "sent":
            click.echo(found.run)
        else:
            told = printable(f"{found.event} {found.file}: {found.reason}")
            click.echo(told, err=True)
    return refused


def _look_again(as_json: bool) -> bool:
    from zocelery.drop_folder import AWAY_ERRORS

    try:
        return _look(as_json)
    except AWAY_ERRORS as error:
        click.echo(f"Note: {printable(error)}", err=True)
        return False
