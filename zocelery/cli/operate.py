"""Commands for those who run a deployment: topology, checks, probes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from zocelery.cli.queues import queue_depth
from zocelery.deployment import current_deployment, without_password
from zocelery.errors import ZoceleryError
from zocelery.pulse import (
    ALIVE_VARIABLE,
    READY_VARIABLE,
    check_alive,
    check_ready,
)
from zocelery.queues import all_queue_names
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
def check(as_json: bool) -> None:
    """Look whether configuration, servers and tasks are as they should be.

    Compiles the kernels as well, so that the first image need not wait for it.
    """
    for subject, found in _look_at_everything():
        if as_json:
            click.echo(json.dumps({"check": subject, "ok": True, "found": found}))
        else:
            text = ", ".join(found) if isinstance(found, list) else found
            click.echo(f"{subject:<13} {text}")
    if not as_json:
        click.echo("all is well")


def _look_at_everything() -> Iterator[tuple[str, str | list[str]]]:
    """Yield what is in order and what it is, in the order of looking.

    Raises:
        ZoceleryError: what comes next is not in order.
    """
    from zocelery.celery import app
    from zocelery.registry import load_catalogue
    from zocelery.submission import check_servers

    settings = current_settings()
    yield "environment", settings.environment
    tasks = list(load_catalogue(settings.queues))
    yield "tasks", [task.name for task in tasks]
    for task in tasks:
        if task.warm_up is not None:
            task.warm_up()
    yield "kernels", "compiled"
    check_servers(app, current_deployment())
    yield "broker", without_password(settings.broker.url)
    yield "redis", without_password(settings.redis.url)
    yield "history", without_password(settings.history.url)
    yield "schema", current_deployment().history.revision
    with app.connection_for_write() as connection:
        names = all_queue_names(settings)
        missing = [name for name in names if queue_depth(connection, name)[0] is None]
    if missing:
        raise ZoceleryError(
            f"queues not declared: {', '.join(missing)}; 'zocelery topology apply' does"
        )
    yield "queues", list(names)


@click.group()
def probe() -> None:
    """Liveness and readiness of one worker, for Kubernetes and systemd.

    The worker writes the files that ZOCELERY_READY_FILE and ZOCELERY_ALIVE_FILE name.
    """


def _file_option(variable: str) -> Callable[[Any], Any]:
    """Return the option that names a worker's file."""
    return click.option(
        "--file",
        "path",
        envvar=variable,
        required=True,
        type=click.Path(path_type=Path),
        help="The worker's file.",
    )


@probe.command()
@_file_option(READY_VARIABLE)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def ready(path: Path, as_json: bool) -> None:
    """Exit 0 if the worker takes messages, else 2."""
    check_ready(path)
    click.echo(json.dumps({"file": str(path), "ready": True}) if as_json else "ready")


@probe.command()
@_file_option(ALIVE_VARIABLE)
@click.option("--most", default=30.0, show_default=True, help="Seconds since a pulse.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def live(path: Path, most: float, as_json: bool) -> None:
    """Exit 0 if the worker's main loop goes round, else 2."""
    check_alive(path, most)
    click.echo(json.dumps({"file": str(path), "alive": True}) if as_json else "alive")
