"""`zocelery centre`."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from zocelery.errors import InputFileError, UserError
from zocelery_tasks.commands.centre import centre

CASES = json.loads((Path(__file__).parent / "data" / "centring.json").read_text())
LINE = {"data": [0, 8, 5, 0], "steps": [4, 1], "sample_id": 7}
PAIR = {"xy": [[0], [5], [0]], "xz": [[0, 0], [1, 3], [0, 0]]}


def ask(document: Any, *options: str) -> Result:
    text = document if isinstance(document, str) else json.dumps(document)
    return CliRunner().invoke(centre, ["-", *options], input=text)


def refusal(document: Any) -> str:
    result = ask(document, "--json")
    assert isinstance(result.exception, UserError)
    assert result.exception.exit_code == 2
    message = str(result.exception)
    assert "\n" not in message
    return message


def test_one_grid_is_answered_by_one_object() -> None:
    case = CASES["gridscan2d"][0]
    result = ask(case, "--json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer.keys() == case["expected"].keys()
    assert answer["centre_x"] == pytest.approx(case["expected"]["centre_x"])
    assert answer["best_region"] == case["expected"]["best_region"]


def test_two_grids_are_answered_by_a_list() -> None:
    case = next(c for c in CASES["gridscan3d"] if c["multipin_sample_ids"])
    answer = json.loads(ask(case, "--json").stdout)
    assert [a["sample_id"] for a in answer] == [
        e["sample_id"] for e in case["expected"]
    ]


def test_what_is_not_said_is_taken_for_the_plainest() -> None:
    answer = json.loads(ask(LINE, "--json").stdout)
    assert answer["box_size_px"] == [1, 1]
    assert (answer["centre_x"], answer["centre_y"]) == (2.0, 0.5)


def test_a_grid_without_spots_is_an_answer_too() -> None:
    result = ask({"data": [0, 0], "steps": [1, 2]}, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["status"] == "fail"
    assert "No good images found" in ask({"data": [0, 0], "steps": [1, 2]}).stdout


def test_people_get_the_grid_and_its_centre(tmp_path: Path) -> None:
    file = tmp_path / "grid.json"
    file.write_text(json.dumps(LINE))
    text = CliRunner().invoke(centre, [str(file)]).stdout
    assert "0 │  ██><  │" in text
    assert "centre      (2.000, 0.500) in boxes" in text
    assert "best image  #2, 8 spots" in text
    assert "sample      7" in text
    text = ask(PAIR).stdout
    assert "x (to the right) and z (down)" in text
    assert "1: centre (x, y, z) = (1.500, 0.500, 1.250) in boxes" in text


def test_pictures_are_drawn_on_demand(tmp_path: Path) -> None:
    assert ask(LINE, "--picture", str(tmp_path / "grid.png")).exit_code == 0
    assert ask(PAIR, "--picture", str(tmp_path / "pair.png")).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "grid.png",
        "pair_xy.png",
        "pair_xz.png",
    ]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("{", "-: not JSON"),
        (100_000 * "[", "-: not JSON: maximum recursion depth"),
        ("[1]", "one object"),
        ({}, "data is missing"),
        ({**LINE, "steps": [4, 2]}, "steps 4 x 2 need 8 values in data, not 4"),
        ({**LINE, "steps": [0, 4]}, "steps.0 0"),
        ({**LINE, "data": [0, -1, 5, 0]}, "data.1 -1"),
        ({**LINE, "data": [0, "x", 5, 0]}, "data.1 'x'"),
        ('{"data": [0, NaN], "steps": [2, 1]}', "data.1 nan"),
        ({**LINE, "orientation": "diagonal"}, "orientation 'diagonal'"),
        ({**LINE, "treshold": 1}, "treshold"),
        ({**PAIR, "xz": [[1], [2]]}, "one length along x, not 3 and 2"),
        ({**PAIR, "xy": [[1], [2, 3], [4]]}, "xy must be rows of one length"),
        ({"xy": [], "xz": []}, "xy must be rows of one length"),
        ({"xy": [[1]]}, "xz is missing"),
    ],
)
def test_a_mistake_in_the_file_is_told_in_one_line(document: Any, told: str) -> None:
    assert told in refusal(document)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(centre, [str(tmp_path / "none.json")])
    assert isinstance(result.exception, InputFileError)
    assert "none.json: No such file" in str(result.exception)
    (tmp_path / "image.cbf").write_bytes(b"\xff\xfe\x00")
    result = CliRunner().invoke(centre, [str(tmp_path / "image.cbf")])
    assert "image.cbf: not a text" in str(result.exception)
