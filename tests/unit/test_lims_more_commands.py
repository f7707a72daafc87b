"""Zocalo's further commands to the LIMS: buffer, models, microscopy, questions."""

from pathlib import Path
from typing import Any

import pytest

from tests import lims_rows
from tests.lims_requests import PHASED, phasing_report
from tests.lims_rows import DCID, JOB, SESSION, Site, at_once
from zocelery.errors import ParameterError, PermanentError, TemporaryError
from zocelery.lims.commands import COMMANDS

PROTEIN = 2
ZOCALO = """
create_ispyb_job update_processing_status store_dimple_failure
register_processing update_program_name add_program_attachment
add_program_message add_datacollection_attachment
store_per_image_analysis_results insert_screening insert_screening_input
insert_screening_output insert_screening_output_lattice
insert_screening_strategy insert_screening_strategy_wedge
insert_screening_strategy_sub_wedge register_integration upsert_integration
write_autoproc insert_scaling insert_dimple_result insert_metal_id_result
insert_mxmr_run insert_mxmr_run_blob retrieve_programs_for_job_id
retrieve_program_attachments_for_program_id retrieve_proposal_title
insert_pdb_files multipart_message buffer insert_data_collection_group
insert_data_collection upsert_data_collection_mx insert_xray_centring insert_ctf
insert_relative_ice_thickness insert_movie insert_motion_correction
insert_particle_picker insert_class2d insert_class3d
insert_particle_classification insert_particle_classification_group
insert_cryoem_initial_model insert_tomogram insert_tilt_image_alignment
insert_phasing_analysis_results
"""
CRYOEM = "insert_bfactor_fit insert_processed_tomogram"
"""Commands that only the connector of cryoem-services has."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(lims_rows.sqlite_lims(tmp_path))


def asked(site: Site, command: str, key: str = "unit", **values: Any) -> Any:
    return site.run({"ispyb_command": command, **values}, key).result


def registered(site: Site, key: str = "program") -> int:
    program: int = asked(site, "register_processing", key, program="relion", rpid=JOB)
    return program


# buffer


def buffered(site: Site, program: int, key: str = "b", **values: Any) -> Any:
    return asked(site, "buffer", key, program_id=program, **values)


def picker(**values: Any) -> dict[str, Any]:
    return {
        "ispyb_command": "insert_particle_picker",
        "number_of_particles": 7,
    } | values


def test_a_reference_stands_for_the_row_that_was_stored_under_it(site: Site):
    program = registered(site)
    made = buffered(site, program, buffer_command=picker(), buffer_store=4)
    group = {"ispyb_command": "insert_particle_classification_group", "type": "2D"}
    stored = buffered(
        site,
        program,
        "c",
        buffer_lookup={"particle_picker_id": 4},
        buffer_command=group,
        buffer_store=4_294_967_295,
    )
    rows = site.rows("ParticleClassificationGroup", "particlePickerId", "programId")
    assert rows == [(made, program)]
    columns = ("AutoProcProgramID", "UUID", "Reference")
    assert site.rows("zc_ZocaloBuffer", *columns) == [
        (program, 4, made),
        (program, 4_294_967_295, stored),
    ]


def test_what_is_not_stored_yet_is_asked_for_later(site: Site):
    program = registered(site)
    lookup = {"particle_picker_id": 9}
    with pytest.raises(TemporaryError, match=f"program {program} has not stored .* 9"):
        buffered(site, program, buffer_lookup=lookup, buffer_command=picker())
    assert site.count("ParticlePicker") == {"ParticlePicker": 0}


def test_a_buffered_command_of_eight_deliveries_is_done_once(site: Site):
    program = registered(site)
    answers = at_once(
        lambda: buffered(site, program, buffer_command=picker(), buffer_store=1)
    )
    assert answers == [answers[0]] * 8
    assert site.count("ParticlePicker", "zc_ZocaloBuffer") == {
        "ParticlePicker": 1,
        "zc_ZocaloBuffer": 1,
    }


def test_a_reference_may_come_to_stand_for_another_row(site: Site):
    program = registered(site)
    buffered(site, program, buffer_command=picker(), buffer_store=1)
    other = picker(number_of_particles=8)
    made = buffered(site, program, buffer_command=other, buffer_store=1)
    assert site.rows("zc_ZocaloBuffer", "Reference") == [(made,)]


def test_the_result_of_a_buffered_command_can_be_named(site: Site):
    program = registered(site)
    command = {"ispyb_command": "buffer", "program_id": program}
    outcome = site.run({**command, "buffer_command": picker(), "store_result": "p"})
    assert outcome.variables == {"p": outcome.result}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "buffer_command names no ispyb_command"),
        ({"buffer_command": {"a": 1}}, "buffer_command names no ispyb_command"),
        ({"buffer_command": picker(), "buffer_store": "x"}, "'x' is no whole number"),
        ({"buffer_command": picker(), "buffer_store": -1}, "-1 is no whole number"),
        ({"buffer_command": picker(), "buffer_lookup": [1]}, "is no object"),
        (
            {
                "buffer_command": {"ispyb_command": "insert_class2d"},
                "buffer_store": 1,
            },
            "has stored no row",
        ),
    ],
)
def test_a_buffered_command_that_cannot_be_is_refused(
    site: Site, values: dict[str, Any], reason: str
):
    with pytest.raises(PermanentError, match=reason):
        buffered(site, registered(site), **values)


# questions


def test_programs_of_a_job_and_their_files_are_told(site: Site, tmp_path: Path):
    program = registered(site)
    (tmp_path / "a.log").touch()
    asked(
        site,
        "add_program_attachment",
        program_id=program,
        file_name="a.log",
        file_path=str(tmp_path),
        file_type="Log",
    )
    (found,) = asked(site, "retrieve_programs_for_job_id", rpid=JOB)
    assert found["id"] == program
    assert found["programs"] == "relion"
    assert found["jobId"] == JOB
    assert isinstance(found["recordTimeStamp"], str)
    (file,) = asked(
        site, "retrieve_program_attachments_for_program_id", program_id=program
    )
    assert (file["fileName"], file["filePath"]) == ("a.log", str(tmp_path))
    assert asked(site, "retrieve_programs_for_job_id", rpid=999) == []


def test_the_title_of_a_proposal_is_told(site: Site):
    site.lims.write(
        lambda c: lims_rows.add(
            c,
            "Proposal",
            proposalId=9,
            personId=1,
            proposalCode="mx",
            proposalNumber="123",
            title="Folds",
        )
    )
    assert asked(site, "retrieve_proposal_title", visit="mx123-4") == "Folds"
    given = {"proposalcode": "mx", "proposalnumber": 123}
    assert asked(site, "retrieve_proposal_title", **given) == "Folds"
    with pytest.raises(PermanentError, match="no proposal 'mx124'"):
        asked(site, "retrieve_proposal_title", visit="mx124-1")
    with pytest.raises(PermanentError, match="'x' is no visit"):
        asked(site, "retrieve_proposal_title", visit="x")


# acquisition


def test_groups_and_collections_are_made_once_for_each_request(site: Site):
    before = site.count("DataCollectionGroup", "DataCollection")

    def _make(key: str) -> tuple[int, int]:
        group = asked(
            site,
            "insert_data_collection_group",
            key,
            session_id=SESSION,
            experiment_type="single particle",
            start_time="2026-01-01 10:00:00",
        )
        collection = asked(
            site,
            "insert_data_collection",
            key,
            dcgid=group,
            session_id=SESSION,
            image_directory="/x/",
            image_suffix="tif",
            voltage=300,
        )
        return group, collection

    answers = at_once(lambda: _make("one"))
    assert answers == [answers[0]] * 8
    assert _make("two") != answers[0]
    after = site.count("DataCollectionGroup", "DataCollection")
    assert after == {name: number + 2 for name, number in before.items()}
    columns = ("imageDirectory", "voltage", "SESSIONID")
    row = site.rows("DataCollection", *columns, dataCollectionId=answers[0][1])
    assert row == [("/x/", 300, SESSION)]


def test_snapshots_are_put_to_a_collection(site: Site):
    for _ in range(2):
        asked(site, "upsert_data_collection_mx", xtal_snapshot2="/x/2.jpg")
    columns = ("xtalSnapshotFullPath1", "xtalSnapshotFullPath2", "imageDirectory")
    (row,) = site.rows("DataCollection", *columns, dataCollectionId=DCID)
    assert row[:2] == (None, "/x/2.jpg")
    assert row[2]
    with pytest.raises(PermanentError, match="no DataCollection 999"):
        asked(site, "upsert_data_collection_mx", dcid=999, xtal_snapshot1="/x")


def test_models_of_a_protein_are_stored_once_and_absent_files_passed_over(
    site: Site, tmp_path: Path
):
    (tmp_path / "a.pdb").write_text("ATOM 1")
    files = [str(tmp_path / "a.pdb"), str(tmp_path / "none.pdb")]
    given = {"protein_id": PROTEIN, "pdb_files": files, "source": "AlphaFold"}
    answers = at_once(lambda: asked(site, "insert_pdb_files", **given))
    assert answers == [answers[0]] * 8
    (key,) = answers[0]
    columns = ("name", "contents", "source")
    assert site.rows("PDB", *columns, pdbId=key) == [("a.pdb", "ATOM 1", "AlphaFold")]
    assert site.rows("Protein_has_PDB", "proteinid", pdbid=key) == [(PROTEIN,)]
    (tmp_path / "a.pdb").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PermanentError, match=r"a\.pdb"):
        asked(site, "insert_pdb_files", **given)


def test_models_are_read_from_allowed_folders_only(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def _refuse(path: str, key: str) -> Path:
        raise ParameterError(f"{key}: {path!r} is not below an allowed folder")

    monkeypatch.setattr("zocelery.lims.acquisition.allowed_path", _refuse)
    given = {"protein_id": PROTEIN, "pdb_files": ["/etc/passwd"]}
    with pytest.raises(PermanentError, match="pdb_files: '/etc/passwd' is not below"):
        asked(site, "insert_pdb_files", **given)


# molecular replacement


def scaling_of(site: Site) -> int:
    program = registered(site, "scaled")
    merged = asked(site, "write_autoproc", "m", program_id=program, spacegroup="P1")
    shell = {"r_merge": 0.1}
    shells = dict.fromkeys(("overall", "innerShell", "outerShell"), shell)
    scaling: int = asked(site, "insert_scaling", "s", autoproc_id=merged, **shells)
    return scaling


def test_a_molecular_replacement_is_stored_with_program_and_files(site: Site):
    given = {
        "scaling_id": scaling_of(site),
        "success": 1,
        "message": "fits",
        "pipeline": "dimple",
        "cmd_line": "dimple a.mtz",
        "run_dir": "/x/dimple",
        "log_file": "/x/dimple/dimple.log",
        "output_coord_file": "final.pdb",
        "r_start": 0.4,
        "r_end": 0.2,
        "rfree_end": 0.25,
        "starttime": "2026-01-01 10:00:00",
        "endtime": "2026-01-01 10:05:00",
    }
    answers = at_once(lambda: asked(site, "insert_mxmr_run", "r", **given))
    assert answers == [answers[0]] * 8
    columns = ("rValueStart", "rValueEnd", "rFreeValueEnd", "autoProcProgramId")
    ((*values, program),) = site.rows("MXMRRun", *columns)
    assert values == pytest.approx([0.4, 0.2, 0.25])
    columns = ("processingPrograms", "processingStatus", "processingMessage")
    told = site.rows("AutoProcProgram", *columns, autoProcProgramId=program)
    assert told == [("dimple", 1, "fits")]
    files = site.rows(
        "AutoProcProgramAttachment", "fileName", "filePath", autoProcProgramId=program
    )
    assert sorted(files) == [("dimple.log", "/x/dimple"), ("final.pdb", "/x/dimple")]
    for _ in range(2):
        asked(site, "insert_mxmr_run_blob", mxmr_run_id=answers[0], view1="1.png")
    assert site.rows("MXMRRunBlob", "mxMRRunId", "view1") == [(answers[0], "1.png")]
    changed = {"id": answers[0], "scaling_id": given["scaling_id"], "r_end": 0.19}
    assert asked(site, "insert_mxmr_run", "again", **changed) == answers[0]
    ((end, start),) = site.rows("MXMRRun", "rValueEnd", "rValueStart")
    assert (end, start) == pytest.approx((0.19, 0.4))


def test_a_dimple_that_has_failed_is_stored_as_failed(site: Site):
    given = {"scaling_id": scaling_of(site), "directory": "/x"}
    answers = {asked(site, "store_dimple_failure", "f", **given) for _ in range(2)}
    assert len(answers) == 1
    ((program,),) = site.rows("MXMRRun", "autoProcProgramId")
    told = site.rows("AutoProcProgram", "processingStatus", autoProcProgramId=program)
    assert told == [(0,)]


# microscopy


def microscopy(site: Site) -> dict[str, int]:
    """Do each command of microscopy once; return what they answer."""
    program = registered(site)
    made: dict[str, int] = {}

    def _do(name: str, /, **values: Any) -> int:
        made[name] = asked(site, name, name, program_id=program, **values)
        return made[name]

    corrected = _do(
        "insert_motion_correction",
        image_number=3,
        micrograph_full_path="/x/m3_motion_corrected.mrc",
        total_motion=12.5,
        created_time_stamp=1_700_000_000,
    )
    _do("insert_movie", movie_number=4, movie_path="/x/m4.tif", timestamp=1.7e9)
    _do("insert_ctf", motion_correction_id=corrected, estimated_resolution=3.5)
    _do("insert_relative_ice_thickness", motion_correction_id=corrected, q1=1, q3=3)
    picked = _do(
        "insert_particle_picker", motion_correction_id=corrected, particle_diameter=90
    )
    group = _do(
        "insert_particle_classification_group",
        particle_picker_id=picked,
        type="2D",
        batch_number=1,
        symmetry="C1",
    )
    one = _do(
        "insert_particle_classification",
        particle_classification_group_id=group,
        class_number=1,
        particles_per_class=50,
    )
    _do(
        "insert_cryoem_initial_model",
        particle_classification_id=one,
        resolution=8.5,
        number_of_particles=50,
    )
    tomogram = _do("insert_tomogram", volume_file="t.mrc", size_x=10, proj_xy="p.png")
    _do("insert_tilt_image_alignment", tomogram_id=tomogram, path="/y/m4.mrc")
    return made


def test_microscopy_is_stored_once_however_often(site: Site):
    first = microscopy(site)
    assert microscopy(site) == first
    tables = {
        "Movie": 2,
        "MotionCorrection": 1,
        "CTF": 1,
        "RelativeIceThickness": 1,
        "ParticlePicker": 1,
        "ParticleClassificationGroup": 1,
        "ParticleClassification": 1,
        "CryoemInitialModel": 1,
        "ParticleClassification_has_CryoemInitialModel": 1,
        "Tomogram": 1,
        "TiltImageAlignment": 1,
    }
    assert site.count(*tables) == tables
    ((movie,),) = site.rows("TiltImageAlignment", "movieId")
    assert site.rows("Movie", "movieFullPath", movieId=movie) == [("/x/m4.tif",)]
    assert site.rows("MotionCorrection", "totalMotion", "imageNumber") == [(12.5, 3)]
    assert site.rows("Tomogram", "dataCollectionId", "sizeX", "projXY") == [
        (DCID, 10, "p.png")
    ]


def test_a_row_that_is_named_is_changed(site: Site):
    made = microscopy(site)["insert_ctf"]
    assert asked(site, "insert_ctf", ctf_id=made, comments="better") == made
    columns = ("comments", "estimatedResolution")
    assert site.rows("CTF", *columns) == [("better", 3.5)]
    with pytest.raises(PermanentError, match="no CTF 99"):
        asked(site, "insert_ctf", ctf_id=99, comments="x")


def test_what_the_lims_has_no_place_for_is_taken_and_stored_nowhere(site: Site):
    for name in ("insert_class2d", "insert_class3d"):
        assert asked(site, name, program_id=1) is None


def test_a_tilt_image_without_a_movie_is_named(site: Site):
    tomogram = asked(site, "insert_tomogram", volume_file="t.mrc")
    with pytest.raises(PermanentError, match=r"no movie fits path '/y/m9\.mrc'"):
        asked(
            site, "insert_tilt_image_alignment", tomogram_id=tomogram, path="/y/m9.mrc"
        )


def test_every_command_of_zocalo_and_of_cryoem_services_is_there():
    assert {*ZOCALO.split(), *CRYOEM.split()} <= COMMANDS.keys()


def test_frames_of_a_drift_have_no_table_and_hold_nothing_up(
    site: Site, caplog: pytest.LogCaptureFixture
):
    given = {"image_number": 1, "drift_frames": [[1, 0.5, 0.25]], "total_motion": 2.5}
    made = asked(site, "insert_motion_correction", **given)
    assert site.rows("MotionCorrection", "motionCorrectionId", "totalMotion") == [
        (made, 2.5)
    ]
    assert "ISPyB has no table for drift_frames" in caplog.text


# phasing


def phase(site: Site, scaling: int, **elements: Any) -> int:
    given = {"phasing_results": phasing_report(**elements), "scaling_id": scaling}
    made: int = asked(site, "insert_phasing_analysis_results", **given)
    return made


def test_a_phasing_asked_for_eight_times_at_once_is_there_once(site: Site):
    scaling = scaling_of(site)
    answers = at_once(lambda: phase(site, scaling))
    assert answers == [answers[0]] * 8
    assert site.count(*PHASED) == PHASED
    columns = ("phasingAnalysisId", "autoProcScalingId")
    assert site.rows("Phasing_has_Scaling", *columns) == [(answers[0], scaling)]
    columns = ("binNumber", "metric", "nReflections")
    assert site.rows("PhasingStatistics", *columns) == [(1, "FOM", 408), (2, "CC", 408)]
    ((value,), _) = site.rows("PhasingStatistics", "statisticsValue")
    ((method, low),) = site.rows("Phasing", "method", "lowRes")
    assert (float(value), method, float(low)) == (0.702, "shelxe", 27.455541)
    ((line, status),) = site.rows(
        "PhasingProgramRun", "phasingCommandLine", "phasingStatus"
    )
    assert (len(line), status) == (255, 1)


def test_a_phasing_of_another_second_or_scaling_is_another(site: Site):
    scaling = scaling_of(site)
    first = phase(site, scaling)
    later = {"recordTimeStamp": "2026-01-02 17:09:02"}
    assert phase(site, scaling, PhasingAnalysis=later) != first
    assert phase(site, scaling, Phasing={"method": "SAD"}) != first
    assert phase(site, scaling) == first
    assert site.count("PhasingAnalysis") == {"PhasingAnalysis": 3}


def test_a_report_with_one_statistic_and_no_step_is_stored(site: Site):
    alone = {"PhasingStatistics": {"metric": "FOM", "statisticsValue": "0.5"}}
    absent: dict[str, Any] = dict.fromkeys(
        ("Phasing", "PreparePhasingData", "SubstructureDetermination")
    )
    phase(site, scaling_of(site), Phasing_has_ScalingContainer=alone, **absent)
    assert site.rows("PhasingStatistics", "metric") == [("FOM",)]
    assert site.count("Phasing") == {"Phasing": 0}


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PhasingAnalysis": {}}, "recordTimeStamp is not given"),
        ({"PhasingProgramRun": None}, "PhasingProgramRun is not given"),
        ({"Phasing": "x"}, "Phasing = 'x' is no object"),
        ({"Phasing": {"method": "luck"}}, "Phasing.method: 'luck' is none of"),
        ({"Phasing": {"lowRes": "far"}}, "Phasing.lowRes: 'far' is no number"),
        (
            {"PhasingProgramAttachment": {"fileName": "x" * 46}},
            "has 46 characters, 45 fit",
        ),
    ],
)
def test_a_report_that_cannot_be_is_refused_whole(
    site: Site, elements: dict[str, Any], reason: str
):
    with pytest.raises(PermanentError, match=reason):
        phase(site, scaling_of(site), **elements)
    assert set(site.count(*PHASED).values()) == {0}


def test_a_report_without_its_container_or_scaling_is_refused(site: Site):
    with pytest.raises(PermanentError, match="has no PhasingContainer"):
        asked(site, "insert_phasing_analysis_results", scaling_id=1)
    with pytest.raises(PermanentError, match="no AutoProcScaling 999"):
        phase(site, 999)


def test_what_a_tomogram_was_made_into_and_the_fit_of_a_class_are_stored_once(
    site: Site,
):
    made = microscopy(site)
    given = {"tomogram_id": made["insert_tomogram"], "file_path": "/x/seg.mrc"}
    for _ in range(2):
        asked(
            site,
            "insert_processed_tomogram",
            processing_type="Segmented",
            feature="lipid_droplet",
            **given,
        )
        asked(
            site,
            "insert_bfactor_fit",
            particle_classification_id=made["insert_particle_classification"],
            resolution=3.5,
            number_of_particles=50,
        )
        asked(site, "insert_tomogram", alignment_quality=0.5, **given)
    assert site.rows("ProcessedTomogram", "feature") == [("Lipid droplet",)]
    assert site.rows("BFactorFit", "resolution", "numberOfParticles") == [(3.5, 50)]
    assert site.rows("Tomogram", "globalAlignmentQuality", "volumeFile") == [
        (0.5, "t.mrc")
    ]
