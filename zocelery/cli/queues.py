"""`zocelery queues`: how full they are; pausing, draining and resuming them."""

import json
import time
from collections.abc import Callable
from typing import Any

import click
from amqp.exceptions import NotFound
from rich.console import Console
from rich.table import Table

from zocelery import identity
from zocelery.deployment import current_deployment
from zocelery.errors import ZoceleryError
from zocelery.pauses import Pauses
from zocelery.queues import QUEUE_NAMES, all_queue_names, dead_letter_queue
from zocelery.settings import current_settings


def json_option(command: Any) -> Any:
    """Add the option --json."""
    return click.option("--json", "as_json", is_flag=True, help="JSON lines.")(command)


def pause_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments of all commands about pauses."""
    for decorate in (
        json_option,
        click.option(
            "--beamline",
            default="",
            help="Only its workers (workers.beamline); by default all.",
        ),
        click.argument("queue", type=click.Choice(QUEUE_NAMES)),
    ):
        command = decorate(command)
    return command


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def queues(context: click.Context, as_json: bool) -> None:
    """Say how many messages and workers each queue has, or pause and resume one."""
    if context.invoked_subcommand is None:
        _list_queues(as_json)


@queues.command()
@pause_arguments
def pause(queue: str, beamline: str, as_json: bool) -> None:
    """Let workers take nothing more from QUEUE until it is resumed.

    What they have begun they finish. The pause holds for workers that start later.
    """
    _pauses().pause(queue, beamline, identity.host_name())
    _tell(queue, beamline, "paused", as_json)


@queues.command()
@pause_arguments
def resume(queue: str, beamline: str, as_json: bool) -> None:
    """Let workers take from QUEUE again; without --beamline all of them."""
    _pauses().resume(queue, beamline)
    _tell(queue, beamline, "resumed", as_json)


@queues.command()
@pause_arguments
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Give up waiting, exit 1; the queue stays paused.",
)
def drain(queue: str, beamline: str, as_json: bool, timeout: float | None) -> None:
    """Pause QUEUE and wait until nothing that was taken from it is under way."""
    from zocelery.celery import app
    from zocelery.draining import Draining

    _pauses().pause(queue, beamline, identity.host_name())
    draining = Draining(app, current_deployment(), queue, beamline)
    give_up = None if timeout is None else time.monotonic() + timeout
    while busy := draining.busy():
        if give_up is not None and time.monotonic() > give_up:
            raise ZoceleryError(f"queue {queue} is paused and not idle: {busy}")
        time.sleep(0.5)
    _tell(queue, beamline, "drained", as_json)


def queue_depth(connection: Any, name: str) -> tuple[int | None, int | None]:
    """Return messages and consumers of a queue; None if it is not declared."""
    with connection.channel() as channel:
        try:
            answer = channel.queue_declare(name, passive=True)
        except (NotFound, *connection.channel_errors):
            return None, None
        return answer.message_count, answer.consumer_count


def _pauses() -> Pauses:
    deployment = current_deployment()
    deployment.check_store()
    return Pauses(deployment.store.client)


def _tell(queue: str, beamline: str, state: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"queue": queue, "beamline": beamline, "state": state}))
    else:
        click.echo(f"{state} {queue}{f' of {beamline}' if beamline else ''}")


def _list_queues(as_json: bool) -> None:
    from zocelery.celery import app
    from zocelery.submission import check_servers

    check_servers(app, current_deployment())
    with app.connection_for_write() as connection:
        known = all_queue_names(current_settings())
        names = [*known, *map(dead_letter_queue, known)]
        rows = [(name, *queue_depth(connection, name)) for name in names]
    paused: dict[str, list[str]] = {}
    for pause in _pauses().all():
        paused.setdefault(pause.queue, []).append(pause.beamline or "all")
    if as_json:
        for name, messages, consumers in rows:
            row = {"queue": name, "messages": messages, "consumers": consumers}
            click.echo(json.dumps({**row, "paused": paused.get(name, [])}))
        return
    table = Table("queue", "messages", "consumers", "paused", box=None, pad_edge=False)
    for name, messages, consumers in rows:
        style = "red" if name.startswith("dlq.") and messages else ""
        missing = messages is None
        shown = ("not declared", "") if missing else (str(messages), str(consumers))
        table.add_row(name, *shown, ", ".join(paused.get(name, ())), style=style)
    Console().print(table)
