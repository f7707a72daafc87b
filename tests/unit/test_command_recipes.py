"""The recipes on the wrapper `command`, with stand-ins for the programs they run."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.benches import Heard, run_wrapper
from tests.unit.test_recipe_bundled import bundled
from zocelery.errors import PermanentError, ProgramError
from zocelery.parameters import fill_in


def stand_in(folder: Path, program: str, leaves: dict[str, str]) -> None:
    """Make a program that notes its arguments and leaves files."""
    folder.mkdir(exist_ok=True)
    (folder / program).write_text(
        f"#!{sys.executable} -S\n"
        "import json, sys\n"
        f"leaves = {leaves!r}\n"
        "leaves['told'] = json.dumps(sys.argv[1:])\n"
        "for name, text in leaves.items():\n"
        "    open(name, 'w').write(text)\n"
    )
    (folder / program).chmod(0o755)


CASES: dict[str, dict[str, Any]] = {
    "fast-dp": {
        "program": "fast_dp",
        "given": {"image": "HERE/x_0001.cbf", "arguments": ["-l", "/opt/durin.so"]},
        "leaves": {
            "fast_dp.mtz": "MTZ",
            "fast_dp.json": '{"spacegroup": "P43212"}',
            "fast_dp.log": "done",
            "CORRECT.LP": "xds",
        },
        "told": "--atom=S -j 0 HERE/x_0001.cbf -l /opt/durin.so",
        "first": ("fast_dp.mtz", "result", 1),
    },
    "dimple": {
        "program": "dimple",
        "given": {"mtz": "HERE/x.mtz", "pdb": "HERE/x.pdb"},
        "leaves": {
            "final.pdb": "PDB",
            "final.mtz": "MTZ",
            "blob1v1.png": "",
            "dimple.log": "done",
        },
        "told": "HERE/x.mtz HERE/x.pdb . -fpng",
        "first": ("final.pdb", "result", 1),
    },
    "autoproc": {
        "program": "process",
        "given": {
            "image_directory": "/d",
            "template": "x_####.cbf",
            "first": 1,
            "last": 100,
            "arguments": ["symm=P43212"],
        },
        "leaves": {
            "truncate-unique.mtz": "MTZ",
            "staraniso_alldata-unique.mtz": "MTZ",
            "summary.html": "<html>",
            "autoPROC.xml": "<xml>",
            "x.table1": "",
        },
        "told": "-B -xml -Id data,/d,x_####.cbf,1,100 symm=P43212",
        "first": ("truncate-unique.mtz", "result", 1),
    },
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with files to name; stand-ins beside it are found first."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in ("x_0001.cbf", "x.mtz", "x.pdb"):
        (folder / name).touch()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return folder


def run(name: str, here: Path, leaves: dict[str, str], heard: Heard) -> Any:
    """Run the one node of a bundled recipe."""
    case = CASES[name]
    stand_in(here.parent / "bin", case["program"], leaves)
    given = json.loads(json.dumps(case["given"]).replace("HERE", str(here)))
    given["results_directory"] = str(here.parent / "results")
    (node,) = fill_in(bundled(name), given).nodes.values()
    return run_wrapper("command", here.parent / "work", node.parameters, heard=heard)


def told(heard: Heard) -> Sequence[tuple[str, str, int]]:
    files = heard.on("result-individual-file")
    return [(f["file_name"], f["file_type"], f["importance_rank"]) for f in files]


@pytest.mark.parametrize("name", CASES)
def test_the_program_gets_its_arguments_and_its_files_are_told(
    name: str, here: Path
) -> None:
    case, heard = CASES[name], Heard()
    answer = run(name, here, case["leaves"], heard)
    arguments = json.loads((Path(answer["working_directory"]) / "told").read_text())
    assert arguments == case["told"].replace("HERE", str(here)).split(" ")
    assert told(heard)[0] == case["first"]
    expected = {*case["leaves"], "command.log"}
    assert {file for file, _, _ in told(heard)} == expected
    results = here.parent / "results" / "command"
    assert {f.name for f in results.iterdir()} == {*expected, ".zocelery.json"}


@pytest.mark.parametrize("name", CASES)
def test_a_program_that_leaves_no_result_has_failed(name: str, here: Path) -> None:
    with pytest.raises(ProgramError, match=f"{CASES[name]['program']} left no file"):
        run(name, here, {}, Heard())


def test_the_statistics_of_fast_dp_are_data(here: Path) -> None:
    answer = run("fast-dp", here, CASES["fast-dp"]["leaves"], Heard())
    assert answer["data"] == {"spacegroup": "P43212"}


def test_fast_dp_fails_by_its_own_error_file(here: Path) -> None:
    leaves = {**CASES["fast-dp"]["leaves"], "fast_dp.error": "no spots"}
    with pytest.raises(ProgramError, match=r"left the file 'fast_dp\.error'"):
        run("fast-dp", here, leaves, Heard())


def test_a_model_that_is_not_there_is_named(here: Path) -> None:
    (here / "x.pdb").unlink()
    with pytest.raises(PermanentError, match=r"x\.pdb does not exist"):
        run("dimple", here, CASES["dimple"]["leaves"], Heard())
