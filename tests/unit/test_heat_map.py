"""Grids of counts as pictures."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from zocelery.errors import InputFileError
from zocelery_tasks.heat_map import draw_grid, draw_text, save_picture, table_of_counts

GRID = np.array([[0.0, 1, 2], [0, 10, 100]])


def test_a_table_shows_counts_and_dots_for_nothing() -> None:
    assert table_of_counts(GRID) == ["  .   1   2", "  .  10 100"]


def test_boxes_are_shaded_by_their_counts_and_the_centre_is_marked() -> None:
    grid = np.array([[0.0, 4, 5, 8, 10], [0, 0, 0, 0, 0]])
    text = draw_text(grid, centre=(2.9, 1.5)).plain
    assert text.splitlines() == [
        "  ┌0─────────┐",
        "0 │  ··░░▓▓██│",
        "1 │    ><    │",
        "  └──────────┘",
    ]


def test_wide_grids_have_narrow_boxes() -> None:
    lines = draw_text(np.ones((1, 60)), centre=(0.5, 0.5)).plain.splitlines()
    assert {len(line) for line in lines} == {64}
    assert lines[1].startswith("0 │>")


def test_a_blank_grid_is_blank() -> None:
    text = draw_text(np.zeros((2, 3))).plain
    assert not set(text) & set("·░▒▓█")


def test_an_answer_is_drawn_on_the_grid_that_was_scanned() -> None:
    counts = [0, 0, None, 0, 9, 4]
    answer = {"results": [{"centre_of_mass": [0.5, 1.5, 0.5]}]}
    plain = draw_grid(counts, (3, 2), answer).splitlines()
    assert [line[3:-1] for line in plain[1:3]] == ["    ??", "><██··"]
    snaked = draw_grid(counts, (3, 2), {**answer, "snaked": True}).splitlines()
    assert [line[3:-1] for line in snaked[1:3]] == ["    ??", "><██  "]
    pair = draw_grid(counts, (3, 2), answer, axis=2).splitlines()
    assert [line[3:-1] for line in pair[1:3]] == ["><  ??", "  ██··"]
    blank = draw_grid([0, 0], (2, 1), {"results": [{"centre_of_mass": None}]})
    assert "><" not in blank


def test_png_and_svg_are_written(tmp_path: Path) -> None:
    numbers = np.arange(1, 7).reshape(2, 3)
    for name in ("map.png", "map.svg"):
        save_picture(
            tmp_path / name,
            GRID,
            centre=(2.5, 1.5),
            numbers=numbers,
            region=[(1, 2)],
            missing=[1],
            title="grid 7",
        )
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    drawn = (tmp_path / "map.svg").read_text()
    ElementTree.fromstring(drawn)
    # texts are drawn as shapes, each after a comment that says what it is
    for text in ("grid 7", "x (boxes)", "y (boxes)", "spots", *"23456"):
        assert f"<!-- {text} -->" in drawn


def test_pictures_of_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"map.bmp: .*\.png"):
        save_picture(tmp_path / "map.bmp", GRID)
    with pytest.raises(InputFileError, match="cannot write"):
        save_picture(tmp_path / "nowhere" / "map.png", GRID)


def test_nothing_is_loaded_for_drawing_before_a_picture_is_drawn() -> None:
    code = (
        "import sys, zocelery_tasks.heat_map, zocelery_tasks.commands.centre;"
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
