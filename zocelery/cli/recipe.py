"""`zocelery recipe`: list, show, validate and draw recipes; nothing is started."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from zocelery.catalogue import Catalogue
from zocelery.cli.task_cards import (
    describe_task,
    marked_channels,
    named_tasks,
    task_parameters,
)
from zocelery.errors import InputFileError, ParameterError, RecipeError, UserError
from zocelery.parameters import fill_in, find_placeholders, parse_assignments
from zocelery.recipe import Node, Recipe
from zocelery.recipe_format import dump_recipe, load_recipe
from zocelery.recipe_library import RecipeLibrary, current_library
from zocelery.recipe_notes import ignored_parameters
from zocelery.settings import current_settings
from zocelery.terminal import printable

_FORMATS = ("text", "mermaid", "svg", "png")
_COLUMNS = 88
_MOST_NAMED = 10
_FORMAT_OF_ENDING = {".svg": "svg", ".png": "png", ".mmd": "mermaid", ".txt": "text"}

_json_option = click.option("--json", "as_json", is_flag=True, help="JSON lines.")
_parameters_option = click.option(
    "-p",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="A parameter of the recipe, if it decides about nodes or channels.",
)


@click.group()
def recipe() -> None:
    """List, show, check and draw recipes. Nothing is started.

    NAME is a recipe's name or a JSON file.

    \b
    zocelery recipe list                          what there is
    zocelery recipe show grid-scan                what it does and takes
    zocelery recipe validate recipes/*.json       is it right? (for pre-commit)
    zocelery recipe graph grid-scan -o grid.svg   how it looks
    zocelery recipe canvas grid-scan              what Celery is given
    zocelery recipe tasks                         what nodes can do
    """


@recipe.command("list")
@_json_option
def list_recipes(as_json: bool) -> None:
    """List the recipes of the configured folders, facility packages and zocelery."""
    library = _library()
    rows = [_describe_file(library, name) for name in library.names()]
    aliases = [
        {"name": alias, "alias_of": name} for alias, name in library.aliases.items()
    ]
    if as_json:
        for row in (*rows, *aliases):
            click.echo(json.dumps(row))
        return
    texts = [(row["name"], row["error"] or row["description"]) for row in rows]
    texts += [(row["name"], f"another name of {row['alias_of']}") for row in aliases]
    _echo_pairs(texts)


@recipe.command()
@click.argument("name")
@_json_option
def show(name: str, as_json: bool) -> None:
    """Show what a recipe does, the parameters it takes and its nodes.

    \b
    zocelery recipe show per-image-analysis
    zocelery recipe show my-recipe.json --json
    """
    found = _library().find_or_load(name)
    parameters = list(_describe_parameters(found))
    if as_json:
        row = {"name": found.name, "description": found.description}
        document = dump_recipe(found)
        click.echo(json.dumps({**row, "parameters": parameters, "recipe": document}))
        return
    click.echo(printable(found.name))
    if found.description:
        click.echo(_wrapped(found.description, 2))
    click.echo("\nParameters")
    texts = [(p["name"], _explain_parameter(p)) for p in parameters]
    _echo_pairs(texts or [("none", "")], indent=2)
    click.echo("\nNodes")
    nodes = [(node.name, node.description or _work_of(node)) for node in found]
    _echo_pairs(nodes, indent=2)
    click.echo()
    click.echo(printable(_draw_text(_filled(found, ()), None)))


@recipe.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--graph-only",
    is_flag=True,
    help="Do not ask whether tasks are known: for recipes that only Zocalo runs.",
)
@_json_option
def validate(files: tuple[str, ...], graph_only: bool, as_json: bool) -> None:
    """Check recipe files; exit code 2 if one is wrong.

    All problems of a file are listed, with node and key: the graph, tasks, channels,
    parameters that a task does not take, texts in braces that are no placeholders.

    \b
    zocelery recipe validate recipes/*.json

    \b
    In .pre-commit-config.yaml:
      - id: zocelery-recipes
        name: recipes
        entry: zocelery recipe validate
        language: system
        files: ^recipes/.*\\.json$
    """
    catalogue = None if graph_only else _catalogue()
    failed = []
    for file in files:
        error = _find_error(Path(file), catalogue)
        if error is not None:
            failed.append(file)
            click.echo(printable(error), err=True)
        if as_json:
            row = {"file": file, "valid": error is None, "error": error}
            click.echo(json.dumps(row))
    if failed:
        count = f"{len(failed)} of {len(files)} recipes are not valid"
        names = ", ".join(failed[:_MOST_NAMED])
        more = f" and {len(failed) - _MOST_NAMED} more" if failed[_MOST_NAMED:] else ""
        raise RecipeError(f"{count}: {names}{more}")
    click.echo(f"{len(files)} valid", err=True)


@recipe.command()
@click.argument("name")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(_FORMATS),
    help="By default what the ending of the file says, else text.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; by default standard output.",
)
@_parameters_option
@click.option("--json", "as_json", is_flag=True, help="Boxes and edges as one object.")
def graph(
    name: str,
    file_format: str | None,
    output: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Draw a recipe.

    \b
    zocelery recipe graph grid-scan                        as a tree of text
    zocelery recipe graph grid-scan -o grid-scan.png       as a picture
    zocelery recipe graph grid-scan --format mermaid       for a Markdown page
    """
    found = _filled(_library().find_or_load(name), assignments)
    catalogue = _catalogue()
    if as_json:
        _write(output, json.dumps(_drawing(found, catalogue)).encode() + b"\n")
        return
    chosen = file_format or _format_of(output)
    if chosen == "png" and output is None and sys.stdout.isatty():
        raise ParameterError("a png is not for a terminal: give a file with -o")
    _write(output, _draw(found, catalogue, chosen))


def _format_of(output: Path | None) -> str:
    """Return the format that the ending of a file says, text where there is none."""
    ending = output.suffix.lower() if output else ""
    if ending and ending not in _FORMAT_OF_ENDING:
        known = ", ".join(_FORMAT_OF_ENDING)
        raise ParameterError(
            f"{output}: the ending {ending} is none of {known}: name a --format"
        )
    return _FORMAT_OF_ENDING.get(ending, "text")


@recipe.command()
@click.argument("name")
@_parameters_option
def canvas(name: str, assignments: tuple[str, ...]) -> None:
    """Print the Celery canvas that a recipe is translated to.

    \b
    zocelery recipe canvas grid-scan
    """
    from zocelery.canvas_text import describe_canvas
    from zocelery.recipe_checks import check_recipe
    from zocelery.recipe_conditions import without_idle_nodes

    found = _filled(_library().find_or_load(name), assignments)
    found = without_idle_nodes(found, lambda node: node.only_if)
    catalogue = _catalogue()
    check_recipe(found, catalogue)
    click.echo(printable(describe_canvas(found, catalogue)))


@recipe.command()
def schema() -> None:
    """Print the JSON schema of recipe files, for editors.

    \b
    zocelery recipe schema > recipe.schema.json
    """
    from zocelery.recipe_schema import recipe_schema

    click.echo(json.dumps(recipe_schema(), indent=2))


@recipe.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_json_option
def tasks(names: tuple[str, ...], as_json: bool) -> None:
    """List the tasks that nodes can name, their channels and Zocalo's names for them.

    A channel with * speaks for each member of a fan-out, the others at most once.
    With NAMEs only those, and the parameters that they take.
    """
    for number, spec in enumerate(named_tasks(_catalogue(), names)):
        if as_json:
            click.echo(json.dumps(describe_task(spec)))
            continue
        click.echo(("\n" if number else "") + f"{spec.name}  ({spec.kind})")
        if spec.summary:
            click.echo(_wrapped(spec.summary, 4))
        details = [("channels", ", ".join(marked_channels(spec)))]
        details += [("queue", spec.queue)]
        details += [("Zocalo", ", ".join(spec.aliases))] if spec.aliases else []
        _echo_pairs(details, indent=4)
        if names and spec.parameters is not None:
            click.echo("    parameters")
            _echo_pairs(list(task_parameters(spec.parameters)), indent=6)


def _library() -> RecipeLibrary:
    return current_library(current_settings().recipes)


def _catalogue() -> Catalogue:
    from zocelery.registry import load_catalogue

    return load_catalogue(current_settings().queues)


def _filled(found: Recipe, assignments: Sequence[str]) -> Recipe:
    """Return a recipe that can be drawn, with defaults and given parameters in it."""
    from zocelery.recipe_checks import check_recipe

    check_recipe(found)
    return fill_in(found, parse_assignments(assignments), allow_unfilled=True)


def _find_error(file: Path, catalogue: Catalogue | None) -> str | None:
    """Return what is wrong with a recipe file, None if nothing is."""
    from zocelery.recipe_checks import check_recipe

    try:
        found = load_recipe(file)
        check_recipe(found, catalogue)
        find_placeholders(found)
    except UserError as error:
        text = str(error)
        return text if text.startswith(str(file)) else f"{file}: {text}"
    for note in ignored_parameters(found, catalogue) if catalogue else ():
        click.echo(f"Note: {printable(f'{file}: {note}')}", err=True)
    return None


def _describe_file(library: RecipeLibrary, name: str) -> dict[str, Any]:
    path = library.path(name)
    row = {"name": name, "file": str(path), "description": "", "error": None}
    try:
        return {**row, "description": load_recipe(path).description}
    except UserError as error:
        return {**row, "error": f"cannot be used: {error}".partition("\n")[0]}


def _describe_parameters(found: Recipe) -> Iterator[dict[str, Any]]:
    """Yield what is known of each parameter, declared ones first."""
    used = find_placeholders(found)
    for name in dict.fromkeys((*found.parameters, *found.placeholders, *used)):
        row: dict[str, Any] = {
            "name": name,
            "required": name not in found.parameters,
            "description": found.placeholders.get(name, ""),
            "used_in": list(used.get(name, ())),
        }
        if name in found.parameters:
            row["default"] = found.parameters[name]
        yield row


def _explain_parameter(parameter: dict[str, Any]) -> str:
    default = "has to be given"
    if not parameter["required"]:
        default = f"default {json.dumps(parameter['default'], ensure_ascii=False)}"
    meaning = parameter["description"] or f"used in {parameter['used_in'][0]}"
    return f"{meaning} ({default})"


def _work_of(node: Node) -> str:
    return node.task or node.wrapper or node.service or node.queue or node.topic or ""


def _drawing(found: Recipe, catalogue: Catalogue) -> dict[str, Any]:
    from zocelery.recipe_drawing import make_drawing

    drawing = asdict(make_drawing(found, catalogue))
    return {**drawing, "boxes": list(drawing["boxes"].values())}


def _draw_text(found: Recipe, catalogue: Catalogue | None) -> str:
    from zocelery.recipe_drawing import draw_text

    return draw_text(found, catalogue)


def _draw(found: Recipe, catalogue: Catalogue, chosen: str) -> bytes:
    if chosen in ("svg", "png"):
        from zocelery.recipe_picture import draw_picture

        picture: Literal["svg", "png"] = "svg" if chosen == "svg" else "png"
        return draw_picture(found, catalogue, file_format=picture)
    if chosen == "text":
        return f"{_draw_text(found, catalogue)}\n".encode()
    from zocelery.recipe_drawing import draw_mermaid

    return f"{draw_mermaid(found, catalogue)}\n".encode()


def _write(output: Path | None, content: bytes) -> None:
    """Write to a file, or to standard output.

    Raises:
        InputFileError: the file cannot be written.
    """
    if output is None:
        sys.stdout.buffer.write(content)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise InputFileError(
            f"{output}: cannot be written: {error.strerror}"
        ) from error


def _echo_pairs(pairs: Sequence[tuple[str, str]], indent: int = 0) -> None:
    """Print names and, beside them, what they mean."""
    width = min(max((len(name) for name, _ in pairs), default=0), 24)
    for name, meaning in pairs:
        start = f"{' ' * indent}{name:<{width}}  "
        click.echo(_wrapped(meaning, len(start), start).rstrip())


def _wrapped(text: str, indent: int, start: str | None = None) -> str:
    margin = " " * indent
    first = margin if start is None else start
    return click.wrap_text(printable(text), _COLUMNS, printable(first), margin)
