"""What a data collection asks for, and why."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from zocelery.errors import ConfigurationError, ParameterError
from zocelery.lims.grid_pairs import pair_up
from zocelery.rules import decision
from zocelery.rules.decision import Decision, decide, load_rules
from zocelery.rules.predicates import (
    beamline,
    detector,
    has_partner,
    is_end,
    is_grid,
    is_start,
    visit,
)
from zocelery.rules.scenario import GridPair, Scenario, find_scenario
from zocelery.settings import RuleSettings, current_settings

BUNDLED = RuleSettings(
    names=("mimas",), bundled=True, disabled=(), pipelines=("xia2/DIALS",)
)


def looked_up(dcid: int, first: int = 1, **grid: Any) -> dict[str, Any]:
    return {
        "ispyb_dcid": dcid,
        "ispyb_image_directory": "/dls/i99/x/",
        "ispyb_image_pattern": "g_%05d.cbf",
        "ispyb_image_first": first,
        "ispyb_image_last": first + 19,
        "ispyb_dc_info": {"dataCollectionGroupId": 8, "gridinfo": grid},
    }


PAIR = GridPair(first=looked_up(1, steps_x=5), second=looked_up(2, 21, steps_x=4))


def scenario(**values: Any) -> Scenario:
    given = {"dcid": 1, "group": 8, "parameters": looked_up(1), **values}
    return Scenario(**given)


def decisions(one: Scenario, settings: RuleSettings = BUNDLED) -> dict[str, Decision]:
    return {d.rule.name: d for d in decide(load_rules(settings), one)}


def recipes(one: Scenario) -> list[str]:
    return [i.recipe for d in decisions(one).values() for i in d.invocations]


# the bundled rules


def test_a_grid_is_centred_when_it_starts_and_not_again_when_it_ends():
    start, end = (scenario(kind="grid", event=event) for event in ("start", "end"))
    assert recipes(start) == recipes(end) == ["grid-scan"]
    ids = {
        decisions(one)["grid-scan"].invocations[0].run_id(one) for one in (start, end)
    }
    assert len(ids) == 1


def test_defect_07_one_grid_of_a_pair_waits_for_the_other_but_not_for_ever():
    first = {"kind": "grid", "experiment_type": "Mesh3D"}
    assert recipes(scenario(**first, event="start")) == []
    told = decisions(scenario(**first, event="start"))["grid-scan"].why
    assert told == "event is start, not end; experiment is Mesh3D"
    assert recipes(scenario(**first, event="end")) == ["grid-scan"]


def test_both_grids_and_both_events_ask_for_one_run_in_three_dimensions():
    runs = set()
    for dcid in (1, 2):
        for event in ("start", "end"):
            one = scenario(dcid=dcid, kind="grid", event=event, pair=PAIR)
            assert recipes(one) == ["grid-scan-3d"]
            (asked,) = decisions(one)["grid-scan-3d"].invocations
            runs.add(asked.run_id(one))
    assert len(runs) == 1
    assert asked.parameters == {
        "live": True,
        "images_xy": "/dls/i99/x/g_%05d.cbf:1:20",
        "images_xz": "/dls/i99/x/g_%05d.cbf:21:40",
        "gridinfo_xy": {"steps_x": 5},
        "gridinfo_xz": {"steps_x": 4},
        "dcid_xy": 1,
        "dcid_xz": 2,
        "dcid": 2,
        "dcgid": 8,
        "beamline": None,
    }


def test_a_rotation_is_looked_at_from_its_start_and_processed_at_its_end():
    assert recipes(scenario(kind="rotation", event="start")) == ["per-image-analysis"]
    end = scenario(kind="rotation", event="end")
    assert recipes(end) == ["per-image-analysis", "autoprocessing-xia2"]
    assert recipes(scenario(kind="screening")) == ["per-image-analysis"]
    assert recipes(scenario(kind="undefined")) == []


def test_the_preferred_pipeline_goes_first_and_the_others_let_live_runs_pass(
    monkeypatch: pytest.MonkeyPatch,
):
    names = ("xia2/DIALS", "xia2/3dii", "autoPROC", "fast_dp")
    settings = current_settings()
    rules = settings.rules.model_copy(update={"pipelines": names})
    changed = settings.model_copy(update={"rules": rules})
    monkeypatch.setattr("zocelery.rules.bundled.current_settings", lambda: changed)
    one = scenario(kind="rotation", preferred_processing="autoPROC")
    asked = decisions(one)["processing"].invocations
    assert [(i.recipe, i.urgency) for i in asked] == [
        ("autoproc", "live"),
        ("autoprocessing-xia2", "reprocessing"),
        ("autoprocessing-xia2", "reprocessing"),
        ("fast-dp", "reprocessing"),
    ]
    assert len({i.run_id(one) for i in asked}) == 4
    assert asked[2].parameters == {"pipeline": "3dii"}
    assert asked[3].parameters == {"image": "/dls/i99/x/g_00001.cbf"}
    other = scenario(kind="rotation", preferred_processing="EDNA")
    assert decisions(other)["processing"].invocations[0].recipe == "autoprocessing-xia2"


def test_xia2_runs_once_more_with_the_symmetry_that_is_known():
    one = scenario(kind="rotation", space_group="P43212", unit_cell=(78, 78, 37))
    plain, known = decisions(one)["processing"].invocations
    assert plain.parameters == {"pipeline": "dials"}
    assert known.parameters["space_group"] == "P43212"
    assert known.parameters["unit_cell"] == "78,78,37"
    assert (plain.urgency, known.urgency) == ("live", "reprocessing")
    assert plain.job == {"pipeline": "dials"}
    symmetry = {"spacegroup": "P43212", "unit_cell": "78,78,37"}
    assert known.job == {"pipeline": "dials", **symmetry}
    assert plain.run_id(one) != known.run_id(one)


@pytest.mark.parametrize("kind", ["serial_fixed", "serial_jet"])
def test_the_hit_rate_of_serial_data_is_told_from_their_start(kind: str):
    start, end = (scenario(kind=kind, event=event) for event in ("start", "end"))
    assert recipes(start) == recipes(end) == ["ssx"]
    (asked,), (again,) = (decisions(one)["serial"].invocations for one in (start, end))
    assert asked.run_id(start) == again.run_id(end)
    assert asked.parameters == {"live": True, "beamline": None}
    known = scenario(kind=kind, space_group="P43212", unit_cell=(78, 78, 37))
    (reduced,) = decisions(known)["serial"].invocations
    assert reduced.parameters["reduce"] is True
    assert reduced.parameters["unit_cell"] == "78,78,37"


def test_a_chip_of_serial_crystals_is_no_grid_to_be_centred():
    classes = {"grid": True, "serial_fixed": True}
    found = {**looked_up(1, steps_x=5), "ispyb_dc_class": classes}
    assert find_scenario(found).kind == "serial_fixed"


def test_a_guid_asks_for_everything_anew():
    one = scenario(kind="grid")
    (asked,) = decisions(one)["grid-scan"].invocations
    assert asked.run_id(one) == asked.run_id(one)
    assert len({asked.run_id(one, guid) for guid in (None, "a", "b")}) == 3


# predicates


def test_predicates_say_in_words_what_decides_them():
    ours = beamline("i03", "i04") & (is_start | is_end) & ~(detector("eiger") | is_grid)
    assert str(ours) == (
        "beamline i03/i04 & (event start | event end) & ~(detector eiger | kind grid)"
    )
    at_i03 = scenario(beamline="i03", kind="rotation")
    assert ours.holds(at_i03)
    assert ours.why(at_i03) == (
        "beamline is i03; event is end; detector is not known, not eiger; kind is "
        "rotation, not grid"
    )
    grid = scenario(beamline="i24", kind="grid")
    assert not ours.holds(grid)
    assert ours.why(grid) == "beamline is i24, not i03 or i04; kind is grid"
    assert (~has_partner).why(grid).startswith("not so: its group has a second")
    assert visit("cm", "nt").holds(scenario(visit="nt7-1"))
    assert not visit("cm").holds(scenario())


# rules of facilities


def install(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    entry = EntryPoint("i99", value, decision.ENTRY_POINTS)
    monkeypatch.setattr(decision, "entry_points", lambda **_: [entry])


def test_a_facilitys_rule_takes_the_place_of_the_bundled_one(
    monkeypatch: pytest.MonkeyPatch,
):
    install(monkeypatch, "tests.unit.facility_rules:RULES")
    ours = scenario(kind="rotation", beamline="i99", visit="cm1-2")
    assert "i99-processing" in recipes(ours)
    assert "autoprocessing-xia2" not in recipes(ours)
    told = decisions(ours.model_copy(update={"visit": "nt1-1"}))["processing"]
    assert told.why == "visit begins with nt"


def test_a_rule_that_fails_is_named(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, "tests.unit.facility_rules:RULES")
    with pytest.raises(ParameterError, match=r"'broken', data collection 1: KeyError"):
        decisions(scenario(beamline="i98"))


def test_what_is_no_rule_and_a_name_that_is_none_are_refused(
    monkeypatch: pytest.MonkeyPatch,
):
    disabled = BUNDLED.model_copy(update={"disabled": ("procesing",)})
    with pytest.raises(ConfigurationError, match=r"no rule 'procesing' .*processing"):
        load_rules(disabled)
    install(monkeypatch, "tests.unit.facility_rules:NOT_RULES")
    with pytest.raises(ConfigurationError, match=r"'i99' of zocelery.rules: 'proc"):
        load_rules(BUNDLED)


def test_rules_can_be_disabled_one_by_one_and_all_together():
    disabled = BUNDLED.model_copy(update={"disabled": ("processing",)})
    assert "processing" not in decisions(scenario(kind="rotation"), disabled)
    none = BUNDLED.model_copy(update={"bundled": False})
    assert decisions(scenario(kind="rotation"), none) == {}


# scenarios and pairs


def test_without_an_event_a_collection_has_ended_and_without_the_lims_there_is_none():
    classes = {"rotation": True, "screen": False, "characterization": True}
    known = {**looked_up(3), "ispyb_dc_class": classes}
    found = find_scenario(known)
    assert (found.dcid, found.event, found.kind) == (3, "end", "characterization")
    assert find_scenario({**known, "event": "START"}).event == "start"
    with pytest.raises(ParameterError, match="event 'begin' is none of start, end"):
        find_scenario({**known, "event": "begin"})
    with pytest.raises(ParameterError, match="need a data collection"):
        find_scenario({"ispyb_dcid": 3})


def grid(dcid: int, omega: float | None) -> dict[str, Any]:
    return {"dataCollectionId": dcid, "omegaStart": omega}


@pytest.mark.parametrize(
    ("angles", "pairs"),
    [
        ((0, 90), [(1, 2)]),
        ((0, -90.5), [(1, 2)]),
        ((30, 300), [(1, 2)]),
        ((0, 0), []),
        ((0, 0, 90, 90), [(1, 3), (2, 4)]),
        ((0, 90, 0, 90), [(1, 2), (3, 4)]),
        ((0, 45, 90), [(1, 3)]),
        ((None, None), [(1, 2)]),
        ((0, None), []),
        ((0,), []),
    ],
)
def test_grids_at_right_angles_pair_up(
    angles: tuple[float | None, ...], pairs: list[tuple[int, int]]
):
    grids = [grid(number + 1, angle) for number, angle in enumerate(angles)]
    assert pair_up(grids) == pairs


def test_grids_of_two_crystals_pair_up_with_those_of_their_length():
    shape = ((0, 20), (0, 31), (90, 31), (90, 20), (90, None))
    grids = [
        {**grid(number + 1, angle), "steps_x": steps}
        for number, (angle, steps) in enumerate(shape)
    ]
    assert pair_up(grids) == [(2, 3), (1, 4)]
