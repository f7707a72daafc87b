"""Names and texts of others: no folder is left by them, no terminal obeys them."""

import io
import logging
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.unit.benches import run_wrapper
from zocelery import display
from zocelery.cli import cli
from zocelery.cli.run import report_end
from zocelery.deployment import without_password
from zocelery.errors import (
    ConfigurationError,
    ParameterError,
    RecipeError,
    ZoceleryError,
)
from zocelery.history import History
from zocelery.identity import check_run_id
from zocelery.lims.credentials import find_url
from zocelery.logs import TEXT_FORMAT, TextFormatter
from zocelery.recipe_format import parse_recipe
from zocelery.recipe_library import RecipeLibrary
from zocelery.run import NodeStatus, RunStatus
from zocelery.settings import load_settings
from zocelery.terminal import printable
from zocelery_tasks.wrappers.folders import make_working_folder, safe_name

NAMES = ["..", "../x", "/x", "a/../../x", "a\nb", "a\0b", "\x1b[2J", "", ".", "~", "-x"]
CLEAR = "\x1b[2J\x1b]0;title\x07\r\x9b2J\u202e"


@pytest.mark.parametrize("name", NAMES)
def test_no_run_or_node_has_such_a_name(name: str) -> None:
    with pytest.raises(ParameterError, match="run id") as caught:
        check_run_id(name)
    assert str(caught.value).isprintable()
    with pytest.raises(RecipeError) as refused:
        parse_recipe({"nodes": {name: {"task": "echo"}}, "start": name})
    assert str(refused.value).replace("\n  ", "").isprintable()


@pytest.mark.parametrize("name", NAMES)
def test_no_recipe_is_found_outside_of_its_folders(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.json").write_text('{"nodes": {"a": {"task": "echo"}}, "start": "a"}')
    (tmp_path / "recipes").mkdir()
    with pytest.raises(RecipeError) as caught:
        RecipeLibrary([tmp_path / "recipes"]).find(name)
    assert str(caught.value).isprintable()


@settings(deadline=None, derandomize=True, database=None)
@given(st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(NAMES))
def test_names_of_folders_stay_in_their_folder(name: str) -> None:
    safe = safe_name(name)
    assert Path("/base", safe).parent == Path("/base")
    assert safe not in ("", ".", "..")
    assert safe.isprintable()


@pytest.mark.parametrize("name", NAMES)
def test_programs_work_below_their_folder(tmp_path: Path, name: str) -> None:
    made = make_working_folder(tmp_path / "base", name)
    assert made.parent == tmp_path / "base"
    assert [p.name for p in tmp_path.iterdir()] == ["base"]


def test_what_a_program_leaves_is_kept_below_the_results(tmp_path: Path) -> None:
    script = "mkdir -p '..\\x' && touch $'a\\nb' '..\\x/c'"
    answer = run_wrapper(
        "command",
        tmp_path / "work",
        {
            "command": ["bash", "-c", script],
            "outputs": ["**/*"],
            "results_directory": str(tmp_path / "results"),
        },
    )
    folders = [Path(file["file_path"]) for file in answer["files"]]
    assert len(folders) >= 2
    assert all(folder.is_relative_to(tmp_path / "results") for folder in folders)
    assert {p.name for p in tmp_path.iterdir()} == {"work", "results"}


@settings(derandomize=True, database=None)
@given(st.text(st.characters(exclude_categories=())))
def test_a_terminal_is_told_nothing_by_the_texts_of_others(text: str) -> None:
    shown = printable(text)
    assert not any(ord(c) < 32 and c not in "\n\t" for c in shown)
    assert not set(shown) & {"\x7f", "\x9b", "\u202e", "\u2028"}
    shown.encode()


def test_ordinary_texts_are_shown_as_they_are() -> None:
    text = "d_min 1.5 Å [/red]\n\tθ = 3°, 結晶"
    assert printable(text) == text


def status(**changed: Any) -> RunStatus:
    node = {
        "node": f"a[/red]{CLEAR}",
        "task": "echo",
        "state": "failed",
        "total": 1,
        "done": 0,
        "failed": 1,
        "progress": f"[/] {CLEAR}",
    }
    known = {name: node[name] for name in node if name in NodeStatus.model_fields}
    fields: dict[str, Any] = {
        "run": "r1",
        "recipe": f"[/bold] {CLEAR}",
        "state": "failed",
        "submitted": 1.0,
        "ended": 2.0,
        "error": f"[/red] {CLEAR}",
        "nodes": [NodeStatus.model_validate(known)],
    }
    return RunStatus.model_validate({**fields, **changed})


class EndedRun:
    """A run whose every text is hostile."""

    id = "r1"

    def wait(self) -> RunStatus:
        return status()

    def final_results(self) -> dict[str, Any]:
        return {}

    def failures(self) -> list[dict[str, Any]]:
        return [{"node": "a", "item": "[/x]", "error": f"[/red]{CLEAR}"}]


def test_the_end_of_a_run_is_shown_whatever_names_and_errors_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert report_end(EndedRun(), as_json=False) == 1  # type: ignore[arg-type]  # as ended
    shown = capsys.readouterr().err
    assert "[/red]" in shown
    assert not set(CLEAR[:1] + "\x07\x9b\u202e\r") & set(shown)


def test_the_live_display_takes_nothing_for_mark_up() -> None:
    output = io.StringIO()
    Console(file=output, width=200).print(display.draw(status(), 1.0))
    shown = output.getvalue()
    assert "a[/red]" in shown
    assert "\\x1b[2J" in shown
    assert not set("\x1b\x07\x9b\u202e\r") & set(shown)


def test_a_message_cannot_forge_a_line_of_the_log() -> None:
    forged = "x\n2026-01-01 00:00:00,000 ERROR zocelery: the beam is off\r" + CLEAR
    record = logging.LogRecord("a", logging.INFO, "", 0, "%s", (forged,), None)
    record.where = ""
    lines = TextFormatter(TEXT_FORMAT).format(record).split("\n")
    assert lines[1].startswith("    2026")
    assert all(line.isprintable() for line in lines)


def test_recipe_show_spells_out_control_characters(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(
        '{"description": "\\u001b[2Jhello", "parameters": {"x\\u001b": 1}, "nodes": '
        '{"a": {"task": "echo", "description": "\\u009b2J"}}, "start": "a"}'
    )
    result = CliRunner().invoke(cli, ["recipe", "show", str(file)], color=True)
    assert "hello" in result.output
    assert not set("\x1b\x9b") & set(result.output)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://u:Marker@h:1//", "amqp://u:***@h:1//"),
        (
            "amqp://u:Marker@h1//;amqp://u:Marker@h2//",
            "amqp://u:***@h1//;amqp://u:***@h2//",
        ),
        ("redis://h/0?password=Marker&db=1", "redis://h/0?password=***&db=1"),
        ("redis://:Mar@ker@h/0", "redis://:***@h/0"),
        ("redis://h/0", "redis://h/0"),
    ],
)
def test_passwords_are_masked_wherever_they_stand_in_a_url(
    url: str, shown: str
) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("broker", 'url = "amqp://u:Marker/x@h//"'),
        ("redis", 'url = "redis://:Marker#x@h/0"'),
        ("redis", 'url = "Marker"'),
        ("redis", "url = ['Marker']"),
        ("broker", 'password = "Marker"'),
        ("broker", 'queue_type = "amqp://u:Marker@h"'),
    ],
)
def test_a_wrong_setting_does_not_show_the_password(
    tmp_path: Path, section: str, text: str
) -> None:
    file = tmp_path / "zocelery.toml"
    file.write_text(f"[{section}]\n{text}\n")
    with pytest.raises(ConfigurationError, match=f"{section}[.]") as caught:
        load_settings(file, variables={})
    assert "Marker" not in str(caught.value)
    file.write_text(f'{section} = "amqp://u:Marker@h"\n')
    with pytest.raises(ConfigurationError, match=section) as caught:
        load_settings(file, variables={})
    assert "Marker" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://u:p@h:Marker/x", "Marker"])
def test_a_wrong_database_url_does_not_show_the_password(url: str) -> None:
    for use in (History, lambda text: find_url(text, {})):
        with pytest.raises(ZoceleryError, match="no SQLAlchemy URL") as caught:
            use(url)
        assert "Marker" not in str(caught.value)
        assert caught.value.__cause__ is None
