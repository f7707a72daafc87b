from pathlib import Path

import pytest

from tests.unit.benches import run_wrapper
from zocelery.errors import ParameterError
from zocelery_tasks.wrappers.environment import program_environment


def test_secrets_and_the_python_of_the_worker_stay_out() -> None:
    base = {
        "ZOCELERY_BROKER_URL": "amqp://u:secret@h",
        "PYTHONPATH": "/x",
        "VIRTUAL_ENV": "/x",
        "HOME": "/home/u",
    }
    found = program_environment({"A": "b"}, base)
    assert found.keys() == {"HOME", "A", "HDF5_PLUGIN_PATH"}


def test_programs_with_their_own_hdf5_find_filters() -> None:
    folder = Path(program_environment({}, {})["HDF5_PLUGIN_PATH"])
    assert any("lz4" in file.name or "bshuf" in file.name for file in folder.iterdir())
    given = {"HDF5_PLUGIN_PATH": "/own"}
    assert program_environment({}, given) == given


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "GLIBC_TUNABLES",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PERL5OPT",
        "BASH_ENV",
        "ENV",
        "IFS",
        "JAVA_TOOL_OPTIONS",
        "HDF5_PLUGIN_PATH",
        "ZOCELERY_UNIT",
    ],
)
@pytest.mark.parametrize("place", ["parameters", "job_parameters"])
def test_a_recipe_does_not_choose_the_code_that_programs_run(
    tmp_path: Path, name: str, place: str
) -> None:
    given = {"environment": {name: f"{tmp_path}:/usr/bin:/bin"}}
    told = {"parameters": {"command": ["true"]}, "job_parameters": {}}
    told[place] = {**told[place], **given}
    with pytest.raises(ParameterError, match=f"environment: '{name}' decides"):
        run_wrapper("command", tmp_path, **told, variables=())  # type: ignore[arg-type]  # as a table
    assert run_wrapper("command", tmp_path, **told, variables=(name,))  # type: ignore[arg-type]  # as a table


@pytest.mark.parametrize("name", ["", "A=B", "BASH_FUNC_ls%%", "A\0", "Å", "1A", "a b"])
def test_what_is_no_variable_is_refused(tmp_path: Path, name: str) -> None:
    given = {"command": ["true"], "environment": {name: "x"}}
    with pytest.raises(ParameterError, match="is no variable"):
        run_wrapper("command", tmp_path, given)


def test_an_allowed_program_is_the_one_that_the_worker_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("own", "theirs"):
        (tmp_path / folder).mkdir()
        program = tmp_path / folder / "tell"
        program.write_text(f'#!/bin/sh\necho "{{\\"by\\": \\"{folder}\\"}}" > said\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'own'}:/usr/bin:/bin")
    given = {"command": ["tell"], "read_json": "said"}
    theirs = {"environment": {"PATH": str(tmp_path / "theirs")}}
    work, only = tmp_path / "work", {"programs": ("tell",)}
    assert run_wrapper("command", work, given, **only)["data"] == {"by": "own"}
    with pytest.raises(ParameterError, match="PATH"):
        run_wrapper("command", work, {**given, **theirs}, **only, variables=())
    told = run_wrapper("command", work, {**given, **theirs}, **only)
    assert told["data"] == {"by": "theirs"}
    assert told["programs"][0]["command"] == ["tell"]
