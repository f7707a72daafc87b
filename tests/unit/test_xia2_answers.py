"""What is read beside xia2's own results: a resolution, and the words of xtriage."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.unit.benches import Heard, run_wrapper
from tests.unit.test_xia2_wrapper import IMAGES, REPLAYS, needs_replays
from tests.unit.xia2_replay import stand_in, write, write_run
from zocelery_tasks.wrappers.xia2_results import read_xtriage

TABLE = """\
DIALS 3.12
Selected 46037 scaled reflections
Resolution cc_half:       1.65
Resolution Mn(I/sig):     1.75
{'misigma': {'layout': {'title': 'Merged <I/s(I)> vs. resolution 9.99'}}}
"""


def estimator(folder: Path, says: str, exit_code: int = 0) -> None:
    """Make a stand-in for dials.estimate_resolution beside the one for xia2."""
    folder.mkdir(exist_ok=True)
    program = folder / "dials.estimate_resolution"
    (folder / "says").write_text(says)
    program.write_text(
        f'#!/bin/sh\necho "$@" > asked\ncat {folder}/says\nexit {exit_code}'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def run(folder: Path, replayed: Path, heard: Heard | None = None) -> Any:
    job = {
        "environment": stand_in(folder / "bin", replayed),
        "working_directory": str(folder / "work"),
        **IMAGES,
    }
    return run_wrapper("xia2", folder, {}, job_parameters=job, heard=heard)


def scaled_run(folder: Path) -> Path:
    replayed = write_run(folder / "run")
    for suffix in ("expt", "refl"):
        write(replayed, f"DataFiles/AUTOMATIC_DEFAULT_scaled.{suffix}", "")
    text = (replayed / "xia2.txt").read_text()
    write(replayed, "xia2.txt", f"{text}Resolution limit by Mn(I/sig): 3.33\n")
    return replayed


def test_the_resolution_at_two_sigma_is_the_one_that_dials_estimates(
    tmp_path: Path,
) -> None:
    estimator(tmp_path / "bin", TABLE)
    heard = Heard()
    answer = run(tmp_path, scaled_run(tmp_path), heard)
    assert answer["resolution_i_sigma_2"] == 1.75
    folder = Path(answer["working_directory"])
    scaled = f"{folder}/DataFiles/AUTOMATIC_DEFAULT_scaled"
    asked = (folder / "asked").read_text()
    assert asked == f"{scaled}.expt {scaled}.refl misigma=2\n"
    (told,) = heard.on("ispyb")
    overall = told["ispyb_command_list"][1]["overall"]
    assert overall["res_i_sig_i_2"] == 1.75


def test_a_limit_that_xia2_names_is_not_taken_for_the_estimate(tmp_path: Path) -> None:
    estimator(tmp_path / "bin", "Resolution fit failed\n")
    answer = run(tmp_path, scaled_run(tmp_path))
    assert answer["resolution_i_sigma_2"] is None


def test_an_estimate_that_fails_does_not_fail_xia2(tmp_path: Path) -> None:
    estimator(tmp_path / "bin", "Sorry: no reflections\n", exit_code=1)
    heard = Heard()
    answer = run(tmp_path, scaled_run(tmp_path), heard)
    assert answer["resolution_i_sigma_2"] is None
    (update,) = heard.on("updates")
    assert "Sorry: no reflections" in update["message"]


def test_unmerged_intensities_serve_where_dials_has_left_none(tmp_path: Path) -> None:
    estimator(tmp_path / "bin", TABLE)
    replayed = write_run(tmp_path / "run")
    write(replayed, "DataFiles/AUTOMATIC_DEFAULT_scaled_unmerged.mtz", "MTZ")
    answer = run(tmp_path, replayed)
    assert answer["resolution_i_sigma_2"] == 1.75
    asked = (Path(answer["working_directory"]) / "asked").read_text()
    assert asked.endswith("AUTOMATIC_DEFAULT_scaled_unmerged.mtz misigma=2\n")


@needs_replays
def test_the_words_of_xtriage_reach_the_lims_with_their_rank(tmp_path: Path) -> None:
    heard = Heard()
    answer = run(tmp_path, REPLAYS / "success", heard)
    report = json.loads((REPLAYS / "success/xia2-report.json").read_text())
    assert [m["level"] for m in answer["xtriage"]] == [0, 0, 0, 0, 0, 1, 1, 2, 2]
    (told,) = heard.on("ispyb")
    messages = [
        command
        for command in told["ispyb_command_list"]
        if command["ispyb_command"] == "add_program_message"
    ]
    severities = [message["severity"] for message in messages]
    assert severities == ["INFO"] * 5 + ["WARNING"] * 2 + ["ERROR"] * 2
    expected = [(m["text"], m["summary"]) for m in report["xtriage"]]
    assert [(m["message"], m["description"]) for m in messages] == expected


@pytest.mark.parametrize("content", [{}, {"xtriage": None}, {"xtriage": []}])
def test_a_report_without_xtriage_has_nothing_to_say(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    write(tmp_path, "xia2-report.json", content)
    assert read_xtriage(tmp_path) == []
