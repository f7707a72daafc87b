"""Whatever a parameter holds, a program gets it as one argument, or it is refused."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.benches import run_wrapper
from zocelery.catalogue import TaskKind
from zocelery.errors import ParameterError, PermanentError, ProgramError
from zocelery.messages import Member
from zocelery.registry import load_tasks

RECORDER = f"""#!{sys.executable} -S
import json, sys
with open("arguments.json", "a") as stream:
    stream.write(json.dumps(sys.argv[1:]) + "\\n")
sys.exit(3)
"""
STEPS = ("find_spots", "index", "refine", "integrate", "symmetry", "scale", "merge")
PROGRAMS = (
    *(f"dials.{name}" for name in ("import", *STEPS, "export", "python")),
    *("xia2", "xia2.multiplex", "xia2.ssx", "recorder"),
)
VALUES = (
    "; rm -rf x",
    "$(id)",
    "--option=injected",
    "a\noutput.log=x",
    "a{injected}",
    '"quoted',
)
Given = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """A place where a value comes from a recipe, a LIMS or the node before."""

    wrapper: str
    key: str
    """What a refusal names."""
    given: Callable[[str], Given]
    payload: Callable[[str], Any] = lambda _: None
    members: Callable[[str], tuple[Member, ...]] = lambda _: ()
    verbatim: bool = False
    """Whether the recipe's author decides what is an option."""

    def __str__(self) -> str:
        return f"{self.wrapper}-{self.key}"


FILES = {"experiments": "HERE/x.expt", "reflections": "HERE/x.refl"}
IMAGES = {"images": "HERE/x_####.cbf:1:1"}
XIA2 = {"xia2": {"pipeline": "dials", "image": "HERE/x_0001.cbf:1:1"}}


def image(value: str) -> Member:
    return Member("1", "watch/every", True, {"strong_pixels": value})


def imported(value: str) -> Member:
    return Member("", "watch/last", True, {"experiments": value, "images": 1})


def of_dials() -> list[Place]:
    places = [
        Place("dials.import", "images", lambda v: {"images": v}),
        Place(
            "dials.import",
            "dials.import: name",
            lambda v: {**IMAGES, "phil": {"name": v}},
        ),
        Place("dials.index", "space_group", lambda v: {**FILES, "space_group": v}),
        Place(
            "dials.refine",
            "no name of a parameter",
            lambda v: {**FILES, "phil": {v: 1}},
        ),
        Place(
            "dials.refine",
            "experiments",
            lambda _: {},
            payload=lambda v: {**FILES, "experiments": v},
        ),
        Place("dials.index", "unit_cell", lambda v: {**FILES, "unit_cell": v}),
        Place(
            "dials.join_spots",
            "dials.join_spots: name",
            lambda v: {"phil": {"name": v}},
            members=lambda _: (image("HERE/1.npz"), imported("HERE/x.expt")),
        ),
        Place(
            "dials.join_spots",
            "experiments",
            lambda _: {},
            members=lambda v: (image("HERE/1.npz"), imported(v)),
        ),
    ]
    for name in (*STEPS, "export"):
        step = f"dials.{name}"
        places += [
            Place(step, f"{step}: name", lambda v: {**FILES, "phil": {"name": v}}),
            Place(step, "experiments", lambda v: {**FILES, "experiments": v}),
        ]
    return places


def of_xia2() -> list[Place]:
    return [
        Place("xia2", "image", lambda v: {"images": v}),
        Place("xia2", "image", lambda v: {"xia2": {"image": v}}),
        Place("xia2", "image", lambda v: {"xia2": {"images": f"HERE/a_1.cbf:1:2,{v}"}}),
        Place("xia2", "space_group", lambda v: {**XIA2, "space_group": v}),
        Place("xia2", "unit_cell", lambda v: {**XIA2, "unit_cell": v}),
        Place("xia2", "pipeline", lambda v: {**IMAGES, "pipeline": v}),
        Place("xia2", "phil_file", lambda v: {**XIA2, "dials.integrate.phil_file": v}),
        Place("xia2", "commands", lambda v: {**XIA2, "commands": v}),
        Place(
            "xia2",
            "spotfinder.a",
            lambda v: {**XIA2, "ispyb_parameters": {"spotfinder.a": v}},
        ),
        Place("xia2", "no name of a parameter", lambda v: {**IMAGES, "xia2": {v: "1"}}),
        Place("xia2", "xia2: name", lambda v: {**IMAGES, "phil": {"name": v}}),
        Place("xia2", "xia2: name", lambda v: {**IMAGES, "xia2": {"name": v}}),
        Place(
            "xia2", "xia2: name", lambda v: {**XIA2, "ispyb_parameters": {"name": v}}
        ),
    ]


def of_the_others() -> list[Place]:
    recorder = ["recorder", "first"]
    return [
        Place(
            "xia2.multiplex", "data", lambda v: {"data": [{**FILES, "experiments": v}]}
        ),
        Place(
            "xia2.multiplex", "data", lambda v: {"data": [{**FILES, "reflections": v}]}
        ),
        Place(
            "xia2.multiplex",
            "space_group",
            lambda v: {"data": [FILES], "space_group": v},
        ),
        Place(
            "xia2.multiplex", "name", lambda v: {"data": [FILES], "phil": {"name": v}}
        ),
        Place("xia2.ssx", "images", lambda v: {"images": v}),
        Place("xia2.ssx", "space_group", lambda v: {**IMAGES, "space_group": v}),
        Place("xia2.ssx", "unit_cell", lambda v: {**IMAGES, "unit_cell": v}),
        Place("xia2.ssx", "reference", lambda v: {**IMAGES, "reference": v}),
        Place("xia2.ssx", "name", lambda v: {**IMAGES, "phil": {"name": v}}),
        Place("command", "-", lambda v: {"command": [*recorder, v]}, verbatim=True),
        Place(
            "command",
            "-",
            lambda v: {"command": recorder, "arguments": [v]},
            verbatim=True,
        ),
        Place(
            "command",
            "-",
            lambda _: {"command": [*recorder, {"payload": "a", "prefix": "hklin="}]},
            payload=lambda v: {"a": v},
        ),
        Place("command", "", lambda v: {"command": [*recorder, {"path": v}]}),
        Place("command", "command", lambda v: {"command": [v]}),
    ]


PLACES = [*of_dials(), *of_xia2(), *of_the_others()]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with recorders for all programs, and files to name."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text(RECORDER)
        (programs / name).chmod(0o755)
    here = tmp_path / "here"
    here.mkdir()
    for name in ("x.expt", "x.refl", "x_0001.cbf", "a_1.cbf", "1.npz"):
        (here / name).touch()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.chdir(here)
    return tmp_path


def filled(value: Any, here: Path) -> Any:
    """Return the value with `HERE` replaced by a folder, wherever it stands."""
    return json.loads(json.dumps(value).replace("HERE", str(here)))


def recorded(folder: Path) -> list[list[str]]:
    files = sorted((folder / "work").rglob("arguments.json"))
    return [
        json.loads(line) for file in files for line in file.read_text().splitlines()
    ]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_value_is_one_argument_or_refused_by_name(
    bench: Path, place: Place, value: str
) -> None:
    error = run(place, value, bench)
    if isinstance(error, ProgramError):
        (arguments,) = recorded(bench)
        assert_one_argument(arguments, value, place)
    else:
        assert place.key in str(error)
        assert not recorded(bench)


def run(place: Place, value: str, bench: Path) -> Exception:
    """Run a wrapper; return how it failed: the recorders always do."""
    here = bench / "here"
    members = place.members(value)
    with pytest.raises((ParameterError, PermanentError, ProgramError)) as raised:
        run_wrapper(
            place.wrapper,
            bench / "work",
            filled(place.given(value), here),
            payload=filled(place.payload(value), here),
            members=[replace(m, value=filled(m.value, here)) for m in members],
        )
    return raised.value


def assert_one_argument(arguments: list[str], value: str, place: Place) -> None:
    with_it = [argument for argument in arguments if argument.endswith(value)]
    if "spotfinder" not in place.key:  # these stand in a file
        assert len(with_it) == 1
        before = with_it[0].removesuffix(value)
        assert before == "" or before[-1] in "=/"
    if not place.verbatim:
        assert not any(argument.startswith("-") for argument in arguments)
    assert not any(argument.startswith("output.log") for argument in arguments)


def test_every_wrapper_has_its_places_here() -> None:
    wrappers = {n for n, spec in load_tasks().items() if spec.kind is TaskKind.WRAPPER}
    tried = {place.wrapper for place in PLACES}
    others = {"zocalo_wrapper", "sleep", "xia2.mp"}
    assert wrappers - tried <= others, wrappers - tried
