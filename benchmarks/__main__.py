"""`python -m benchmarks`."""

import signal
import sys
from importlib import import_module

import click

from zocelery.errors import ZoceleryError

COMMANDS = {
    "spotfinding": "benchmarks.spotfinding",
    "throughput": "benchmarks.throughput",
    "memory": "benchmarks.memory",
    "live": "benchmarks.live",
    "fanout": "benchmarks.fanout",
    "lims": "benchmarks.lims",
    "message": "benchmarks.message",
    "wrappers": "benchmarks.wrappers",
    "fuzz": "benchmarks.fuzz",
    "chaos": "benchmarks.chaos",
    "page": "benchmarks.page",
}
"""Each with the module that has its function `command`."""


class LazyGroup(click.Group):
    """Commands that are imported when one is wanted: memory is measured here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one of them, None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(COMMANDS[cmd_name]).command
        return found


@click.group(cls=LazyGroup)
def main() -> None:
    """Measure zocelery: how fast it is, what it costs, whether it is right.

    Each command simulates what it needs, starts servers and workers of its own where
    it needs some, and leaves nothing behind. Results are printed as Markdown, or with
    --json as JSON lines; what is being done goes to stderr.
    """


if __name__ == "__main__":
    # As Ctrl-C does: servers and folders are cleared away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main(prog_name="python -m benchmarks")
    except ZoceleryError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
