"""`message`: how long the message of one image is."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from amqp.basic_message import Message as AmqpMessage
from amqp.serialization import dumps

from benchmarks.deployment import deployment
from benchmarks.images import simulate_file
from benchmarks.report import Report
from zocelery.errors import ServerUnreachableError
from zocelery.submission import submit

LENGTHS = (60, 100, 200)
RECIPES = ("grid-scan", "grid-scan-3d")
PATIENCE = 30.0
_FLAGS = 2
"""Bytes that tell which properties a message has."""
ABOUT = """\
The first message of an image that a watch leaves in the queue `images`, taken from
RabbitMQ. `path`: length of the master file's path. `body`, `headers` (with all
properties) and their sum in bytes; the bound of the design is 1500, whatever the
recipe's size."""


@click.command("message")
@click.option(
    "--length",
    "lengths",
    type=click.IntRange(40, 250),
    multiple=True,
    default=LENGTHS,
    show_default=True,
    help="Of the path of the images, in characters; again for more.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def command(lengths: tuple[int, ...], as_json: bool) -> None:
    """Weigh the message that asks for the analysis of one image.

    Starts RabbitMQ, Redis and the worker that watches.
    """
    report = Report("message", ABOUT, as_json=as_json)
    rows = []
    with ExitStack() as stack:
        deployed = stack.enter_context(deployment())
        stack.enter_context(deployed.watchers())
        for length in lengths:
            folder = _folder(deployed.folder, length - len("/lyso_1.nxs"))
            file = simulate_file(folder, "test_128k", 2)
            for recipe in RECIPES:
                rows.append(_weigh(recipe, file))
    report.table("message of one image", rows)


def _folder(parent: Path, length: int) -> Path:
    """Return a folder whose path has so many characters."""
    missing = length - len(str(parent)) - 1
    if missing < 1:
        raise click.BadParameter(f"paths here have at least {len(str(parent))} letters")
    return parent / ("x" * missing)


def _weigh(recipe: str, file: Path) -> dict[str, Any]:
    """Submit a recipe and weigh its first message for an image."""
    images = ("images_xy", "images_xz") if recipe.endswith("3d") else ("images",)
    grids = (name.replace("images", "grid") for name in images)
    parameters = dict.fromkeys(images, str(file)) | dict.fromkeys(grids, "2x1")
    run = submit(recipe, parameters)
    body, properties = _take()
    run.cancel()
    size = len(body) if isinstance(body, bytes) else len(body.encode())
    packed: list[int] = [
        len(dumps(form, (properties[name],)))
        for name, form in AmqpMessage.PROPERTIES
        if name in properties
    ]
    headers = _FLAGS + sum(packed)
    return {
        "recipe": recipe,
        "path": len(str(file)),
        "body": size,
        "headers": headers,
        "sum": size + headers,
    }


def _take() -> tuple[Any, dict[str, Any]]:
    """Return body and properties of the next message, and drop those behind it."""
    from zocelery.celery import app

    give_up = time.monotonic() + PATIENCE
    with app.connection_for_read() as connection:
        channel: Any = connection.channel()
        while time.monotonic() < give_up:
            found = channel.basic_get("images", no_ack=True)
            if found is not None:
                time.sleep(0.5)
                channel.queue_purge("images")
                return found.body, found.properties
            time.sleep(0.02)
    raise ServerUnreachableError(f"no message of an image in {PATIENCE:g} s")
