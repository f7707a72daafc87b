"""`zocelery lims`: make, check and ask the LIMS."""

import json
import sys
from typing import Any

import click

from zocelery.errors import ConfigurationError


@click.group()
def lims() -> None:
    """Make, check and ask the LIMS (ISPyB).

    It is where [lims] url of the configuration says, else where the file named by
    ISPYB_CREDENTIALS says, else an SQLite file.
    """


@lims.command()
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def init(as_json: bool) -> None:
    """Create the tables of a SQLite LIMS that are not there yet.

    A server's tables belong to the facility: they are never touched.
    """
    from zocelery.lims.current import current_lims, forget_lims
    from zocelery.lims.tables import create_tables

    found = current_lims()
    if not found.is_sqlite:
        raise ConfigurationError(
            f"LIMS {found}: is a server; its tables are made by the facility"
        )
    create_tables(found.engine)
    address = str(found)
    forget_lims()
    click.echo(json.dumps({"lims": address}) if as_json else address)


@lims.command()
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def check(as_json: bool) -> None:
    """Say what can be looked up and stored, and what the account lacks; then exit 1.

    Each kind of rows is written into its tables, or by ISPyB's stored procedures where
    the account may only call those.
    """
    from zocelery.lims.check import check_lims
    from zocelery.lims.current import current_abilities, current_lims

    found = current_lims()
    abilities = current_abilities(found)
    if as_json:
        click.echo(json.dumps({"lims": str(found)}))
    else:
        click.echo(f"LIMS {found}")
    if not abilities.rights:
        abilities.require("select", "DataCollection", ("dataCollectionId",))
    findings = check_lims(abilities)
    for finding in findings:
        if as_json:
            line = {"what": finding.what, "path": finding.path, "lacks": finding.lacks}
            click.echo(json.dumps(line))
        else:
            click.echo(f"{finding.what:26} {finding.path or 'NOT POSSIBLE'}")
            for lack in finding.lacks:
                click.echo(f"    {lack}")
    sys.exit(1 if any(finding.lacks for finding in findings) else 0)


@lims.command()
@click.argument("dcid", type=int, required=False)
@click.option("--job", type=int, help="Processing job, instead of or beside the dcid.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on one line.")
def lookup(dcid: int | None, job: int | None, as_json: bool) -> None:
    """Print the parameters that DCID, or a processing job, gives a recipe."""
    from zocelery.lims.lookup import look_up_current

    asked: dict[str, Any] = {}
    if dcid is not None:
        asked["ispyb_dcid"] = dcid
    if job is not None:
        asked["ispyb_process"] = job
    if not asked:
        raise click.UsageError("give a DCID or --job ID")
    found = look_up_current(asked).parameters
    click.echo(json.dumps(found, indent=None if as_json else 2))
