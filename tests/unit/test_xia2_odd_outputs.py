"""Runs of xia2 that left more, less or other things than most: each has an outcome."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.benches import Heard, run_wrapper
from tests.unit.test_xia2_wrapper import IMAGES
from tests.unit.xia2_replay import stand_in, write, write_run
from zocelery.errors import PermanentError, ProgramError
from zocelery_tasks.wrappers.lims_commands import lims_commands
from zocelery_tasks.wrappers.merging import draw_answer, read_merging_statistics

Change = Callable[[dict[str, Any]], None]


def run(folder: Path, *, exit_code: int = 0, heard: Heard | None = None) -> Any:
    job = {
        "environment": stand_in(folder / "bin", folder / "run", exit_code=exit_code),
        "working_directory": str(folder / "work"),
        **IMAGES,
    }
    return run_wrapper("xia2", folder, {}, job_parameters=job, heard=heard)


def changed(folder: Path, change: Change) -> None:
    """Write a run whose crystal `change` has altered."""
    replayed = write_run(folder / "run")
    project = json.loads((replayed / "xia2.json").read_text())
    change(project["_crystals"]["DEFAULT"])
    write(replayed, "xia2.json", project)


def statistics(crystal: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = crystal["_scaler"]["_scalr_statistics"]
    return found


def test_statistics_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    def _change(crystal: dict[str, Any]) -> None:
        (values,) = statistics(crystal).values()
        values["CC half"] = [float("nan"), 0.9, float("inf")]
        values["Completeness"] = [99.0]

    changed(tmp_path, _change)
    heard = Heard()
    answer = run(tmp_path, heard=heard)
    found = answer["merging_statistics"]
    assert "ccHalf" not in found["overall"]
    assert found["innerShell"]["ccHalf"] == 0.9
    assert "completeness" not in found["outerShell"]
    json.dumps([answer, *heard.on("ispyb")], allow_nan=False)
    assert "CC half" in draw_answer(answer)


def test_the_last_of_several_wavelengths_is_told(tmp_path: Path) -> None:
    def _change(crystal: dict[str, Any]) -> None:
        crystal["_wavelengths"]["WAVE2"] = crystal["_wavelengths"]["SAD"]
        (values,) = statistics(crystal).values()
        second = {**values, "CC half": [0.5, 0.5, 0.5]}
        statistics(crystal)['["AUTOMATIC", "DEFAULT", "WAVE2"]'] = second

    changed(tmp_path, _change)
    assert run(tmp_path)["merging_statistics"]["overall"]["ccHalf"] == 0.5


def without(*path: str) -> Change:
    def _change(crystal: dict[str, Any]) -> None:
        found = crystal
        for key in path[:-1]:
            found = found[key]
        del found[path[-1]]

    return _change


def named_otherwise(crystal: dict[str, Any]) -> None:
    (values,) = statistics(crystal).values()
    crystal["_scaler"]["_scalr_statistics"] = {"('A', 'B', 'SAD')": values}


def half_a_cell(crystal: dict[str, Any]) -> None:
    crystal["_scaler"]["_scalr_cell"] = [1.0, 2.0]


def without_wavelength(crystal: dict[str, Any]) -> None:
    sweep = crystal["_wavelengths"]["SAD"]["_sweeps"][0]
    beam = sweep["_indexer"]["_indxr_experiment_list"]["beam"][0]
    beam["wavelength"] = 0.0


@pytest.mark.parametrize(
    "change",
    [
        without("_scaler"),
        without("_scaler", "_scalr_statistics"),
        without("_scaler", "_scalr_likely_spacegroups"),
        without("_wavelengths", "SAD"),
        lambda crystal: statistics(crystal).clear(),
        lambda crystal: crystal.update(_scaler=None),
        named_otherwise,
        half_a_cell,
        without_wavelength,
    ],
)
def test_a_project_that_lacks_something_is_named(
    tmp_path: Path, change: Change
) -> None:
    changed(tmp_path, change)
    with pytest.raises(PermanentError, match=r"xia2\.json: is not of a complete run"):
        run(tmp_path)


def test_a_project_of_several_crystals_or_none_says_so(tmp_path: Path) -> None:
    replayed = write_run(tmp_path / "run")
    crystals: dict[str, Any]
    for crystals in ({}, {"A": {}, "B": {}}):
        write(replayed, "xia2.json", {"_crystals": crystals})
        with pytest.raises(PermanentError, match=rf"{len(crystals)} crystals, not one"):
            run(tmp_path)


def test_a_broken_report_and_an_empty_text_take_nothing_else(tmp_path: Path) -> None:
    replayed = write_run(tmp_path / "run")
    write(replayed, "xia2-report.json", "{")
    write(replayed, "xia2.txt", "")
    heard = Heard()
    answer = run(tmp_path, heard=heard)
    assert (answer["space_group"], answer["xtriage"]) == ("P 21 21 21", [])
    assert heard.on("updates")[0]["message"].startswith("no messages of xtriage: ")


def test_words_of_xtriage_may_be_of_any_form(tmp_path: Path) -> None:
    replayed = write_run(tmp_path / "run")
    odd = [None, {"level": "high", "text": "t"}, {"text": None}, {"level": 9}]
    write(replayed, "xia2-report.json", {"xtriage": odd})
    answer = run(tmp_path)
    assert [message["text"] for message in answer["xtriage"]] == ["t"]
    (told,) = lims_commands(answer["ispyb"], answer["xtriage"])[-1:]
    assert (told["message"], told["severity"]) == ("t", "INFO")


def test_an_error_that_xia2_got_over_is_no_failure(tmp_path: Path) -> None:
    replayed = write_run(tmp_path / "run")
    said = "Error: sweep 2 could not be processed\nStatus: normal termination\n"
    write(replayed, "xia2.txt", said)
    assert run(tmp_path)["space_group"] == "P 21 21 21"
    with pytest.raises(ProgramError, match=r"^xia2 failed: Error: sweep 2 could not"):
        run(tmp_path, exit_code=1)


def test_numbers_of_a_table_may_be_missing_or_starred(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "                      Overall    Low     High\n"
        "High resolution limit    1.50   4.07     1.50\n"
        "Anomalous correlation     nan   None    0.31*\n"
        "Total unique             1200    inf       90\n"
    )
    found = read_merging_statistics(log)
    assert [found[s]["ccAnomalous"] for s in found] == [None, None, 0.31]
    assert [found[s]["nTotalUniqueObservations"] for s in found] == [1200, None, 90]
    assert "0.310" in draw_answer({"merging_statistics": found})
