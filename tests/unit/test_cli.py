"""The root of the command line."""

import subprocess
import sys

import click
import pytest

from zocelery.cli import cli

CONTEXT = click.Context(cli)
SERVER_LIBRARIES = {"celery", "kombu", "redis", "sqlalchemy"}


@pytest.mark.parametrize("name", cli.list_commands(CONTEXT))
def test_every_command_that_is_listed_is_there(name: str) -> None:
    command = cli.get_command(CONTEXT, name)
    assert command is not None
    assert command.name == name


def test_a_command_that_nobody_knows_is_none() -> None:
    assert cli.get_command(CONTEXT, "nonsense") is None


def test_a_command_without_servers_does_not_wait_for_their_libraries() -> None:
    program = (
        "import sys, click; from zocelery.cli import cli; "
        "cli.get_command(click.Context(cli), 'recipe'); print(*sys.modules)"
    )
    command = [sys.executable, "-c", program]
    imported = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "zocelery.cli.recipe" in imported.stdout.split()
    assert not SERVER_LIBRARIES & set(imported.stdout.split())
