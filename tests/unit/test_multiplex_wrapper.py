"""Several data sets in one: which they are, and how missing ones are waited for."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.benches import Heard, run_wrapper, settings
from tests.unit.xia2_replay import write
from zocelery.desk import NoDesk
from zocelery.errors import NotYetError, PermanentError
from zocelery.messages import Member, Step
from zocelery_tasks.wrappers.base import Bench
from zocelery_tasks.wrappers.xia2_multiplex import (
    MultiplexParameters,
    collections,
    present_files,
)


def pair(name: str) -> dict[str, str]:
    return {"experiments": f"/d/{name}.expt", "reflections": f"/d/{name}.refl"}


def bench(folder: Path, step: Step, **parameters: Any) -> Bench:
    given = MultiplexParameters.model_validate(parameters)
    return Bench(step, NoDesk(settings(folder)), given, "multiplex")


def names(found: Any) -> list[str]:
    return [Path(c.experiments).stem for c in found]


def test_data_sets_come_from_members_payload_and_parameters(tmp_path: Path) -> None:
    members = [
        Member("1", "x", True, pair("a")),
        Member("2", "x", False, None, "no crystal"),
        Member("3", "x", True, [pair("b"), pair("a")]),
    ]
    gathered = bench(tmp_path, Step(members=members), data=[pair("c")])
    assert names(collections(gathered)) == ["c", "a", "b"]
    collected = Step(payload={"members": [pair("d"), {"other": 1}]})
    assert names(collections(bench(tmp_path, collected))) == ["d"]
    with pytest.raises(PermanentError, match="1 data sets are known, 2 are needed"):
        collections(bench(tmp_path, Step(payload=pair("a")), least=2))


def test_missing_data_sets_are_waited_for_with_growing_pauses(tmp_path: Path) -> None:
    given = MultiplexParameters.model_validate(
        {"data": [pair("gone")], "wait": 100, "least": 1}
    )
    pauses = []
    for number in (1, 2, 3):
        with pytest.raises((NotYetError, PermanentError)) as raised:
            present_files(given.data, given, number)
        pauses.append(getattr(raised.value, "pause", None))
    assert pauses == [30, 60, 10]
    with pytest.raises(PermanentError, match="0 of 1 data sets are there"):
        present_files(given.data, given, 4)


def test_after_the_wait_it_goes_on_with_what_is_there(tmp_path: Path) -> None:
    there = {kind: str(tmp_path / kind) for kind in ("experiments", "reflections")}
    for file in there.values():
        Path(file).touch()
    given = MultiplexParameters.model_validate({"data": [there, pair("gone")]})
    assert [str(f) for f in present_files(given.data, given, 1)] == list(there.values())


CRYSTALS = [
    {"real_space_a": [a, 0, 0], "real_space_b": [0, a, 0], "real_space_c": [0, 0, 37]}
    for a in (78, 80)
]
SCALED = """
Space group being used during scaling is P 43 21 2
"""
TABLE = """
                                             Overall    Low     High
Completeness                                  100.0   100.0   100.0
CC half                                       0.996   0.999   0.995
"""


def stand_in(folder: Path) -> dict[str, str]:
    """Make a program `xia2.multiplex`; return the environment in which it is found."""
    left = {
        "arguments.json": "",
        "scaled.mtz": "MTZ",
        "scaled.expt": json.dumps({"crystal": CRYSTALS}),
        "dials.scale.log": SCALED,
        "xia2.multiplex.log": TABLE,
        "xia2.multiplex.html": "<html>",
    }
    lines = [
        f"#!{sys.executable} -S",
        "import json, sys",
        f"left = {left!r}",
        "left['arguments.json'] = json.dumps(sys.argv[1:])",
        "for name, text in left.items(): open(name, 'w').write(text)",
    ]
    write(folder, "xia2.multiplex", "\n".join(lines))
    (folder / "xia2.multiplex").chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_what_was_merged_is_data(tmp_path: Path) -> None:
    there = {k: str(tmp_path / f"x.{k}") for k in ("experiments", "reflections")}
    for file in there.values():
        Path(file).touch()
    given = {
        "data": [there],
        "space_group": "P43212",
        "d_min": 2.5,
        "environment": stand_in(tmp_path / "bin"),
    }
    heard = Heard()
    answer = run_wrapper("xia2.multiplex", tmp_path / "work", given, heard=heard)
    assert answer["space_group"] == "P 43 21 2"
    assert answer["unit_cell"] == [79, 79, 37, 90, 90, 90]
    assert answer["merging_statistics"]["overall"]["ccHalf"] == 0.996
    assert answer["collections"] == 1
    folder = Path(answer["working_directory"])
    assert json.loads((folder / "arguments.json").read_text()) == [
        *there.values(),
        "symmetry.space_group=P43212",
        "resolution.d_min=2.5",
        "nproc=1",
    ]
    ranks = {f["file_name"]: f["importance_rank"] for f in answer["files"]}
    assert (ranks["scaled.mtz"], ranks["xia2.multiplex.html"]) == (1, 1)
    (told,) = heard.on("ispyb")
    autoproc, scaling = told["ispyb_command_list"]
    assert (autoproc["spacegroup"], autoproc["refinedcell_c"]) == ("P 43 21 2", 37)
    assert scaling["ispyb_command"] == "insert_scaling"
    assert scaling["outerShell"] == {"completeness": 100.0, "cc_half": 0.995}
