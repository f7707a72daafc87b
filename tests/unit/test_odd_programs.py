"""Programs that end, print or leave files in unusual ways: each has a clear outcome."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.benches import run_wrapper
from zocelery.errors import ParameterError, PermanentError, ProgramError
from zocelery_tasks.wrappers.command import CommandParameters
from zocelery_tasks.wrappers.process import signal_name


def run(folder: Path, *command: str, **parameters: Any) -> Any:
    return run_wrapper("command", folder, {"command": command, **parameters})


def program(folder: Path, text: str) -> str:
    file = folder / "a program"
    file.write_text(text)
    file.chmod(0o755)
    return str(file)


def test_a_program_without_leave_to_be_run_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("#!/bin/sh\n")
    with pytest.raises(PermanentError, match=rf"^{file}: .*: Permission denied$"):
        run(tmp_path, str(file))
    with pytest.raises(PermanentError, match=r"Permission denied|Is a directory"):
        run(tmp_path, str(tmp_path))


def test_a_script_whose_interpreter_is_missing_is_told_from_a_missing_script(
    tmp_path: Path,
) -> None:
    script = program(tmp_path, "#!/no/such/python\n")
    with pytest.raises(PermanentError, match=r"its first line names, .* not there$"):
        run(tmp_path, script)
    with pytest.raises(PermanentError, match=r"No such file or directory$"):
        run(tmp_path, "/no/such/program")
    with pytest.raises(PermanentError, match=r"Exec format error$"):
        run(tmp_path, program(tmp_path, "echo no first line\n"))


def test_every_signal_has_a_name(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"was ended by SIGRTMIN\+3 "):
        run(tmp_path, "sh", "-c", "kill -37 $$")
    with pytest.raises(ProgramError, match=r"was ended by SIGSEGV "):
        run(tmp_path, "sh", "-c", "kill -SEGV $$")
    assert [signal_name(number) for number in (32, 34, 64)] == [
        "signal 32",
        "SIGRTMIN",
        "SIGRTMAX",
    ]


def test_more_arguments_than_the_system_takes_are_refused_by_it(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"Argument list too long$"):
        run(tmp_path, "true", "x" * 200_000)
    assert run(tmp_path, "true", *["x" * 10] * 5000)["programs"][0]["exit_code"] == 0


def test_texts_that_no_program_can_be_given_are_named(tmp_path: Path) -> None:
    for text in ("\ud800", "a\0b"):
        with pytest.raises(ParameterError, match=r"^echo: the argument .* is no text"):
            run(tmp_path, "echo", text)
        with pytest.raises(ParameterError, match=r"'X' is no variable"):
            run(tmp_path, "env", environment={"X": text})


def test_blanks_and_letters_of_all_scripts_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "mit Leerzeichen é 日本"
    script = program(tmp_path, '#!/bin/sh\npwd; printf %s "$1" > "ü 1.txt"\n')
    answer = run(folder, script, "å\u202e 日", outputs=["ü*"])
    assert Path(answer["log"]).read_text() == f"{answer['working_directory']}\n"
    (file,) = answer["files"]
    assert Path(file["file_path"], file["file_name"]).read_text() == "å\u202e 日"


def test_output_that_is_no_text_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    script = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 50); sys.exit(3)"
    with pytest.raises(ProgramError, match=r"exit code 3 .* it said: ") as raised:
        run(tmp_path, sys.executable, "-c", script)
    json.dumps(raised.value.details, allow_nan=False).encode()


def test_a_daemon_that_a_program_leaves_ends_with_it(tmp_path: Path) -> None:
    script = (
        "import os\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "open('pid', 'w').write(str(os.getpid()))\n"
        "os.execvp('sleep', ['sleep', '300'])\n"
    )
    wait = f'{sys.executable} -c "$0"; until test -s pid; do sleep 0.01; done'
    answer = run(tmp_path, "sh", "-c", wait, script)
    pid = (Path(answer["working_directory"]) / "pid").read_text()
    assert not Path("/proc", pid).exists()


def test_a_program_that_removes_its_folder_is_judged_all_the_same(
    tmp_path: Path,
) -> None:
    gone = 'rm -rf "$PWD"'
    with pytest.raises(ProgramError, match=r"^sh ended with exit code 3 "):
        run(tmp_path, "sh", "-c", f"{gone}; exit 3")
    with pytest.raises(ProgramError, match=r"^sh left no file 'x' "):
        run(tmp_path, "sh", "-c", gone, success={"files": ["x"]})


def test_results_that_are_no_files_are_left_where_they_are(tmp_path: Path) -> None:
    odd = "mkfifo a.mtz; ln -s /no/such b.mtz; ln -s . c.mtz; mkdir d.mtz; echo > e.mtz"
    results = str(tmp_path / "results")
    wish = {"outputs": ["*.mtz"], "results_directory": results}
    answer = run(tmp_path, "sh", "-c", odd, **wish)
    assert [file["file_name"] for file in answer["files"]] == ["e.mtz"]


def test_numbers_that_are_no_json_become_null(tmp_path: Path) -> None:
    text = '{"a": NaN, "b": [1.5, -Infinity, 1e999]}'
    script = 'printf %s "$0" > x.json'
    answer = run(tmp_path, "sh", "-c", script, text, read_json="x.json")
    assert answer["data"] == {"a": None, "b": [1.5, None, None]}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("open('x', 'w').write('[' * 100000)", r"is nested too deeply"),
        ("open('x', 'wb').write(b'\\xff')", r"cannot be read: 'utf-8'"),
        (
            "open('x', 'w').truncate(2 * 10 ** 7)",
            r"is 20000000 bytes, 10000000 at",
        ),
        ("import os; os.mkdir('x')", r"cannot be read: Is a directory"),
        ("pass", r"cannot be read: No such file"),
        ("open('x', 'w').write('{')", r"cannot be read: Expecting property name"),
    ],
)
def test_json_that_cannot_be_read_is_named(
    tmp_path: Path, script: str, message: str
) -> None:
    with pytest.raises(ProgramError, match=rf"^read_json: /.*/x: {message}"):
        run(tmp_path, sys.executable, "-S", "-c", script, read_json="x")


@pytest.mark.parametrize("key", ["files", "no_files"])
def test_a_pattern_that_is_none_is_refused_before_hours_of_work(key: str) -> None:
    for pattern in ("**x", "a/**b/c"):
        with pytest.raises(ValidationError, match=r"is no pattern for files"):
            CommandParameters.model_validate({"success": {key: [pattern]}})
    CommandParameters.model_validate({"success": {key: ["**/[a-c]*.mtz", "a["]}})
