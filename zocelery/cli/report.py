"""`zocelery report`: a run as one HTML page."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from zocelery.deployment import Deployment, current_deployment
from zocelery.errors import InputFileError, RecipeError
from zocelery.program_logs import LogPiece, read_logs
from zocelery.recipe import Recipe
from zocelery.report_page import LONGEST_TEXT, Report, draw_page
from zocelery.run import Run, find_run
from zocelery.terminal import printable

_WELL = ("done", "running")


@click.command()
@click.argument("run")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE.html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page to write.",
)
def report(run: str, output: Path) -> None:
    """Write RUN as one HTML page, to be kept or sent. RUN: an id, or its start.

    It holds what came out (heat map and centre, merging statistics), how far each node
    is and how long it took, the recipe's picture, failed members, the end of what
    failed programs printed, and the parameters. A run that goes on is told as it is
    now.

    \b
    zocelery report 3f2a -o centring.html
    """
    deployment = current_deployment()
    page = draw_page(_collect(find_run(run, deployment), deployment))
    hidden = output.with_name(f".{output.name}.part")
    try:
        hidden.write_text(page, encoding="utf-8")
        hidden.replace(output)
    except OSError as error:
        raise InputFileError(
            f"{output}: cannot be written: {error.strerror}"
        ) from error
    click.echo(printable(output), err=True)


def _collect(run: Run, deployment: Deployment) -> Report:
    row = deployment.history.run(run.id)
    status = run.status()
    tasks = {node.node: node.task for node in status.nodes}
    answers = run.final_results().items()
    return Report(
        status=status,
        parameters=row["parameters"],
        graph=_draw(Recipe.restore(row["document"])),
        answers=[(node, _as_text(tasks.get(node), a)) for node, a in answers],
        failures=run.failures(),
        logs=list(_last_words(run, deployment)),
    )


def _draw(recipe: Recipe) -> bytes | None:
    """Return the picture of a recipe, None if it has too many nodes for one."""
    from zocelery.recipe_picture import draw_picture
    from zocelery.registry import current_catalogue

    try:
        return draw_picture(recipe, current_catalogue())
    except RecipeError:
        return None


def _as_text(task: str | None, answer: Any) -> str:
    """Return an answer as its task draws it on a terminal, else as JSON."""
    from zocelery.registry import current_catalogue

    spec = next((s for s in current_catalogue() if s.name == task), None)
    if spec is not None and spec.picture is not None:
        return spec.picture(answer)
    return json.dumps(answer, indent=2)


def _last_words(run: Run, deployment: Deployment) -> Iterator[tuple[str, str]]:
    """Yield the programs that failed, each with the end of its log."""
    rows = deployment.history.run_programs(run.id)
    failed = [row for row in rows if row["state"] not in _WELL]
    wanted = {(row["node"], row["item"]) for row in failed}
    ends: dict[str, str] = {}
    for piece in read_logs(run, deployment.store.client, failed) if failed else ():
        if (piece.node, piece.item) in wanted:
            name = _program_name(piece)
            ends[name] = (ends.get(name, "") + piece.text)[-2 * LONGEST_TEXT :]
    yield from ends.items()


def _program_name(piece: LogPiece) -> str:
    which = f"try {piece.number}" if (piece.number or 1) > 1 else ""
    return " ".join(filter(None, (piece.node, piece.item, which)))
