"""Any program, described by a recipe alone."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.benches import Heard, run_wrapper
from zocelery.errors import (
    ParameterError,
    PermanentError,
    ProgramError,
    TemporaryError,
)
from zocelery.registry import load_tasks
from zocelery.settings import load_settings

SHOW = "import json, sys; json.dump(sys.argv[1:], open('arguments.json', 'w'))"
NASTY = ["; rm -rf x", "$(id)", "--option=injected", "a b'c\"d", "*", "`id`", "\n"]


def run(folder: Path, /, **parameters: Any) -> Any:
    return run_wrapper("command", folder, parameters)


def test_every_argument_reaches_the_program_as_it_is(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SHOW, *NASTY, 5]
    answer = run(tmp_path, command=command, read_json="arguments.json")
    assert answer["data"] == [*NASTY, "5"]
    assert answer["programs"][0]["exit_code"] == 0


def test_arguments_come_from_the_payload(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-c", SHOW),
        {"payload": "files.0.path", "prefix": "hklin="},
        {"payload": "missing", "optional": True},
        {"path": str(tmp_path)},
    ]
    parameters = {"command": command, "read_json": "arguments.json"}
    payload = {"files": [{"path": "--x"}]}
    answer = run_wrapper("command", tmp_path, parameters, payload=payload)
    assert answer["data"] == ["hklin=--x", str(tmp_path)]
    with pytest.raises(PermanentError, match=r"no text or number 'missing'"):
        run(tmp_path, command=["true", {"payload": "missing"}])


def test_a_failure_names_program_command_and_last_lines(tmp_path: Path) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done; exit 9"
    with pytest.raises(ProgramError) as raised:
        run(tmp_path, command=["sh", "-c", script])
    text = str(raised.value)
    assert text.startswith("sh ended with exit code 9 (command: sh -c 'for i in")
    said = " | ".join(f"line {number}" for number in range(2, 10))
    assert text.endswith(f"it said: {said}")
    assert raised.value.details["exit_code"] == 9


def test_a_timeout_is_a_failure_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"sleep took longer than 0\.\d+ s"):
        run(tmp_path, command=["sleep", "30"], timeout=0.3)


def test_programs_are_as_nice_as_the_configuration_says(tmp_path: Path) -> None:
    wish = {"command": ["nice"]}
    answer = run_wrapper("command", tmp_path, wish, nice=4)
    told = Path(answer["log"]).read_text()
    assert told == f"{min(os.nice(0) + 4, 19)}\n"
    assert load_settings(variables={}).wrappers.nice == 19


def test_a_full_disk_is_named_where_its_log_cannot_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=4096)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ProgramError, match=r"\); the disk of its folder is full$"):
        run(tmp_path, command=["false"])


def test_a_misspelt_command_is_named_before_a_run_starts() -> None:
    check = load_tasks()["command"].check
    assert check is not None
    with pytest.raises(ParameterError, match=r"^comand .* did you mean 'command'"):
        check({"comand": ["true"]})
    with pytest.raises(ParameterError, match=r"^command: no program is named$"):
        check({})


def test_files_are_collected_by_pattern_and_told(tmp_path: Path) -> None:
    heard = Heard()
    parameters = {
        "command": [
            "sh",
            "-c",
            "mkdir d; echo 1 > d/a.mtz; echo 2 > b.log; echo 3 > c",
        ],
        "outputs": [
            {"pattern": "**/*.mtz", "rank": 1},
            {"pattern": "b.log", "kind": "log"},
        ],
        "results_directory": str(tmp_path / "results"),
    }
    answer = run_wrapper("command", tmp_path / "w", parameters, heard=heard)
    folder = tmp_path / "results" / "command"
    first, second = heard.on("result-individual-file")
    assert first == {
        "file_path": str(folder / "d"),
        "file_name": "a.mtz",
        "file_type": "result",
        "importance_rank": 1,
    }
    assert (second["file_name"], second["file_type"]) == ("b.log", "log")
    assert heard.on("result-all-files") == [
        {"filelist": [f"{folder}/d/a.mtz", f"{folder}/b.log"]}
    ]
    assert answer["files"] == [first, second]
    assert (folder / "d/a.mtz").read_text() == "1\n"
    assert not (folder / "c").exists()
    assert next(c for c, _, _ in heard.told) == "starting"
    assert heard.on("completed")[0]["ok"]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"files": ["*.mtz"]}, r"left no file '\*\.mtz'"),
        ({"no_files": ["*.error"]}, r"left the file 'x\.error'"),
        ({"exit_codes": [3]}, r"ended with exit code 0"),
    ],
)
def test_a_success_rule_that_is_broken_is_a_failure(
    tmp_path: Path, rule: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ProgramError, match=problem):
        run(tmp_path, command=["touch", "x.error"], success=rule)


def test_a_missing_required_output_is_a_failure(tmp_path: Path) -> None:
    outputs = [{"pattern": "*.mtz", "required": True}]
    with pytest.raises(ProgramError, match=r"no file '\*\.mtz' was left"):
        run(tmp_path, command=["true"], outputs=outputs)


def test_an_exit_code_can_ask_for_another_try(tmp_path: Path) -> None:
    with pytest.raises(TemporaryError, match=r"exit code 75: asks for another try"):
        run(tmp_path, command=["sh", "-c", "exit 75"], retry_exit_codes=[75])


def test_missing_inputs_and_forbidden_programs_are_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"inputs: /no/such does not exist"):
        run(tmp_path, command=["true"], inputs=["/no/such"])
    with pytest.raises(ParameterError, match=r"'sh' is not among the programs"):
        run_wrapper("command", tmp_path, {"command": ["sh"]}, programs=("dimple",))
    with pytest.raises(ParameterError, match=r"'--x' is no program"):
        run(tmp_path, command=["--x"])
    with pytest.raises(ParameterError, match=r"working_directory: .* not below"):
        run_wrapper(
            "command",
            tmp_path,
            {"command": ["true"], "working_directory": "/x"},
            roots=(tmp_path,),
        )


def test_parameters_may_stand_in_job_parameters(tmp_path: Path) -> None:
    job = {
        "command": ["sh", "-c", "echo $GREETING > out"],
        "environment": {"GREETING": "hi"},
    }
    answer = run_wrapper("command", tmp_path, {"command": []}, job_parameters=job)
    assert (Path(answer["working_directory"]) / "out").read_text() == "hi\n"
