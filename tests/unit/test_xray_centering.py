"""X-ray centring as a recipe's node sees it."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from zocelery.errors import ParameterError, PermanentError, TemporaryError
from zocelery_tasks.centring_files import (
    report_2d,
    report_3d,
    write_atomically,
    write_results,
)
from zocelery_tasks.centring_results import success_message
from zocelery_tasks.grid_info import GridInfo
from zocelery_tasks.xray_centering import centre_2d, centre_3d
from zocelery_tasks.xray_centering_parameters import XrayCenteringParameters

GRID = GridInfo.parse("4x1")
PLAIN = XrayCenteringParameters()


def parse(**parameters: Any) -> XrayCenteringParameters:
    return XrayCenteringParameters.parse(parameters)


def test_the_order_of_arrival_does_not_matter() -> None:
    forward = centre_2d({1: 0, 2: 8, 3: 5, 4: 0}, GRID, PLAIN)
    backward = centre_2d({4: 0, 3: 5, 2: 8, 1: 0}, GRID, PLAIN)
    assert forward == backward
    assert forward.centre_of_mass == (2.0, 0.5)
    assert forward.missing == []


def test_a_missing_image_counts_as_empty_and_is_named() -> None:
    result = centre_2d({2: 8, 4: 8}, GRID, PLAIN)
    assert result.status == "ok"
    assert result.missing == [1, 3]
    assert result.centre_of_mass == (1.5, 0.5)


def test_an_image_outside_of_the_grid_is_left_out_and_named() -> None:
    result = centre_2d({1: 1, 2: 8, 3: 1, 4: 1, 5: 700, 0: 700}, GRID, PLAIN)
    assert result.unexpected == [0, 5]
    assert (result.best_image, result.max_count) == (2, 8)


def test_a_grid_without_any_result_fails_but_answers() -> None:
    result = centre_2d({}, GRID, PLAIN)
    assert result.status == "fail"
    assert result.missing == [1, 2, 3, 4]


def test_two_grids_are_centred_together() -> None:
    first = ({1: 0, 2: 5, 3: 0, 4: 0}, GRID)
    second = ({2: 3, 3: 0, 9: 1}, GRID)
    found = centre_3d([first, second], parse(sample_id=7))
    (crystal,) = found.results
    assert crystal.centre_of_mass == (1.5, 0.5, 0.5)
    assert (crystal.max_count, crystal.sample_id) == (15, 7)
    assert found.missing == [[], [1, 4]]
    assert found.unexpected == [[], [9]]


def test_a_pin_with_wells_has_thresholds_of_its_own() -> None:
    # boxes of 10 µm; the wells are at 0-20 and 20-40 µm
    grid = GridInfo.parse(
        {"steps_x": 4, "steps_y": 1, "dx_mm": 0.01, "micronsPerPixelX": 1}
    )
    counts = {1: 9, 2: 0, 3: 0, 4: 3}
    parameters = {
        "sample_id": "7",
        "loop_type": "multipin_2x20+10",
        "msp_sample_ids": "{1: 11, 2: 12}",
        "threshold_absolute": 1,
    }
    found = centre_3d([(counts, grid), (counts, grid)], parse(**parameters))
    assert [centre.sample_id for centre in found.results] == [11, 12]
    parameters["threshold_absolute_msp"] = 4
    found = centre_3d([(counts, grid), (counts, grid)], parse(**parameters))
    assert [centre.sample_id for centre in found.results] == [11]


def test_a_well_whose_sample_is_not_known_has_none() -> None:
    parameters = parse(loop_type="multipin_4x1+1", msp_sample_ids={"1": 11, "2": None})
    assert centre_2d({3: 8}, GRID, parameters).sample_id is None


@pytest.mark.parametrize("count", [1, 3])
def test_three_dimensions_take_two_grids(count: int) -> None:
    with pytest.raises(PermanentError, match="two grid scans"):
        centre_3d([({1: 1}, GRID)] * count, PLAIN)


def test_two_grids_must_be_of_one_length() -> None:
    with pytest.raises(PermanentError, match="not 4x1, 5x1"):
        centre_3d([({1: 1}, GRID), ({1: 1}, GridInfo.parse("5x1"))], PLAIN)


def test_parameters_may_be_text_or_left_unfilled() -> None:
    parameters = parse(
        dcid="123",
        dcg_dcids="[1, 2]",
        threshold="0.5",
        sample_id="None",
        beamline="{ispyb_beamline}",
        msp_sample_ids="{}",
        results_symlink=None,
        unknown="kept by others",
    )
    assert parameters.dcid == 123
    assert parameters.dcg_dcids == [1, 2]
    assert parameters.threshold == 0.5
    assert parameters.sample_id is parameters.beamline is None
    assert parameters.msp_sample_ids == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dcid", "abc"),
        ("threshold", -1),
        ("dcg_dcids", "1;2"),
        ("results_symlink", "../elsewhere"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(key: str, value: object) -> None:
    with pytest.raises(ParameterError) as refusal:
        parse(**{key: value})
    assert key in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_message_to_clients_has_zocalos_keys_and_names_what_is_missing() -> None:
    message = success_message(centre_2d({2: 8}, GRID, PLAIN))
    assert (message["status"], message["type"]) == ("success", "2d")
    assert message["missing"] == [1, 3, 4]
    assert message["results"][0]["centre_x_box"] == 1.5
    assert len(message["results"][0]) == 18
    pair = success_message(centre_3d([({2: 8}, GRID), ({2: 8}, GRID)], PLAIN))
    assert pair["type"] == "3d"
    assert pair["results"][0]["bounding_box"] == [[1, 0, 0], [2, 1, 1]]
    json.dumps([message, pair])


def test_result_log_and_link_are_written(tmp_path: Path) -> None:
    counts = {1: 0, 2: 8, 3: 5, 4: 0}
    parameters = parse(
        output=str(tmp_path / "uuid" / "Dials5AResults.json"),
        log=str(tmp_path / "uuid" / "centring.log"),
        results_symlink="xray-centring",
    )
    result = centre_2d(counts, GRID, parameters)
    report = report_2d(result, list(counts.values()), GRID.geometry)
    for _ in range(2):  # a second delivery is harmless
        written = write_results(result, report, parameters)
    link = tmp_path / "xray-centring"
    answer = json.loads((link / "Dials5AResults.json").read_text())
    assert (answer["centre_x_box"], answer["status"]) == (2.0, "ok")
    text = (tmp_path / "uuid" / "centring.log").read_text()
    assert "There are 8 reflections in image #2." in text
    assert ". 8 5 ." in text
    assert "centre_x,centre_y=2.0,0.5" in text
    assert len(written) == 3
    assert str(link.readlink()) == "uuid"
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "Dials5AResults.json",
        "centring.log",
        "uuid",
        "xray-centring",
    ]


def test_others_may_read_the_result(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "result.json", "{}")
    finally:
        os.umask(before)
    mode = (tmp_path / "result.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o644


def test_a_folder_in_the_place_of_the_link_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    parameters = parse(output=tmp_path / "uuid" / "r.json", results_symlink="kept")
    written = write_results(centre_2d({2: 8}, GRID, PLAIN), "", parameters)
    assert [path.name for path in written] == ["r.json"]
    assert not (tmp_path / "kept").is_symlink()


def test_a_file_where_a_folder_should_be_is_a_permanent_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match="cannot write"):
        write_atomically(tmp_path / "file" / "result.json", "{}")


def test_a_full_disk_is_a_temporary_error_and_leaves_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(TemporaryError, match="No space left"):
        write_atomically(tmp_path / "result.json", "{}")
    assert list(tmp_path.iterdir()) == []


def test_a_report_names_what_was_left_out() -> None:
    result = centre_2d({2: 8, 9: 1}, GRID, PLAIN)
    report = report_2d(result, [0, 8, 0, 0], GRID.geometry)
    assert "taken for empty: 1 3 4" in report
    assert "left out: 9" in report
    blank = centre_2d({}, GRID, PLAIN)
    assert "No good images found." in report_2d(blank, [0] * 4, GRID.geometry)


def test_a_report_of_a_pair_names_each_crystal_and_each_grids_gaps() -> None:
    found = centre_3d([({2: 8}, GRID), ({1: 0, 2: 8, 3: 0, 4: 0}, GRID)], PLAIN)
    report = report_3d(found)
    assert "1: centre (x, y, z) = (1.500, 0.500, 0.500) in boxes" in report
    assert "grid 1: images without a count, taken for empty: 1 3 4" in report
    assert "grid 2" not in report
