"""`zocelery run` and `zocelery submit`: start a recipe here, or on a deployment."""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from zocelery import display, identity
from zocelery.deployment import current_deployment
from zocelery.errors import InputFileError
from zocelery.parameters import parse_assignments, unused_parameters
from zocelery.recipe import Recipe
from zocelery.run import Run
from zocelery.settings import current_settings
from zocelery.terminal import printable

PARAMETERS_HELP = (
    "A parameter of the recipe; VALUE is JSON if it parses as such, else text. "
    "May be given many times."
)

STORED_EXIT = 3
"""Exit code of `submit --wait` if the request was only stored, to be sent later."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be run, checked as far as it can be without a server."""

    recipe: Recipe
    parameters: Mapping[str, Any]
    template: Recipe
    """The recipe before the parameters filled it in."""
    deadline: float | None = None
    """Seconds after which a run that has not ended has failed."""


def recipe_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments that `run` and `submit` share."""
    for decorate in reversed(
        (
            click.argument("recipe", required=False),
            click.argument("dcid", type=int, required=False),
            click.option(
                "-p",
                "parameters",
                metavar="KEY=VALUE",
                multiple=True,
                help=PARAMETERS_HELP,
            ),
            click.option("--job", type=int, help="Processing job of the LIMS."),
            click.option("--run-id", help="The id of the run; by default a new one."),
            click.option(
                "--deadline",
                type=click.FloatRange(min=0, min_open=True),
                help="Seconds after which a run that has not ended has failed.",
            ),
            click.option(
                "--dry-run",
                is_flag=True,
                help="Print the recipe with its parameters filled in; start nothing.",
            ),
            click.option("--json", "as_json", is_flag=True, help="JSON lines."),
        )
    ):
        command = decorate(command)
    return command


@click.command()
@recipe_arguments
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Worker processes for images; by default one per core.",
)
def run(
    recipe: str | None,
    dcid: int | None,
    parameters: tuple[str, ...],
    job: int | None,
    run_id: str | None,
    deadline: float | None,
    dry_run: bool,
    as_json: bool,
    workers: int | None,
) -> None:
    """Run RECIPE here, with servers and workers of its own.

    Nothing needs to be installed or configured, and nothing is left behind. RECIPE is
    a name that `zocelery recipe list` shows, or a file. DCID, a data collection of the
    LIMS, gives it the parameters that `zocelery lims lookup DCID` prints.

    \b
    zocelery run grid-scan -p images='x_%05d.cbf:1:19' -p grid=19x1
    zocelery run my-recipe.json -p images=/data/x_master.h5 --json
    """
    request = make_request(recipe, dcid, job, parameters, run_id)
    request = replace(request, deadline=deadline)
    if dry_run:
        show_recipe(request.recipe)
        return
    _check_scratch_space()
    from zocelery.embedded import embedded

    with embedded(needed_queues(request.recipe), workers, say_note):
        sys.exit(follow(launch(request, run_id, "live"), as_json))


@click.command()
@recipe_arguments
@click.option("--wait", is_flag=True, help="Wait for the end; exit 1 if it failed.")
@click.option("--follow", "follows", is_flag=True, help="Print results as they come.")
@click.option(
    "--reprocessing",
    is_flag=True,
    help="Let live runs overtake this one in the queue of images.",
)
def submit(
    recipe: str | None,
    dcid: int | None,
    parameters: tuple[str, ...],
    job: int | None,
    run_id: str | None,
    deadline: float | None,
    dry_run: bool,
    as_json: bool,
    wait: bool,
    follows: bool,
    reprocessing: bool,
) -> None:
    """Submit RECIPE to the deployment of the configuration; print the run's id.

    DCID or --job fill its parameters from the LIMS, see `zocelery lims lookup`; a job
    names its recipe itself if RECIPE is not given.

    If a server is away, and stays away for broker.connect_timeout, the request is
    stored in the drop folder, if one is configured, and exit is 0; with --wait or
    --follow it is 3, for there is no end to wait for yet: do not submit it again.

    \b
    zocelery submit grid-scan -p images=/data/x_master.h5 -p grid=20x15 --follow
    zocelery results RUN
    """
    request = make_request(recipe, dcid, job, parameters, run_id)
    request = replace(request, deadline=deadline)
    if dry_run:
        show_recipe(request.recipe)
        return
    urgency = "reprocessing" if reprocessing else "live"
    started = launch_or_store(request, run_id, urgency, as_json)
    if started is None:
        sys.exit(STORED_EXIT if wait or follows else 0)
    if follows:
        sys.exit(follow(started, as_json))
    if as_json:
        click.echo(json.dumps({"event": "submitted", "run": started.id}))
    else:
        click.echo(started.id)
    if wait:
        sys.exit(report_end(started, as_json))


def make_request(
    recipe: str | None,
    dcid: int | None,
    job: int | None,
    assignments: tuple[str, ...],
    run_id: str | None = None,
) -> Request:
    """Read the arguments and find every mistake that needs no server but the LIMS."""
    from zocelery.recipe_library import current_library
    from zocelery.recipe_notes import ignored_parameters
    from zocelery.registry import load_catalogue
    from zocelery.submission import prepare, resolve_recipe

    given = parse_assignments(assignments)
    parameters: dict[str, Any] = dict(given)
    if dcid is not None or job is not None:
        from zocelery.lims.known import known_parameters

        parameters, asked = known_parameters(
            given, dcid=dcid, job=job, run_id=run_id, names_recipe=bool(recipe)
        )
        recipe = recipe or asked
    if not recipe:
        raise click.UsageError("give a RECIPE, or a --job that names one")
    settings = current_settings()
    found = resolve_recipe(recipe, current_library(settings.recipes))
    for name, meant in unused_parameters(found, given).items():
        hint = f"; did you mean {meant!r}?" if meant else ""
        click.echo(
            f"Note: recipe {found.name!r} has no parameter {name!r}{hint}", err=True
        )
    catalogue = load_catalogue(settings.queues)
    prepared = prepare(found, parameters, catalogue)
    for note in ignored_parameters(prepared, catalogue):
        say_note(f"recipe {found.name!r}: {note}")
    return Request(prepared, parameters, found)


def say_note(text: str) -> None:
    """Tell the person at the terminal."""
    click.echo(f"Note: {printable(text)}", err=True)


def needed_queues(recipe: Recipe) -> set[str]:
    """Return the queues to which the recipe's tasks go."""
    from zocelery.plan import Plan
    from zocelery.registry import load_catalogue

    plan = Plan(recipe, load_catalogue(current_settings().queues))
    specs = (plan.spec(name) for name in plan.recipe.nodes)
    return {spec.queue for spec in specs if spec is not None}


def launch(request: Request, run_id: str | None, urgency: Any) -> Run:
    """Start the run on the deployment that the settings name now."""
    from zocelery.submission import launch as start

    return start(
        request.recipe,
        request.parameters,
        run_id=run_id,
        urgency=urgency,
        deadline=request.deadline,
        template=request.template,
    )


def launch_or_store(
    request: Request, run_id: str | None, urgency: Any, as_json: bool
) -> Run | None:
    """Start the run, or store the request where a drop folder is configured.

    Returns:
        None if a server is away and the request has been stored.
    """
    from zocelery.drop_folder import AWAY_ERRORS, configured_folder, store_request

    # fixed now: what is stored is the same run as what may have been half published
    run = run_id or str(request.parameters.get("guid") or identity.new_run_id())
    try:
        return launch(request, run, urgency)
    except AWAY_ERRORS as error:
        folder = configured_folder(current_deployment())
        if folder is None:
            raise
        file = store_request(
            folder,
            request.template,
            request.parameters,
            run,
            urgency,
            request.deadline,
        )
        say_note(f"{error}; stored {file}, 'zocelery pickup' sends it later")
        if as_json:
            told = {"event": "stored", "run": run, "file": str(file)}
            click.echo(json.dumps(told))
        else:
            click.echo(run)
        return None


def follow(run: Run, as_json: bool) -> int:
    """Follow a run to its end, print its results and return the exit code."""
    console = Console(stderr=True, quiet=as_json)
    try:
        for result in display.follow(run, console):
            if as_json:
                click.echo(json.dumps({"event": "result", "run": run.id, **result}))
    except KeyboardInterrupt:
        run.cancel()
        raise
    return report_end(run, as_json)


def report_end(run: Run, as_json: bool) -> int:
    """Wait for the end of a run, print it and return the exit code."""
    status = run.wait()
    answers, failures = run.final_results(), run.failures()
    if as_json:
        end = {
            "event": "end",
            "run": run.id,
            "recipe": status.recipe,
            "state": status.state,
            "error": status.error,
            "results": answers,
            "missing": missing_of(answers),
            "failed": failures,
            "nodes": [node.model_dump() for node in status.nodes],
        }
        click.echo(json.dumps(end))
    else:
        _print_end(status, answers, failures)
    return 0 if status.state == "finished" else 1


def missing_of(answers: Mapping[str, Any]) -> list[Any]:
    """Return what the answers of gathers name as missing."""
    named = (a.get("missing") for a in answers.values() if isinstance(a, dict))
    return [item for missing in named if missing for item in missing]


def _print_end(
    status: Any, answers: Mapping[str, Any], failures: list[dict[str, Any]]
) -> None:
    from zocelery.registry import current_catalogue

    messages = Console(stderr=True)
    messages.print(display.draw(status, (status.ended or 0) - status.submitted))
    for failure in failures[:20]:
        where = f"{failure['node']} {failure['item']}".strip()
        messages.print(_marked("failed", f" {where}: {failure['error']}"))
    if len(failures) > 20:
        messages.print(f"... and {len(failures) - 20} more")
    if status.error:
        messages.print(_marked(status.state, f": {status.error}"))
    tasks = {node.node: node.task for node in status.nodes}
    specs = {spec.name: spec for spec in current_catalogue()}
    for node, answer in answers.items():
        spec = specs.get(tasks.get(node) or "")
        if spec is not None and spec.picture is not None:
            click.echo(spec.picture(answer))
        else:
            click.echo(json.dumps({node: answer}, indent=2))


def _marked(state: str, text: str) -> Text:
    """Return a line that begins in red; nothing in it is taken for mark-up."""
    return Text.assemble((printable(state), "red"), printable(text))


def show_recipe(recipe: Recipe) -> None:
    """Print a recipe as JSON."""
    from zocelery.recipe_format import dump_recipe

    click.echo(json.dumps(dump_recipe(recipe), indent=2))


def _check_scratch_space() -> None:
    """Refuse to start on a full disk or without a folder to write into.

    Raises:
        InputFileError: names the folder and what it lacks.
    """
    folder = Path(tempfile.gettempdir())
    wanted = current_settings().run.free_space
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise InputFileError(
            f"{folder}: {free / 1e6:.0f} MB are free, a run needs {wanted / 1e6:.0f} MB"
        )
