"""`zocelery bridge` and `zocelery rules`: what Zocalo's clients ask for."""

import json
import signal
import time
from typing import Any

import click

from zocelery.deployment import current_deployment
from zocelery.logs import set_up_logging
from zocelery.rules.scenario import EVENT, EVENTS
from zocelery.settings import current_settings


@click.group(invoke_without_command=True)
@click.option("--loglevel", default="INFO", show_default=True)
@click.option("--json-logs", is_flag=True, help="Logs as JSON lines.")
@click.pass_context
def bridge(context: click.Context, loglevel: str, json_logs: bool) -> None:
    """Serve the queues of Zocalo's clients: their requests become runs.

    Runs until it is stopped (SIGTERM); any number may run at the same time. What cannot
    be used becomes a dead letter: `zocelery dlq list`.
    """
    if context.invoked_subcommand is not None:
        return
    from zocelery.bridge.consumer import Bridge
    from zocelery.celery import app

    set_up_logging(loglevel, as_json=json_logs)
    serving = Bridge(app, current_deployment())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: serving.stop())
    serving.run()


@bridge.command()
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def waiting(as_json: bool) -> None:
    """List the requests that wait for their data collections to get ready."""
    from zocelery.bridge.waiting import WaitingRoom

    deployment = current_deployment()
    deployment.check_store()
    interval = current_settings().bridge.ready_interval
    for row in WaitingRoom(deployment.store.client, interval).rows():
        age = time.time() - row.since
        if as_json:
            told = {"run": row.run, "seconds": age, "waits_for": row.waits_for}
            click.echo(json.dumps(told))
        else:
            click.echo(f"{row.run}  {age:.0f} s  {row.waits_for}")


@click.command()
@click.argument("dcid", type=int, required=False)
@click.option("--event", type=click.Choice(EVENTS), default="end", show_default=True)
@click.option("--list", "lists", is_flag=True, help="Only say which rules there are.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, one for each rule.")
def rules(dcid: int | None, event: str, lists: bool, as_json: bool) -> None:
    """Say what would run for data collection DCID, and why; start nothing.

    These are the rules by which `zocelery bridge` answers messages that name no recipe
    of their own (GDA, dodal: "mimas").
    """
    from zocelery.lims.known import known_parameters
    from zocelery.rules.decision import decide, load_rules
    from zocelery.rules.scenario import find_scenario

    known = load_rules(current_settings().rules)
    if lists:
        for one in known:
            row = {"rule": one.name, "when": str(one.when), "summary": one.summary}
            text = f"{one.name}: {one.summary}\n    when {one.when}"
            click.echo(json.dumps(row) if as_json else text)
        return
    if dcid is None:
        raise click.UsageError("give a DCID, or --list")
    parameters, _ = known_parameters({EVENT: event}, dcid=dcid, waits=False)
    scenario = find_scenario(parameters)
    for decision in decide(known, scenario):
        runs = [
            {
                "recipe": one.recipe,
                "urgency": one.urgency,
                "run": one.run_id(scenario),
                "parameters": dict(one.parameters),
            }
            for one in decision.invocations
        ]
        _tell(decision, runs, as_json)


def _tell(decision: Any, runs: list[dict[str, Any]], as_json: bool) -> None:
    name, why = decision.rule.name, decision.why
    if as_json:
        row = {"rule": name, "holds": decision.holds, "why": why, "runs": runs}
        click.echo(json.dumps(row))
        return
    click.echo(f"{name}: {'yes' if decision.holds else 'no'}, {why}")
    for one in runs:
        click.echo(f"    {one['recipe']} ({one['urgency']}), run {one['run']}")
        for key, value in one["parameters"].items():
            click.echo(f"        {key} = {json.dumps(value)}")
