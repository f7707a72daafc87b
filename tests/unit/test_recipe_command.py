import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.unit.recipe_examples import CATALOGUE, GRID_SCAN
from zocelery import registry
from zocelery.cli.recipe import recipe as command
from zocelery.errors import InputFileError, ParameterError, RecipeError
from zocelery.recipe_schema import recipe_schema
from zocelery.resources import resource_dir
from zocelery.settings import current_settings


@pytest.fixture
def _few_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load_catalogue", lambda queues: CATALOGUE)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def output(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exception is None
    return result.stdout


def json_lines(*arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output(*arguments, "--json").splitlines()]


def test_list_names_the_bundled_recipes() -> None:
    lines = output("list").splitlines()
    assert any(line.startswith("grid-scan-3d ") for line in lines)


def test_list_tells_of_a_file_that_is_no_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.json").write_text("{")
    monkeypatch.setenv("ZOCELERY_RECIPES_FOLDERS", json.dumps([str(tmp_path)]))
    monkeypatch.setenv("ZOCELERY_RECIPES_ALIASES", '{"mimas": "grid-scan"}')
    current_settings.cache_clear()
    rows = {row["name"]: row for row in json_lines("list")}
    current_settings.cache_clear()
    assert "is not JSON" in rows["broken"]["error"]
    assert rows["mimas"] == {"name": "mimas", "alias_of": "grid-scan"}


def test_show_explains_parameters_and_nodes() -> None:
    text = " ".join(output("show", "grid-scan-3d").split())
    assert "images_xy the images of the scan along x and y" in text
    assert "(has to be given)" in text
    assert "(default 0.25)" in text
    assert "watch-xz Wait for the images of the second scan." in text
    assert "├─> centre (xray_centering, gather)" in text


def test_show_as_json_has_the_whole_document() -> None:
    (row,) = json_lines("show", "grid-scan")
    parameters = {parameter["name"]: parameter for parameter in row["parameters"]}
    assert parameters["images"]["used_in"] == ["node 'watch', parameters.images"]
    assert parameters["grid"]["default"] is None
    assert row["recipe"]["nodes"]["centre"]["task"] == "xray_centering"


def test_show_takes_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "zocalo.json"
    file.write_text(GRID_SCAN)
    text = output("show", str(file))
    assert "ispyb_image_pattern  used in node '1', parameters.pattern" in text


def test_an_unknown_recipe_is_an_error() -> None:
    result = call("show", "grid-scna")
    assert isinstance(result.exception, RecipeError)
    assert "did you mean 'grid-scan'?" in str(result.exception)


def test_validate_is_silent_about_good_files() -> None:
    files = [str(file) for file in resource_dir("recipes").glob("*.json")]
    result = call("validate", *files)
    assert result.exception is None
    assert result.stdout == ""
    assert result.stderr == f"{len(files)} valid\n"


def test_validate_lists_all_problems_and_the_failed_files(tmp_path: Path) -> None:
    good, cyclic, braces = (tmp_path / f"{name}.json" for name in "gcb")
    good.write_text('{"1": {"queue": "echo"}, "start": [[1, []]]}')
    cyclic.write_text('{"1": {"queue": "ehco", "output": 1}, "start": [[1, []]]}')
    braces.write_text(
        '{"1": {"queue": "echo", "parameters": {"x": "{}"}}, "start": [[1, []]]}'
    )
    absent = tmp_path / "a.json"
    result = call("validate", *map(str, (good, cyclic, braces, absent)))
    assert isinstance(result.exception, RecipeError)
    assert result.exception.exit_code == 2
    assert str(result.exception) == (
        f"3 of 4 recipes are not valid: {cyclic}, {braces}, {absent}"
    )
    assert f"{cyclic}: recipe 'c': 2 problems" in result.stderr
    assert "nodes feed each other in a cycle: 1 -> 1" in result.stderr
    assert "node '1', parameters.x: '{}': {} does not name" in result.stderr
    assert f"{absent}: cannot be read" in result.stderr


def test_validate_ends_with_a_line_that_can_be_read(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.json" for number in range(12)]
    for file in files:
        file.write_text("{}")
    result = call("validate", *map(str, files))
    named = ", ".join(map(str, files[:10]))
    told = f"12 of 12 recipes are not valid: {named} and 2 more"
    assert str(result.exception) == told
    assert all(str(file) in result.stderr for file in files)


def test_validate_as_json_has_a_line_for_each_file(tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text("{}")
    row = json.loads(call("validate", str(file), "--json").stdout)
    assert (row["file"], row["valid"]) == (str(file), False)
    assert "there is no 'start'" in row["error"]


@pytest.mark.usefixtures("_few_tasks")
def test_validate_can_leave_tasks_aside(tmp_path: Path) -> None:
    file = tmp_path / "zocalo.json"
    file.write_text(GRID_SCAN)
    assert isinstance(call("validate", str(file)).exception, RecipeError)
    assert call("validate", "--graph-only", str(file)).exception is None


def test_graph_is_text_by_default() -> None:
    assert output("graph", "per-image-analysis", "-p", "select=10").splitlines() == [
        "start ─> watch (file_watcher, watch)",
        "├─ first ─> first-image (per_image_analysis)",
        "│  └─> store-images (ispyb_pia)",
        "└─ select-10 ═> analyse (per_image_analysis)",
        "   ├─> summary (collect, gather)",
        "   ├─> store-images (see above)",
        "   └─> tell-gda (notify_gda)",
    ]


@pytest.mark.parametrize(
    ("ending", "begin"),
    [("svg", b"<?xml"), ("png", b"\x89PNG"), ("mmd", b"flowchart"), ("txt", b"start")],
)
def test_graph_takes_the_format_from_the_file(
    tmp_path: Path, ending: str, begin: bytes
) -> None:
    file = tmp_path / f"graph.{ending}"
    output("graph", "grid-scan", "-o", str(file))
    assert file.read_bytes().startswith(begin)


def test_graph_refuses_an_ending_that_it_does_not_know(tmp_path: Path) -> None:
    file = tmp_path / "graph.foo"
    result = call("graph", "grid-scan", "-o", str(file))
    assert isinstance(result.exception, ParameterError)
    assert "the ending .foo is none of .svg, .png, .mmd, .txt" in str(result.exception)
    assert not file.exists()
    output("graph", "grid-scan", "-o", str(file), "--format", "text")
    assert file.exists()


def test_graph_writes_a_picture_into_a_pipe() -> None:
    result = call("graph", "grid-scan", "--format", "svg")
    assert result.stdout_bytes.startswith(b"<?xml")


def test_graph_as_json_has_boxes_and_edges() -> None:
    (row,) = json_lines("graph", "grid-scan")
    roles = [box["role"] for box in row["boxes"]]
    assert roles[:3] == ["watch", "task", "gather"]
    assert row["edges"][0]["kind"] == "once per member"


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "absent" / "graph.svg"
    result = call("graph", "grid-scan", "-o", str(file))
    assert isinstance(result.exception, InputFileError)
    assert "cannot be written: No such file or directory" in str(result.exception)


def test_canvas_is_what_celery_is_given() -> None:
    assert "file_watcher" in output("canvas", "grid-scan")


def test_schema_is_printed() -> None:
    assert json.loads(output("schema")) == recipe_schema()


@pytest.mark.usefixtures("_few_tasks")
def test_tasks_are_listed_with_their_channels_and_zocalos_names() -> None:
    text = output("tasks")
    assert "xray_centering  (gather)" in text
    assert "channels  abort, success" in text
    assert "Zocalo    reduce.xray_centering, DLS X-Ray Centering" in text
    assert "every*, every-N*, select-N*" in text


def test_a_task_that_is_named_is_shown_with_its_parameters() -> None:
    text = output("tasks", "dials.scale")
    assert text.startswith("dials.scale  (wrapper)\n")
    assert "d_min              Scaling and merging: finest resolution, Å.\n" in text
    assert "dials.merge" not in text


def test_a_task_that_does_not_exist_is_an_error() -> None:
    error = str(call("tasks", "dials.indx").exception)
    assert error == "there is no task 'dials.indx'; did you mean 'dials.index'?"


@pytest.mark.usefixtures("_few_tasks")
def test_tasks_as_json_have_a_line_each() -> None:
    rows = {row["name"]: row for row in json_lines("tasks")}
    assert rows["per_image_analysis"]["parameters"]["properties"].keys() == {
        "d_min",
        "d_max",
    }
    assert rows["split"]["stream"] == ["each"]


@pytest.mark.parametrize("name", sorted(command.commands))
def test_every_command_explains_itself(name: str) -> None:
    text = output(name, "--help")
    assert len(text.splitlines()) > 5
