"""`zocelery rerun`: a run once more, without doing again what it has done."""

import json
import sys
from typing import TYPE_CHECKING

import click

from zocelery.cli.run import PARAMETERS_HELP, follow, report_end
from zocelery.parameters import parse_assignments

if TYPE_CHECKING:
    from zocelery.rerunning import Rerun


@click.command()
@click.argument("run")
@click.option(
    "--from",
    "from_nodes",
    metavar="NODE",
    multiple=True,
    help="Run this node, and what follows it, again. May be given many times.",
)
@click.option("--failed", is_flag=True, help="Run only what did not finish.")
@click.option(
    "-p", "parameters", metavar="KEY=VALUE", multiple=True, help=PARAMETERS_HELP
)
@click.option("--run-id", help="The id of the new run.")
@click.option("--dry-run", is_flag=True, help="Only say what would be run again.")
@click.option("--wait", is_flag=True, help="Wait for the end; exit 1 if it failed.")
@click.option("--follow", "follows", is_flag=True, help="Print results as they come.")
@click.option(
    "--reprocessing",
    is_flag=True,
    help="Let live runs overtake this one in the queue of images.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def rerun(
    run: str,
    from_nodes: tuple[str, ...],
    failed: bool,
    parameters: tuple[str, ...],
    run_id: str | None,
    dry_run: bool,
    wait: bool,
    follows: bool,
    reprocessing: bool,
    as_json: bool,
) -> None:
    """Run RUN again, as a new run that is linked to it.

    Without --from, --failed or -p everything is run again. With any of them finished
    nodes are reused: their answers are taken from the history, unless they, or
    something that feeds them, did not finish, are named, or get other parameters.

    \b
    zocelery rerun 3f2a --failed --follow
    zocelery rerun 3f2a --from centre -p grid=20x15
    """
    from zocelery.rerunning import plan_rerun

    planned = plan_rerun(
        run,
        failed=failed,
        from_nodes=from_nodes,
        parameters=parse_assignments(parameters),
    )
    if dry_run:
        _tell(planned, "planned", None, as_json)
        return
    started = planned.start(run_id, "reprocessing" if reprocessing else "live")
    _tell(planned, "submitted", started.id, as_json)
    if follows:
        sys.exit(follow(started, as_json))
    if wait:
        sys.exit(report_end(started, as_json))


def _tell(planned: "Rerun", event: str, run: str | None, as_json: bool) -> None:
    reused, again = list(planned.reused), list(planned.again)
    if as_json:
        told = {"event": event, "run": run, "rerun_of": planned.of}
        click.echo(json.dumps({**told, "reused": reused, "again": again}))
        return
    click.echo(f"reused: {', '.join(reused) or 'nothing'}", err=True)
    click.echo(f"run again: {', '.join(again)}", err=True)
    if run is not None:
        click.echo(run)
