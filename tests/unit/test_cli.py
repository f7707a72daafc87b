"""The root of the command line."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from zocelery.cli import cli, main

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


def test_a_full_disk_ends_in_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "zocelery", "recipe", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "Error: No space left on device\n"


def test_a_name_that_no_file_can_have_ends_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zocelery", "find-spots", 300 * "x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"Error: {300 * 'x'}: File name too long\n"


@pytest.mark.parametrize("error", [ConnectionRefusedError("nobody"), TimeoutError()])
def test_a_server_that_does_not_answer_is_no_mistake_of_ours(
    error: OSError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "main", answer)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "cannot reach a server" in capsys.readouterr().err
