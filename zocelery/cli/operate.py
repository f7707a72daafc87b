"""Commands for those who run a deployment: topology, queues, checks, probes."""

import json
from pathlib import Path
from typing import Any

import click
from amqp.exceptions import NotFound
from rich.console import Console
from rich.table import Table

from zocelery.deployment import current_deployment, without_password
from zocelery.errors import ZoceleryError
from zocelery.pulse import check_alive, check_ready
from zocelery.queues import QUEUE_NAMES, dead_letter_queue
from zocelery.settings import current_settings


@click.group()
def topology() -> None:
    """Exchanges and queues of the deployment."""


@topology.command("apply")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def apply_command(as_json: bool) -> None:
    """Declare all exchanges and queues; doing it again changes nothing."""
    from zocelery.celery import app, apply_topology
    from zocelery.submission import check_servers

    check_servers(app, current_deployment())
    with app.connection_for_write() as connection:
        names = apply_topology(connection, current_settings())
    for name in names:
        click.echo(json.dumps({"queue": name}) if as_json else f"declared {name}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def queues(as_json: bool) -> None:
    """Say how many messages and workers each queue has."""
    from zocelery.celery import app
    from zocelery.submission import check_servers

    check_servers(app, current_deployment())
    with app.connection_for_write() as connection:
        names = [*QUEUE_NAMES, *map(dead_letter_queue, QUEUE_NAMES)]
        rows = [(name, *_depth(connection, name)) for name in names]
    if as_json:
        for name, messages, consumers in rows:
            row = {"queue": name, "messages": messages, "consumers": consumers}
            click.echo(json.dumps(row))
        return
    table = Table("queue", "messages", "consumers", box=None, pad_edge=False)
    for name, messages, consumers in rows:
        style = "red" if name.startswith("dlq.") and messages else ""
        missing = messages is None
        shown = ("not declared", "") if missing else (str(messages), str(consumers))
        table.add_row(name, *shown, style=style)
    Console().print(table)


@click.command()
def check() -> None:
    """Look whether configuration, servers and tasks are as they should be.

    Compiles the kernels as well, so that the first image need not wait for it.
    """
    from zocelery.celery import app
    from zocelery.registry import load_catalogue
    from zocelery.submission import check_servers

    settings = current_settings()
    click.echo(f"environment   {settings.environment}")
    tasks = list(load_catalogue(settings.queues))
    click.echo(f"tasks         {', '.join(task.name for task in tasks)}")
    for task in tasks:
        if task.warm_up is not None:
            task.warm_up()
    click.echo("kernels       compiled")
    check_servers(app, current_deployment())
    click.echo(f"broker        {without_password(settings.broker.url)}")
    click.echo(f"redis         {without_password(settings.redis.url)}")
    click.echo(f"history       {without_password(settings.history.url)}")
    with app.connection_for_write() as connection:
        missing = [n for n in QUEUE_NAMES if _depth(connection, n)[0] is None]
    if missing:
        raise ZoceleryError(
            f"queues not declared: {', '.join(missing)}; 'zocelery topology apply' does"
        )
    click.echo("all is well")


@click.group()
def probe() -> None:
    """Liveness and readiness of one worker, for Kubernetes and systemd.

    The worker writes the files that ZOCELERY_READY_FILE and ZOCELERY_ALIVE_FILE name.
    """


@probe.command()
@click.option(
    "--file",
    "path",
    envvar="ZOCELERY_READY_FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="The worker's file.",
)
def ready(path: Path) -> None:
    """Exit 0 if the worker takes messages, else 2."""
    check_ready(path)
    click.echo("ready")


@probe.command()
@click.option(
    "--file",
    "path",
    envvar="ZOCELERY_ALIVE_FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="The worker's file.",
)
@click.option("--most", default=30.0, show_default=True, help="Seconds since a pulse.")
def live(path: Path, most: float) -> None:
    """Exit 0 if the worker's main loop goes round, else 2."""
    check_alive(path, most)
    click.echo("alive")


def _depth(connection: Any, name: str) -> tuple[int | None, int | None]:
    """Return messages and consumers of a queue; None if it is not declared."""
    with connection.channel() as channel:
        try:
            answer = channel.queue_declare(name, passive=True)
        except (NotFound, *connection.channel_errors):
            return None, None
        return answer.message_count, answer.consumer_count
