"""xia2 as a node: its command line, what is a success, what is read, what is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.shared_data import SHARED
from tests.unit.benches import Heard, run_wrapper
from tests.unit.xia2_replay import stand_in, write, write_run
from zocelery.errors import ParameterError, ProgramError
from zocelery_tasks.wrappers.xia2 import Xia2Parameters, command_arguments

REPLAYS = SHARED / "data" / "xia2"
needs_replays = pytest.mark.skipif(
    not REPLAYS.is_dir(), reason="the recorded runs are not here"
)
IMAGES = {"xia2": {"pipeline": "dials", "image": "/data/x_0001.cbf:1:60"}}


def arguments(**parameters: Any) -> list[str]:
    given = {"images": "/data/x_####.cbf:1:60", **parameters}
    return command_arguments(Xia2Parameters.model_validate(given), 4)


def run(
    folder: Path, replayed: Path, heard: Heard | None = None, **parameters: Any
) -> Any:
    code = parameters.pop("exit_code", 0)
    job = {
        "environment": stand_in(folder / "bin", replayed, exit_code=code),
        "working_directory": str(folder / "work"),
        "results_directory": str(folder / "results"),
        **IMAGES,
        **parameters,
    }
    return run_wrapper("xia2", folder, {}, job_parameters=job, heard=heard)


def test_the_command_line_has_what_recipe_and_lims_say() -> None:
    found = arguments(
        pipeline="3dii",
        space_group="P 43 21 2",
        unit_cell=[78.9, 78.9, 37.1, 90, 90, 90],
        phil={"xia2.settings.small_molecule": True},
        ispyb_parameters={"d_min": ["1.8"], "spotfinder.threshold": "2", "atom": "Se"},
    )
    assert found == [
        "xia2",
        "pipeline=3dii",
        "xia2.settings.space_group=P 43 21 2",
        "xia2.settings.unit_cell=78.9,78.9,37.1,90,90,90",
        "nproc=4",
        "xia2.settings.small_molecule=True",
        "xia2.settings.resolution.d_min=1.8",
        "atom=Se",
        "image=/data/x_0001.cbf:1:60",
        "find_spots.phil_file=spots.phil",
    ]


def test_images_may_be_given_as_zocalo_does() -> None:
    given = {"images": "/d/a_1.cbf:1:9, /d/b.nxs", "trust_beam_centre": None}
    found = command_arguments(Xia2Parameters.model_validate({"xia2": given}), 1)
    assert found == ["xia2", "nproc=1", "image=/d/a_1.cbf:1:9", "image=/d/b.nxs"]
    with pytest.raises(ParameterError, match="no images are named"):
        command_arguments(Xia2Parameters.model_validate({"xia2": {"images": ""}}), 1)


NASTY = ("; rm -rf x", "$(id)", "a; output=x", "a\nb=c", "a{x}", "a # b", '"')


@pytest.mark.parametrize("value", NASTY)
@pytest.mark.parametrize(
    "place", ["space_group", "unit_cell", "phil", "ispyb_parameters", "xia2"]
)
def test_a_value_that_could_mean_more_is_refused_by_name(
    place: str, value: str
) -> None:
    given: Any = value
    if place not in ("space_group", "unit_cell"):
        given = {"name": value}
    with pytest.raises(ParameterError, match=r"xia2: [\w.]+: "):
        arguments(**{place: given})


@pytest.mark.parametrize("value", ["--option=injected", "-h"])
def test_a_value_that_looks_like_an_option_is_no_option(value: str) -> None:
    found = arguments(phil={"name": value}, ispyb_parameters={"other": value})
    assert f"name={value}" in found
    assert f"other={value}" in found
    with pytest.raises(ParameterError, match=r"is no name of a parameter"):
        arguments(phil={"--option": "x"})
    with pytest.raises(ParameterError, match=r"is not like"):
        arguments(images=None, xia2={"image": value})


def test_shell_lines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="commands: lines for a shell"):
        run(tmp_path, write_run(tmp_path / "run"), commands=["module load xia2"])


def test_results_are_read_and_told(tmp_path: Path) -> None:
    heard = Heard()
    answer = run(tmp_path, write_run(tmp_path / "run"), heard)
    results = tmp_path / "results" / "xia2-dials"
    assert answer["space_group"] == "P 21 21 21"
    assert answer["unit_cell"] == [10.1, 20.1, 30.1, 90.0, 90.0, 90.0]
    assert answer["merging_statistics"]["outerShell"]["ccHalf"] == 0.5
    assert [m["text"] for m in answer["xtriage"]] == [
        "All is well.",
        "There may be ice.",
    ]
    (commands,) = heard.on("ispyb")
    names = [c["ispyb_command"] for c in commands["ispyb_command_list"]]
    assert names == [
        "write_autoproc",
        "insert_scaling",
        "upsert_integration",
        "add_program_message",
        "add_program_message",
    ]
    _, scaling, integration, _, ice = commands["ispyb_command_list"]
    assert scaling["overall"]["n_tot_obs"] == 1000
    assert (integration["start_image_no"], integration["end_image_no"]) == (3, 50)
    assert integration["refined_detector_dist"] == 200.0
    assert (integration["refined_xbeam"], integration["refined_ybeam"]) == (60.0, 50.0)
    assert (ice["message"], ice["severity"]) == ("There may be ice.", "WARNING")
    image = answer["ispyb"]["AutoProcScalingContainer"]["AutoProcIntegrationContainer"]
    assert image[0]["Image"] == {
        "fileName": "x_0003.cbf",
        "fileLocation": "/data/visit",
    }
    told = {
        f["file_name"]: (f["file_type"], f["importance_rank"], f["file_path"])
        for f in heard.on("result-individual-file")
    }
    assert told == {
        "xia2.html": ("log", 1, str(results)),
        "xia2.txt": ("log", 2, str(results)),
        "AUTOMATIC_DEFAULT_free.mtz": ("result", 1, f"{results}/DataFiles"),
        "AUTOMATIC_DEFAULT_scaled.mtz": ("result", 2, f"{results}/DataFiles"),
        "merging-statistics.json": ("graph", 2, f"{results}/LogFiles"),
        "SCALE.log": ("log", 2, f"{results}/LogFiles"),
    }
    assert (results / "xia2.json").exists()


def test_a_second_try_replaces_the_results_of_the_first(tmp_path: Path) -> None:
    replayed = write_run(tmp_path / "run")
    run(tmp_path, replayed)
    (replayed / "DataFiles/AUTOMATIC_DEFAULT_scaled.mtz").unlink()
    run(tmp_path, replayed)
    data = tmp_path / "results/xia2-dials/DataFiles"
    assert [f.name for f in data.iterdir()] == ["AUTOMATIC_DEFAULT_free.mtz"]
    works = sorted(f.name for f in (tmp_path / "work").iterdir())
    assert works == ["xia2-dials", "xia2-dials.2"]


def test_selected_files_go_to_a_final_folder_too(tmp_path: Path) -> None:
    final = {"path": str(tmp_path / "final"), "patterns": ["*_free.mtz"]}
    run(tmp_path, write_run(tmp_path / "run"), **{"pipeline-final": final})
    names = [f.name for f in (tmp_path / "final").iterdir()]
    assert names == ["AUTOMATIC_DEFAULT_free.mtz"]


@pytest.mark.parametrize("missing", ["xia2.json", "DataFiles", "LogFiles"])
def test_a_run_that_left_too_little_is_a_failure(tmp_path: Path, missing: str) -> None:
    replayed = write_run(tmp_path / "run")
    (replayed / missing).rename(tmp_path / "gone")
    with pytest.raises(ProgramError, match=f"xia2 left no {missing}"):
        run(tmp_path, replayed)


def test_an_error_file_is_a_failure_whatever_the_exit_code(tmp_path: Path) -> None:
    replayed = write_run(tmp_path / "run")
    write(replayed, "xia2-error.txt", "Traceback\nValueError: no images\n")
    heard = Heard()
    with pytest.raises(ProgramError, match=r"xia2 failed: ValueError: no images"):
        run(tmp_path, replayed, heard)
    names = [f["file_name"] for f in heard.on("result-individual-file")]
    assert names == ["xia2.html", "xia2.txt", "xia2-error.txt"]


def test_an_exit_code_is_a_failure_whatever_was_left(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="xia2 ended with exit code 1"):
        run(tmp_path, write_run(tmp_path / "run"), exit_code=1)


def expected_values(found: Any) -> Any:
    """Return what has to agree: all but the folder and time of the replay."""
    text = json.loads(json.dumps(found))
    del text["AutoProcScalingContainer"]["AutoProcScaling"]["recordTimeStamp"]
    for file in text["AutoProcProgramContainer"]["AutoProcProgramAttachment"]:
        del file["filePath"]
    return text


@needs_replays
def test_a_recorded_run_gives_the_values_that_xia2_itself_would_store(
    tmp_path: Path,
) -> None:
    answer = run(tmp_path, REPLAYS / "success")
    expected = json.loads((REPLAYS / "success/ispyb.expected.json").read_text())
    assert expected_values(answer["ispyb"]) == expected_values(expected)


@needs_replays
def test_a_recorded_failure_says_what_xia2_says(tmp_path: Path) -> None:
    said = "xia2 failed: Error: executable freerflag does not exist in PATH"
    with pytest.raises(ProgramError, match=said):
        run(tmp_path, REPLAYS / "failure", exit_code=1)
