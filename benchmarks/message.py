"""`message`: how long the message of one image is."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
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
TASK = "zocelery.per_image_analysis"
IMAGES = 2
PATIENCE = 60.0
_FLAGS = 2
"""Bytes that tell which properties a message has."""
ABOUT = """\
The longest message of an image that a watch leaves in the queue `images`, taken from
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
            file = simulate_file(folder, "test_128k", IMAGES)
            rows += [_weigh(recipe, file) for recipe in RECIPES]
    report.table("message of one image", rows)


def _folder(parent: Path, length: int) -> Path:
    """Return a folder whose path has so many characters."""
    missing = length - len(str(parent)) - 1
    if missing < 1:
        raise click.BadParameter(f"paths here have at least {len(str(parent))} letters")
    return parent / ("x" * missing)


def _weigh(recipe: str, file: Path) -> dict[str, Any]:
    """Submit a recipe and weigh the longest of its messages for images."""
    scans = ("_xy", "_xz") if recipe.endswith("3d") else ("",)
    images = {f"images{scan}": str(file) for scan in scans}
    grids = {f"grid{scan}": f"{IMAGES}x1" for scan in scans}
    run = submit(recipe, images | grids)
    body, headers = max(islice(_messages(), IMAGES * len(scans)), key=sum)
    run.cancel()
    return {
        "recipe": recipe,
        "path": len(str(file)),
        "body": body,
        "headers": headers,
        "sum": body + headers,
    }


def _messages() -> Iterator[tuple[int, int]]:
    """Take messages of images from the queue; yield bytes of body and of headers.

    Raises:
        ServerUnreachableError: if none comes.
    """
    from zocelery.celery import app

    give_up = time.monotonic() + PATIENCE
    with app.connection_for_read() as connection:
        channel: Any = connection.channel()
        while time.monotonic() < give_up:
            found = channel.basic_get("images", no_ack=True)
            if found is None:
                time.sleep(0.02)
            elif found.headers["task"] == TASK:
                yield _size(found.body), _FLAGS + _packed(found.properties)
    raise ServerUnreachableError(f"no message of an image in {PATIENCE:g} s")


def _size(body: bytes | str) -> int:
    return len(body) if isinstance(body, bytes) else len(body.encode())


def _packed(properties: Mapping[str, Any]) -> int:
    """Return the bytes of a message's properties on their way to RabbitMQ."""
    packed: list[int] = [
        len(dumps(form, (properties[name],)))
        for name, form in AmqpMessage.PROPERTIES
        if name in properties
    ]
    return sum(packed)
