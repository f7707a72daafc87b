"""The command line: `zocelery COMMAND`.

stdout carries results (JSON lines with --json), stderr messages. Exit code 0: done;
1: the run or an image failed; 2: a mistake, or a server that does not answer.
"""

import os
import signal
import socket
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import click

from zocelery.errors import ZoceleryError
from zocelery.terminal import printable

INTERRUPTED = 130
TERMINATED = 143
SERVER_LIBRARIES = ("redis.", "kombu.", "amqp.")
"""What they raise while a command runs says that a server has gone."""
_NOBODY_ANSWERS = (ConnectionError, TimeoutError, socket.gaierror)
_HOMES = {
    "bridge": "bridge",
    "cancel": "runs",
    "check": "operate",
    "demo": "demo",
    "dlq": "dlq",
    "lims": "lims",
    "logs": "logs",
    "pickup": "pickup",
    "probe": "operate",
    "queues": "queues",
    "recipe": "recipe",
    "report": "report",
    "rerun": "rerun",
    "results": "runs",
    "rules": "bridge",
    "run": "run",
    "runs": "runs",
    "show": "runs",
    "status": "runs",
    "submit": "run",
    "topology": "operate",
}
"""The module of `zocelery.cli` in which each command is: only its own is imported."""


class RootGroup(click.Group):
    """The root of all commands; tasks add theirs by the entry point."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, those of installed tasks included."""
        self._load()
        return sorted({*super().list_commands(ctx), *_HOMES})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; it is imported only now."""
        if cmd_name in _HOMES:
            home = import_module(f"zocelery.cli.{_HOMES[cmd_name]}")
            found: click.Command = getattr(home, cmd_name)
            return found
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
        _drop_output()
        code = 0
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, _NOBODY_ANSWERS):
            sys.exit(_say_refused(error))
        if not isinstance(error, _NOBODY_ANSWERS) and not _is_of_servers(error):
            raise
        click.echo(f"Error: cannot reach a server: {printable(error)}", err=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _is_of_servers(error: Exception) -> bool:
    return type(error).__module__.startswith(SERVER_LIBRARIES)


def _drop_output() -> None:
    """Keep Python from writing once more, at its end, what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say_refused(error: OSError) -> int:
    """Say what the system refused (a full disk, a long name); return the exit code."""
    _drop_output()
    reason = error.strerror or str(error)
    if error.filename is not None:
        reason = f"{error.filename}: {reason}"
    click.echo(f"Error: {printable(reason)}", err=True)
    return 1
