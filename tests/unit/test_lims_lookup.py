"""Look-up: what a data collection or a job gives a recipe."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests import lims_rows
from tests.lims_rows import DCID, GRID_DCID, JOB, SERIAL_DCID, STILL_DCID, VISIT
from zocelery.errors import ParameterError
from zocelery.lims.abilities import find_abilities
from zocelery.lims.connection import Lims
from zocelery.lims.layout import DIAMOND, GENERIC, Layout
from zocelery.lims.lookup import LookedUp, is_ready, look_up, wait_until_ready
from zocelery.lims.tables import table
from zocelery.lims.visit_files import sample_groups_of, symmetry_of

IMAGES = f"{VISIT}/raw/lyso/ly-so_2_%05d.cbf"


@pytest.fixture
def lims(tmp_path: Path) -> Lims:
    return lims_rows.sqlite_lims(tmp_path)


def find(lims: Lims, layout: Layout = DIAMOND, **parameters: Any) -> LookedUp:
    names_recipe = parameters.pop("names_recipe", True)
    abilities = find_abilities(lims)
    given = {"guid": "g1", **parameters}
    return look_up(
        lims, abilities, given, layout, names_recipe=names_recipe, writes=False
    )


def test_a_rotation_gives_every_parameter(lims: Lims):
    found = find(lims, ispyb_dcid=DCID).parameters
    info = found.pop("ispyb_dc_info")
    assert (info["uuid"], info["gridinfo"], info["axisRange"]) == ("g1", {}, 0.1)
    assert len(info) == len(table("DataCollection").columns) + 2
    plan = found.pop("ispyb_diffraction_plan")
    assert plan["requiredResolution"] == 1.5
    protein = found.pop("ispyb_protein_info")
    assert protein["acronym"] == "lyso"
    assert "externalId" not in protein
    other = f"{VISIT}/raw/lyso/ly-so_2_00001.cbf"
    model = found.pop("ispyb_pdb")
    assert [m["code"] for m in model] == [None, "1LYZ"]
    digest = hashlib.sha1(b"ATOM").hexdigest()
    assert model[0]["filepath"] == f"{VISIT}/tmp/pdb/{digest}/model.pdb"
    assert found == {
        "guid": "g1",
        "ispyb_dcid": DCID,
        "ispyb_beamline": "i99",
        "ispyb_detectorclass": "eiger",
        "ispyb_detectorname": "Eiger16M",
        "ispyb_dcg_experiment_type": "SAD",
        "ispyb_dc_class": {
            "grid": False,
            "screen": False,
            "characterization": False,
            "rotation": True,
            "serial_fixed": False,
            "serial_jet": False,
            "diamond_anvil_cell": False,
        },
        "ispyb_energy_scan_info": {
            "energyscanid": 51,
            "atom_type": "Se",
            "edge_position": "peak",
            "fp": -8.0,
            "fpp": 5.0,
        },
        "ispyb_smiles": "CCO",
        "ispyb_preferred_processing": "autoPROC",
        "ispyb_image_first": 1,
        "ispyb_image_last": 100,
        "ispyb_image_template": "ly-so_2_#####.cbf",
        "ispyb_image_directory": f"{VISIT}/raw/lyso/",
        "ispyb_image_pattern": "ly-so_2_%05d.cbf",
        "ispyb_image": f"{other}:1:100",
        "ispyb_images": "",
        "ispyb_visit": "cm7-3",
        "ispyb_visit_directory": VISIT,
        "ispyb_working_directory": f"{VISIT}/tmp/zocalo/raw/lyso/ly-so_2/g1",
        "ispyb_results_directory": f"{VISIT}/processed/raw/lyso/ly-so_2/g1",
        "ispyb_final_directory": (
            f"{VISIT}/processed/pipeline-final/raw/lyso/ly-so_2/g1"
        ),
        "ispyb_space_group": "P43212",
        "ispyb_unit_cell": (78.0, 78.0, 37.0, 90.0, 90.0, 90.0),
        "ispyb_project": "cm7v3",
        "ispyb_crystal": "xlyso2",
        "ispyb_reference_geometry": None,
        "ispyb_related_dcids": [
            {"dcids": [DCID], "sample_group_id": 61, "name": "both"},
            {"dcids": [DCID, STILL_DCID], "sample_id": 21, "name": "lyso_1"},
        ],
        "ispyb_dcg_dcids": [STILL_DCID],
        "ispyb_related_sweeps": [(DCID, 1, 100), (STILL_DCID, 1, 3)],
        "ispyb_related_images": [(DCID, other), (STILL_DCID, other)],
        "ispyb_pin_info": {
            "containerId": 4,
            "location": "5",
            "subLocation": 1,
            "loopType": "multipin_2x50",
        },
        "ispyb_msp_sample_ids": {1: 21, 2: 22},
        "ispyb_ssx_events": None,
        "ispyb_ssx_shots_per_image": None,
    }


def test_a_grid_brings_its_geometry(lims: Lims):
    found = find(lims, ispyb_dcid=GRID_DCID).parameters
    grid = found["ispyb_dc_info"]["gridinfo"]
    assert (grid["steps_x"], grid["orientation"]) == (5.0, "horizontal")
    assert found["ispyb_dc_class"]["grid"] is True
    assert found["ispyb_detectorclass"] == "pilatus"
    assert "ispyb_ssx_events" not in found
    json.dumps(found)


def test_defect_7_a_3d_grid_always_tells_its_group(lims: Lims):
    found = find(lims, ispyb_dcid=GRID_DCID).parameters
    assert found["ispyb_dcg_dcids"] == []
    assert found["ispyb_dcg_experiment_type"] == "Mesh3D"


def test_single_shots_have_relatives_but_no_images_of_theirs(lims: Lims):
    found = find(lims, ispyb_dcid=STILL_DCID).parameters
    assert found["ispyb_dc_class"]["screen"] is True
    assert found["ispyb_images"] == ""
    assert found["ispyb_related_dcids"] == [{"dcids": [DCID, GRID_DCID, SERIAL_DCID]}]


def test_a_serial_collection_has_its_events(lims: Lims):
    found = find(lims, ispyb_dcid=SERIAL_DCID).parameters
    assert [e["eventType"] for e in found["ispyb_ssx_events"]] == ["XrayDetection"]
    assert found["ispyb_ssx_shots_per_image"] == 4


def test_a_job_gives_its_sweeps_parameters_and_recipe(lims: Lims):
    looked_up = find(lims, ispyb_process=JOB, names_recipe=False)
    found = looked_up.parameters
    assert looked_up.recipe == "ispyb-xia2-dials"
    assert found["ispyb_dcid"] == DCID
    assert found["ispyb_images"] == f"{VISIT}/raw/lyso/ly-so_2_00001.cbf:1:50"
    assert found["ispyb_reprocessing_parameters"] == {"d_min": "3"}
    assert found["ispyb_processing_parameters"] == {"d_min": ["2", "3"]}
    assert found["ispyb_processing_job"]["displayName"] == "again"
    assert "ispyb_ssx_events" not in found


def test_what_was_given_of_images_stays(lims: Lims):
    given = {"ispyb_image": "a:1:2", "ispyb_images": "b:1:2"}
    found = find(lims, ispyb_dcid=DCID, **given).parameters
    assert {key: found[key] for key in given} == given


def test_without_ids_nothing_is_looked_up(lims: Lims):
    assert find(lims).parameters == {"guid": "g1"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ispyb_dcid": 99}, "no data collection 99"),
        ({"ispyb_process": 99}, "no processing job 99"),
        ({"ispyb_dcid": "x; DROP"}, "ispyb_dcid = 'x; DROP' is no id"),
    ],
)
def test_unknown_ids_are_named(lims: Lims, given: dict[str, Any], words: str):
    with pytest.raises(ParameterError, match=words):
        find(lims, **given)


@pytest.mark.parametrize("directory", ["/short/path/", "relative/dls/a/b/c/d/e/"])
def test_a_folder_of_another_layout_is_named(lims: Lims, directory: str):
    change(lims, imageDirectory=directory)
    with pytest.raises(ParameterError, match=directory):
        find(lims, ispyb_dcid=DCID)


def test_the_generic_layout_takes_any_folder(lims: Lims):
    change(lims, imageDirectory="/data/cm7-3/x/")
    found = find(lims, GENERIC, ispyb_dcid=DCID).parameters
    assert found["ispyb_visit"] == "cm7-3"
    assert found["ispyb_visit_directory"] == "/data/cm7-3"
    assert found["ispyb_working_directory"] == (
        "/data/cm7-3/zocelery/working/x/ly-so_2/g1"
    )
    change(lims, imageDirectory="/data/x/")
    found = find(lims, GENERIC, ispyb_dcid=DCID).parameters
    assert found["ispyb_visit_directory"] == "/data/x"


def test_a_collection_without_files_gives_nothing_wrong(lims: Lims):
    change(lims, imageDirectory=None, fileTemplate=None, startImageNumber=None)
    found = find(lims, ispyb_dcid=DCID).parameters
    assert found["ispyb_visit_directory"] is None
    assert found["ispyb_image_last"] is None
    assert "ispyb_image" not in found


def test_files_of_the_visit_are_found(lims: Lims, tmp_path: Path):
    visit = tmp_path.joinpath("a", "b", "cm7-3")
    (visit / "processing" / "pdb").mkdir(parents=True)
    (visit / "processing" / "pdb" / "own.pdb").touch()
    (visit / "processing" / "reference_geometry.expt").touch()
    change(lims, imageDirectory=f"{visit}/raw/")
    found = find(lims, GENERIC, ispyb_dcid=DCID).parameters
    assert found["ispyb_reference_geometry"] == str(
        visit / "processing" / "reference_geometry.expt"
    )
    own = f"{visit}/processing/pdb/own.pdb"
    assert found["ispyb_pdb"][-1] == {"filepath": own, "code": None, "source": None}


def test_models_of_the_protein_are_written_once(lims: Lims, tmp_path: Path):
    visit = tmp_path / "cm7-3"
    change(lims, imageDirectory=f"{visit}/raw/")
    abilities = find_abilities(lims)
    for _ in range(2):
        found = look_up(lims, abilities, {"ispyb_dcid": DCID}, GENERIC)
        file = Path(found.parameters["ispyb_pdb"][0]["filepath"])
        assert file.read_text() == "ATOM"
    assert [path.name for path in file.parent.iterdir()] == ["model.pdb"]


def test_symmetry_and_groups_come_from_files_of_the_visit(tmp_path: Path):
    (tmp_path / "processing").mkdir()
    file = tmp_path / "processing" / "S1.yml"
    file.write_text("ispyb_space_group: P 21\nispyb_unit_cell: 1, 2, 3, 90, 95, 90\n")
    image = f"{tmp_path}/raw/s1/x_####.cbf"
    cell = [1.0, 2.0, 3.0, 90.0, 95.0, 90.0]
    assert symmetry_of(str(tmp_path), image) == ("P 21", cell)
    file.write_text("ispyb_space_group: rm -rf\nispyb_unit_cell: [1, 2]\n")
    assert symmetry_of(str(tmp_path), image) == (None, None)
    groups = tmp_path / "processing" / "sample_groups.yml"
    groups.write_text("- [s1, s2]\n- [s3]\n")
    assert sample_groups_of(str(tmp_path), image) == [["s1", "s2"]]


def test_a_run_waits_for_the_run_status(lims: Lims):
    asked = {"ispyb_dcid": DCID, "ispyb_wait_for_runstatus": True}
    assert is_ready(lims, {"ispyb_dcid": DCID})
    assert not is_ready(lims, asked)
    change(lims, runStatus="DataCollection Successful")
    assert is_ready(lims, asked)


def test_defect_15_the_time_to_get_ready_counts_from_each_wait(lims: Lims):
    asked = {
        "ispyb_dcid": DCID,
        "ispyb_wait_for_runstatus": True,
        "dispatcher_expiration": 1.0,
    }
    with pytest.raises(ParameterError, match="no run status after"):
        wait_until_ready(lims, asked, 0.01)
    change(lims, runStatus="DataCollection Successful")
    wait_until_ready(lims, asked, 0.01)


def change(lims: Lims, dcid: int = DCID, **values: Any) -> None:
    """Change the row of a data collection."""
    target = table("DataCollection")
    statement = update(target).where(target.c.dataCollectionId == dcid)
    lims.write(lambda c: c.execute(statement.values(values)))
