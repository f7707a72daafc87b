"""DIALS step by step: what each program is told, and what is read from what it says."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.benches import run_wrapper
from zocelery.errors import ParameterError, PermanentError, ProgramError
from zocelery_tasks.wrappers.dials_logs import dials_progress, found_space_group
from zocelery_tasks.wrappers.experiments import unit_cell
from zocelery_tasks.wrappers.merging import draw_answer, read_merging_statistics

STAND_IN = f"""#!{sys.executable} -S
import json, os, sys
here = os.path.dirname(os.path.abspath(__file__))
with open("arguments.json", "w") as stream:
    json.dump(sys.argv[1:], stream)
crystal = {{"real_space_a": [10, 0, 0], "real_space_b": [0, 20, 0],
           "real_space_c": [0, 0, 30]}}
expt = json.dumps({{"crystal": [crystal], "scan": [{{"image_range": [1, 9]}}]}})
stem = {{"index": "indexed", "integrate": "integrated", "scale": "scaled",
        "find_spots": "strong", "import": "imported", "refine": "refined",
        "symmetry": "symmetrized", "merge": "merged", "export": "scaled"}}
stem = stem[os.path.basename(sys.argv[0]).partition(".")[2]]
for suffix, text in ((".expt", expt), (".refl", ""), (".mtz", "")):
    if "leave-nothing=1" not in sys.argv:
        open(stem + suffix, "w").write(text)
print(open(here + "/says").read())
"""
SUMMARY = """
            -------------Summary of merging statistics--------------

                                            Suggested   Low    High  Overall
High resolution limit                           1.68    4.57    1.68    1.42
Completeness                                   82.9    72.6    66.8    65.0
Rmerge(I+/-)                                  0.056   0.028   0.222   0.056
CC half                                       0.998   0.999   0.933   0.997
Anomalous slope                               1.375
Total observations                            40608    2209    1022   46042

Writing html report to dials.scale.html
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder with stand-ins for DIALS's programs; they print `says`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    names = (
        "import",
        "find_spots",
        "index",
        "refine",
        "integrate",
        "symmetry",
        "scale",
    )
    for name in (*names, "merge", "export"):
        program = folder / f"dials.{name}"
        program.write_text(STAND_IN)
        program.chmod(0o755)
    (folder / "says").write_text("")
    return folder


def run(programs: Path, name: str, payload: Any = None, **parameters: Any) -> Any:
    path = {"PATH": f"{programs}:/usr/bin:/bin"}
    given = {"environment": path, **parameters}
    return run_wrapper(f"dials.{name}", programs.parent, given, payload=payload)


def told(answer: Any) -> list[str]:
    arguments = Path(answer["working_directory"]) / "arguments.json"
    found: list[str] = json.loads(arguments.read_text())
    return found


def files(folder: Path) -> dict[str, str]:
    pair = {
        "experiments": str(folder / "x.expt"),
        "reflections": str(folder / "x.refl"),
    }
    for name in pair.values():
        Path(name).touch()
    return pair


def test_each_step_takes_what_the_one_before_has_left(
    programs: Path, tmp_path: Path
) -> None:
    pair = files(tmp_path)
    spots = run(programs, "find_spots", {"experiments": pair["experiments"]})
    assert told(spots) == [pair["experiments"], "nproc=1"]
    indexed = run(
        programs, "index", spots, space_group=96, unit_cell="79 79 37 90 90 90"
    )
    assert told(indexed) == [
        pair["experiments"],
        spots["reflections"],
        "indexing.known_symmetry.space_group=96",
        "indexing.known_symmetry.unit_cell=79,79,37,90,90,90",
        "nproc=1",
    ]
    assert indexed["unit_cell"] == [10, 20, 30, 90, 90, 90]
    assert indexed["experiments"].endswith("dials.index/indexed.expt")


def test_a_step_can_be_run_again_on_files_that_are_named(
    programs: Path, tmp_path: Path
) -> None:
    refined = run(programs, "refine", {"experiments": "/gone"}, **files(tmp_path))
    assert told(refined) == list(files(tmp_path).values())
    again = run(programs, "refine", None, **files(tmp_path))
    assert refined["working_directory"] != again["working_directory"]


def test_images_are_named_one_by_one(programs: Path, tmp_path: Path) -> None:
    for number in (8, 9, 10):
        (tmp_path / f"x_{number:03d}.cbf").touch()
    imported = run(programs, "import", images=f"{tmp_path}/x_###.cbf:8:10")
    names = [f"{tmp_path}/x_{n}.cbf" for n in ("008", "009", "010")]
    assert told(imported) == [*names, "output.experiments=imported.expt"]
    assert imported["images"] == 9
    with pytest.raises(PermanentError, match=r"x_011\.cbf does not exist"):
        run(programs, "import", images=f"{tmp_path}/x_###.cbf:8:11")
    with pytest.raises(ParameterError, match="would be taken for a parameter"):
        run(programs, "import", images="/d/output.log=x_###.cbf:1:2")


def test_statistics_of_scaling_are_data(programs: Path, tmp_path: Path) -> None:
    says = "Space group being used during scaling is P 41 21 2\n" + SUMMARY
    (programs / "says").write_text(says)
    scaled = run(programs, "scale", files(tmp_path), d_min=None)
    assert scaled["space_group"] == "P 41 21 2"
    found = scaled["merging_statistics"]
    assert found["overall"]["ccHalf"] == 0.998
    assert found["innerShell"]["nTotalObservations"] == 2209
    assert found["outerShell"]["rMerge"] == 0.222
    assert found["allData"]["resolutionLimitHigh"] == 1.42
    merged = run(programs, "merge", scaled)
    assert "d_min=1.68" in told(merged)
    assert merged["merging_statistics"] == found
    assert "d_min=1.9" in told(run(programs, "merge", scaled, d_min=1.9))
    drawn = draw_answer(merged)
    assert "Space group  P 41 21 2" in drawn
    assert "CC half                          0.998     0.999     0.933" in drawn


def test_without_a_suggested_limit_all_data_are_the_overall(tmp_path: Path) -> None:
    text = SUMMARY.replace("Suggested   Low    High  Overall", "Overall  Low  High")
    log = tmp_path / "log"
    log.write_text(text.replace("65.0", "").replace("1.42", "").replace("0.997", ""))
    found = read_merging_statistics(log)
    assert found["overall"]["completeness"] == 82.9
    assert "allData" not in found
    log.write_text("nothing")
    with pytest.raises(PermanentError, match="has no summary"):
        read_merging_statistics(log)


def test_phil_parameters_go_by_their_full_names(programs: Path, tmp_path: Path) -> None:
    phil = {"profile.gaussian_rs.min_spots.overall": 10, "debug.output": False}
    answer = run(programs, "integrate", files(tmp_path), phil=phil, processes=2)
    assert told(answer)[2:] == [
        "nproc=2",
        "profile.gaussian_rs.min_spots.overall=10",
        "debug.output=False",
    ]
    for bad in (
        {"a b": 1},
        {"x": "1; y=2"},
        {"x": "$(id)"},
        {"--x": 1},
        {"x": {"y": 1}},
    ):
        with pytest.raises(ParameterError, match=r"dials\.integrate: "):
            run(programs, "integrate", files(tmp_path), phil=bad)


def test_a_step_that_leaves_nothing_has_failed(programs: Path, tmp_path: Path) -> None:
    (programs / "says").write_text("Sorry: too few reflections\n")
    bad = (programs / "dials.refine").read_text().replace('"leave-nothing=1"', '"x"')
    (programs / "dials.refine").write_text(bad.replace("not in", "in"))
    with pytest.raises(ProgramError, match=r"left no refined\.expt .* too few refl"):
        run(programs, "refine", files(tmp_path))


def test_progress_is_read_from_what_is_printed() -> None:
    progress = dials_progress()
    assert progress("Finding spots in image 11 to 20...") is None
    line = "Found 4128 strong pixels on image 13"
    assert progress(line) == ("spots of image 13", 3, 10)
    stage = progress("Performing profile modelling")
    assert stage == ("Performing profile modelling", 0, None)


def test_the_space_group_is_the_one_named_last(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("  Space group: P 1\nRecommended space group: P 21 21 21\n")
    assert found_space_group(log) == "P 21 21 21"
    log.write_text("")
    assert found_space_group(log) is None


def test_a_unit_cell_follows_from_its_vectors() -> None:
    cell = unit_cell([2, 0, 0], [1, 1, 0], [0, 0, -3])
    assert cell == pytest.approx([2, 2**0.5, 3, 90, 90, 45])


def test_what_a_program_complains_of_is_told_though_it_says_more(
    programs: Path, tmp_path: Path
) -> None:
    hints = "\n".join(f"  try parameter {number}" for number in range(9))
    (programs / "says").write_text(f"all is well\nSorry: too few spots:\n\n{hints}\n")
    bad = (programs / "dials.refine").read_text() + "sys.exit(1)\n"
    (programs / "dials.refine").write_text(bad)
    with pytest.raises(ProgramError) as raised:
        run(programs, "refine", files(tmp_path))
    said = str(raised.value).partition("it said: ")[2]
    assert said.startswith("Sorry: too few spots: | try parameter 1 | try parameter 2")
    assert said.endswith("try parameter 8")
