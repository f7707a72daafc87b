"""The command line: `zocelery COMMAND`.

stdout carries results (JSON lines with --json), stderr messages. Exit code 0: done;
1: the run or an image failed; 2: a mistake, or a server that does not answer.
"""

import os
import signal
import sys
from importlib.metadata import entry_points
from pathlib import Path

import click

from zocelery.cli.bridge import bridge, rules
from zocelery.cli.demo import demo
from zocelery.cli.dlq import dlq
from zocelery.cli.lims import lims
from zocelery.cli.logs import logs
from zocelery.cli.operate import check, probe, topology
from zocelery.cli.pickup import pickup
from zocelery.cli.queues import queues
from zocelery.cli.recipe import recipe
from zocelery.cli.rerun import rerun
from zocelery.cli.run import run, submit
from zocelery.cli.runs import cancel, results, runs, show, status
from zocelery.errors import ZoceleryError
from zocelery.terminal import printable

INTERRUPTED = 130
TERMINATED = 143
SERVER_LIBRARIES = ("redis.", "kombu.", "amqp.")
"""What they raise while a command runs says that a server has gone."""


class RootGroup(click.Group):
    """The root of all commands; tasks add theirs by the entry point."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, those of installed tasks included."""
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; those of installed tasks are imported only if need be."""
        if cmd_name not in self.commands:
            self._load()
        return super().get_command(ctx, cmd_name)

    def _load(self) -> None:
        for entry in entry_points(group="zocelery.commands"):
            for command in entry.load().COMMANDS:
                self.add_command(command)


@click.group(cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="zocelery")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Configuration file; by default the one that ZOCELERY_CONFIG names.",
)
@click.option(
    "-e",
    "--environment",
    help="Environment of the configuration file; by default ZOCELERY_ENVIRONMENT.",
)
def cli(config: Path | None, environment: str | None) -> None:
    """Diffraction-image analysis: recipes run as Celery canvases.

    \b
    zocelery demo                                  see it work, nothing needed
    zocelery run grid-scan -p images=x_%05d.cbf:1:19 -p grid=19x1
                                                   servers and workers of its own
    zocelery submit grid-scan ... --wait           on a deployment
    zocelery recipe list                           what there is to run
    """
    if config is not None:
        os.environ["ZOCELERY_CONFIG"] = str(config)
    if environment is not None:
        os.environ["ZOCELERY_ENVIRONMENT"] = environment


for _command in (
    demo,
    run,
    submit,
    runs,
    status,
    show,
    results,
    cancel,
    rerun,
    pickup,
    bridge,
    rules,
    logs,
    recipe,
    lims,
    dlq,
    queues,
    topology,
    check,
    probe,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; every mistake ends in one clear line and an exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        code = cli.main(standalone_mode=False)
    except ZoceleryError as error:
        click.echo(f"Error: {printable(error)}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted", err=True)
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone: not our mistake
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if not type(error).__module__.startswith(SERVER_LIBRARIES):
            raise
        click.echo(f"Error: cannot reach a server: {printable(error)}", err=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)
