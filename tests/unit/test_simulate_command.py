"""`zocelery simulate`, as typed."""

import json
import shlex

import click
import pytest
from click.testing import CliRunner

from zocelery.errors import InputFileError, ParameterError
from zocelery_tasks.commands.simulate import simulate

SMALL = ("--detector", "test_128k", "--d-min", "3")


def run(*arguments):
    return CliRunner().invoke(
        simulate, list(map(str, arguments)), catch_exceptions=False
    )


def run_json(*arguments):
    result = run(*arguments, "--json", *SMALL)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_a_rotation_is_written_and_told_as_json(tmp_path):
    summary = run_json("rotation", tmp_path, "--images", 2, "--truth")
    (scan,) = summary["scans"]
    assert summary["kind"] == "rotation"
    assert summary["cell"] == [78.9, 78.9, 37.1, 90, 90, 90]
    assert scan["master"] == str(tmp_path / "lyso_1.nxs")
    assert scan["cbf_template"] is None
    assert scan["truth"] == str(tmp_path / "lyso_1_truth.json")
    assert (scan["images"], scan["shape"], scan["files"]) == (2, [256, 512], 5)
    assert scan["bytes"] == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_the_next_command_names_what_was_written(tmp_path):
    summary = run_json("rotation", tmp_path, "--images", 2, "--format", "cbf")
    assert summary["next"] == (
        f"zocelery run per-image-analysis -p images={tmp_path}/lyso_1_%05d.cbf:1:2"
    )


def test_the_next_command_for_a_plain_grid_tells_its_steps(tmp_path):
    summary = run_json("grid", tmp_path, "--grid", "3x2")
    assert summary["next"] == (
        f"zocelery run grid-scan -p images={tmp_path}/grid_1.nxs -p grid=3x2"
    )


def test_the_next_command_for_any_other_grid_tells_all_of_it(tmp_path):
    summary = run_json("grid", tmp_path, "--steps", "2X3", "--snaked", "--vertical")
    words = shlex.split(summary["next"])
    assert words[:3] == ["zocelery", "run", "grid-scan"]
    key, _, value = words[-1].partition("=")
    assert key == "gridinfo"
    told = json.loads(value)
    assert told == summary["scans"][0]["gridinfo"]
    assert (told["steps_x"], told["steps_y"]) == (2, 3)
    assert told["snaked"] is True
    assert told["orientation"] == "vertical"


def test_a_third_axis_makes_two_scans_and_one_command(tmp_path):
    place = ("--centre", "1.5,0.5,1.5", "--crystal-size", "2,1,2")
    summary = run_json("grid", tmp_path, "--grid", "3x2", "--third-axis", 4, *place)
    assert summary["centre"] == [1.5, 0.5, 1.5]
    assert [scan["name"] for scan in summary["scans"]] == ["grid_1_xy", "grid_1_xz"]
    assert [scan["best_image"] for scan in summary["scans"]] == [2, 5]
    assert shlex.split(summary["next"]) == [
        *("zocelery", "run", "grid-scan-3d"),
        *("-p", f"images_xy={tmp_path}/grid_1_xy.nxs", "-p", "grid_xy=3x2"),
        *("-p", f"images_xz={tmp_path}/grid_1_xz.nxs", "-p", "grid_xz=3x4"),
    ]


def test_people_are_told_where_the_crystal_is_and_how_fast_it_went(tmp_path):
    place = ("--centre", "1.5,0.5", "--frame-rate", 1000)
    result = run("grid", tmp_path, "--grid", "3x2", *place, *SMALL)
    files, pace, crystal, centre, hint = result.stdout.splitlines()
    assert files.startswith(f"{tmp_path}/grid_1.nxs: 6 images of test_128k (512 x 256")
    assert pace.startswith("  1000 images/s asked for, ")
    assert "3 x 2 boxes, crystal at (1.50, 0.50)" in crystal
    assert "most in image 2" in crystal
    assert centre == "centre of the crystal: (1.50, 0.50) boxes"
    assert hint.startswith("try: zocelery run grid-scan -p images=")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("--frame-rate", "0"), ParameterError, "frame-rate: .* greater than 0"),
        (("--frame-rate", "-5"), ParameterError, "frame-rate: .* greater than 0"),
        (("--detector", "ccd"), ParameterError, "unknown detector 'ccd'; known: eig"),
        (("--grid", "0x4"), ParameterError, "0x4"),
        (("--stem", "a/b"), ParameterError, "stem: 'a/b' is not a plain name"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        run("grid", tmp_path / "new", *arguments)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "new").exists()


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputFileError, match=r"cannot write to .*/taken"):
        run("rotation", tmp_path / "taken", "--images", 1, *SMALL)


@pytest.mark.parametrize("arguments", [("--grid", "10by8"), ("--centre", "middle")])
def test_values_of_the_wrong_form_are_refused_by_the_command_line(tmp_path, arguments):
    result = run("grid", tmp_path / "new", *arguments)
    assert result.exit_code == click.UsageError.exit_code == 2
    assert f"{arguments[1]!r} is not of the form" in result.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["rotation", "grid"])
def test_help_tells_the_defaults(command):
    text = run(command, "--help").stdout
    assert "[default: eiger2_1m]" in " ".join(text.split())
    assert "test_128k" in text
