"""What Zocalo's wrappers ask of the LIMS: one request for each of its commands."""

from pathlib import Path
from typing import Any

SHELL = {
    "r_merge": 0.123456,
    "n_tot_obs": 1_000_123,
    "completeness": 99.9,
    "anom": True,
    "res_lim_low": 50.1,
    "res_lim_high": 1.234,
}
CENTRING = {
    "ispyb_command": "insert_xray_centring",
    "type": "3d",
    "status": "success",
    "results": [
        {
            "centre_of_mass": [1.5, 2.5, 3.25],
            "max_voxel": [1, 2, 3],
            "max_count": 5,
            "n_voxels": 7,
            "total_count": 123456.5,
            "bounding_box": [[0, 0, 0], [2, 3, 4]],
            "sample_id": None,
        }
    ],
}
TABLES = (
    "AutoProc",
    "AutoProcIntegration",
    "AutoProcProgram",
    "AutoProcProgramAttachment",
    "AutoProcProgramMessage",
    "AutoProcScaling",
    "AutoProcScalingStatistics",
    "AutoProcScaling_has_Int",
    "DataCollectionFileAttachment",
    "ImageQualityIndicators",
    "MXMRRun",
    "MXMRRunBlob",
    "ProcessingJob",
    "ProcessingJobImageSweep",
    "ProcessingJobParameter",
    "Screening",
    "ScreeningInput",
    "ScreeningOutput",
    "ScreeningOutputLattice",
    "ScreeningStrategy",
    "ScreeningStrategySubWedge",
    "ScreeningStrategyWedge",
    "XrayCentring",
    "XrayCentringResult",
)
ONE_SET = dict.fromkeys(TABLES, 1) | {
    "AutoProcScalingStatistics": 3,
    "ProcessingJobParameter": 4,  # with the one that marks the request
}
"""How many rows `whole_analysis` leaves."""


def whole_analysis(folder: Path, image: int = 5) -> list[dict[str, Any]]:
    """Return one request for every command; what one names the later ones use."""
    (folder / "a.log").write_text("said")
    file = {"file_name": "a.log", "file_path": str(folder), "file_type": "Log"}
    cell = dict.fromkeys(("b", "c"), 37.1) | {"a": 78.0512345}
    angles = dict.fromkeys(("alpha", "beta", "gamma"), 90)
    return [
        {
            "ispyb_command": "create_ispyb_job",
            "recipe": "xia2-dials",
            "sweeps": [{"DCID": "$dcid", "start": 1, "end": 9}],
            "parameters": [
                {"key": "d_min", "value": "2"},
                {"key": "d_min", "value": "2"},
                {"key": "cell", "value": "1,2,3"},
            ],
            "triggervariables": [{"key": "k", "value": "v"}],
            "autostart": True,
            "source": "automatic",
            "comment": "by rule",
            "displayname": "xia2",
            "store_result": "job",
        },
        {
            "ispyb_command": "register_processing",
            "program": "xia2 dials",
            "cmdline": "xia2 " + "x" * 300,
            "environment": {"host": "h" * 300},
            "rpid": "$job",
            "store_result": "program",
        },
        {
            "ispyb_command": "update_processing_status",
            "program_id": "$program",
            "status": "running",
            "message": "integrating",
            "start_time": "2026-01-01 10:00:00",
            "update_time": "2026-01-01T10:00:01",
        },
        {
            "ispyb_command": "add_program_message",
            "program_id": "${program}",
            "severity": "warning",
            "message": "resolution beyond 1.2 Å",
            "description": "longer",
        },
        {"ispyb_command": "add_program_attachment", "program_id": "$program", **file},
        {
            "ispyb_command": "add_datacollection_attachment",
            **file,
            "file_type": "snapshot",
        },
        {
            "ispyb_command": "write_autoproc",
            "program_id": "$program",
            "autoproc_id": None,
            "spacegroup": "P 43 21 2",
            **{f"refinedcell_{k}": v for k, v in {**cell, **angles}.items()},
            "store_result": "merged",
        },
        {
            "ispyb_command": "insert_scaling",
            "autoproc_id": "$merged",
            "overall": SHELL,
            "innerShell": {**SHELL, "r_merge": 0.05},
            "outerShell": {**SHELL, "r_merge": 1.5},
            "store_result": "scaling",
        },
        {
            "ispyb_command": "upsert_integration",
            "program_id": "$program",
            "scaling_id": "$scaling",
            **{f"cell_{k}": v for k, v in {**cell, **angles}.items()},
            "refined_xbeam": 1.234567,
            "start_image_no": 1,
            "end_image_no": 9,
        },
        {
            "ispyb_command": "insert_screening",
            "programversion": "BEST 5.1",
            "shortcomments": "BEST native",
            "auto_proc_program_id": "$program",
            "store_result": "screening",
        },
        {
            "ispyb_command": "insert_screening_input",
            "screening_id": "$screening",
            "beamx": 1.5,
            "beamy": 2.5,
        },
        {
            "ispyb_command": "insert_screening_output",
            "screening_id": "$screening",
            "program": "BEST",
            "mosaicity": 0.1,
            "store_result": "output",
        },
        {
            "ispyb_command": "insert_screening_output_lattice",
            "screening_output_id": "$output",
            "spacegroup": "P1",
            "unitcella": 10.1,
        },
        {
            "ispyb_command": "insert_screening_strategy",
            "screening_output_id": "$output",
            "program": "BEST",
            "exposuretime": 0.1,
            "store_result": "strategy",
        },
        {
            "ispyb_command": "insert_screening_strategy_wedge",
            "screening_strategy_id": "$strategy",
            "wedgenumber": 1,
            "noimages": 9,
            "wavelength": 0.9,
            "store_result": "wedge",
        },
        {
            "ispyb_command": "insert_screening_strategy_sub_wedge",
            "screening_strategy_wedge_id": "$wedge",
            "rotationaxis": "omega",
            "resolution": 1.5,
            "noimages": 9,
        },
        CENTRING,
        {
            "ispyb_command": "insert_dimple_result",
            "mxmrrun": {
                "auto_proc_scaling_id": "$scaling",
                "auto_proc_program_id": "$program",
                "rwork_start": 0.3,
                "rwork_end": 0.2,
                "rfree_start": 0.33,
                "rfree_end": 0.25,
            },
            "blobs": [{"xyz": [1, 2, 3], "height": 5.5, "map_type": "anomalous"}],
            "auto_proc_program": {
                "command_line": "dimple",
                "programs": "dimple",
                "status": 1,
                "message": "done",
                "start_time": "2026-01-01T10:00:00",
                "end_time": "2026-01-01T11:00:00",
            },
        },
        {
            "ispyb_command": "store_per_image_analysis_results",
            "file-number": image,
            "n_spots_total": 10,
            "n_spots_no_ice": 5,
            "total_intensity": 1.5e5,
            "estimated_d_min": 1.8,
        },
    ]


def multipart(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the request for a list of requests."""
    return {"ispyb_command": "multipart_message", "ispyb_command_list": steps}


def further_requests(session: int, number: int) -> list[dict[str, Any]]:
    """Return requests for microscopy and what belongs to it, told apart by a number.

    `$program` names a program that is there.
    """
    program = {"program_id": "$program"}
    return [
        {
            "ispyb_command": "insert_data_collection_group",
            "session_id": session,
            "experiment_type": "SAD",
            "store_result": "group",
        },
        {
            "ispyb_command": "insert_data_collection",
            "dcgid": "$group",
            "session_id": session,
            "image_directory": "/x/",
            "store_result": "collection",
        },
        {
            "ispyb_command": "insert_motion_correction",
            "image_number": number % 1000,
            "micrograph_full_path": f"/x/m{number}_motion_corrected.mrc",
            "total_motion": 1.5,
            "store_result": "correction",
            **program,
        },
        {
            "ispyb_command": "insert_ctf",
            "motion_correction_id": "$correction",
            "estimated_resolution": 3.5,
            **program,
        },
        {
            "ispyb_command": "insert_relative_ice_thickness",
            "motion_correction_id": "$correction",
            "median": 2,
            **program,
        },
        {
            "ispyb_command": "buffer",
            "buffer_command": {
                "ispyb_command": "insert_particle_picker",
                "motion_correction_id": "$correction",
                "number_of_particles": 70,
            },
            "buffer_store": number,
            **program,
        },
        {
            "ispyb_command": "buffer",
            "buffer_lookup": {"particle_picker_id": number},
            "buffer_command": {
                "ispyb_command": "insert_particle_classification_group",
                "type": "2D",
                "batch_number": 1,
            },
            "store_result": "classes",
            **program,
        },
        {
            "ispyb_command": "insert_particle_classification",
            "particle_classification_group_id": "$classes",
            "class_number": 1,
            "store_result": "class",
        },
        {
            "ispyb_command": "insert_cryoem_initial_model",
            "particle_classification_id": "$class",
            "resolution": 8.5,
        },
        {
            "ispyb_command": "insert_tomogram",
            "volume_file": f"t{number}.mrc",
            "store_result": "tomogram",
            **program,
        },
        {
            "ispyb_command": "insert_tilt_image_alignment",
            "tomogram_id": "$tomogram",
            "path": f"/y/m{number}.mrc",
            "defocus_u": 1.5,
        },
        {"ispyb_command": "retrieve_program_attachments_for_program_id", **program},
    ]


FURTHER_TABLES = (
    "DataCollectionGroup",
    "DataCollection",
    "Movie",
    "MotionCorrection",
    "CTF",
    "RelativeIceThickness",
    "ParticlePicker",
    "ParticleClassificationGroup",
    "ParticleClassification",
    "CryoemInitialModel",
    "Tomogram",
    "TiltImageAlignment",
    "zc_ZocaloBuffer",
)
"""`further_requests` leave one row in each."""


def phasing_report(**elements: Any) -> dict[str, Any]:
    """Return a report of fast_ep: one element is an object, several are a list."""
    step = {"spaceGroupId": "1", "lowRes": "27.455541", "highRes": "2.203506"}
    fom = {
        "numberOfBins": "10",
        "binNumber": "1",
        "lowRes": "27.455541",
        "highRes": "4.82",
        "metric": "FOM",
        "statisticsValue": "0.702000",
        "nReflections": "408",
    }
    told = {
        "PhasingAnalysis": {"recordTimeStamp": "2026-01-02 17:09:01"},
        "PhasingProgramRun": {
            "phasingCommandLine": "fast_ep data=" + "x" * 300,
            "phasingPrograms": "fast_ep",
            "phasingStatus": "1",
        },
        "PhasingProgramAttachment": [
            {"fileType": kind, "fileName": name, "filePath": "/x/fast_ep"}
            for kind, name in (("Logfile", "fast_ep.log"), ("PDB", "sad.pdb"))
        ],
        "Phasing": {**step, "method": "shelxe", "solventContent": "0.35"},
        "PreparePhasingData": step,
        "SubstructureDetermination": {**step, "method": "SAD"},
        "Phasing_has_ScalingContainer": {
            "Phasing_has_Scaling": None,
            "PhasingStatistics": [fom, {**fom, "binNumber": "2", "metric": "CC"}],
        },
    }
    return {"PhasingContainer": told | elements}


PHASED = {
    "PhasingAnalysis": 1,
    "Phasing_has_Scaling": 1,
    "PhasingStatistics": 2,
    "PhasingProgramRun": 1,
    "PhasingProgramAttachment": 2,
    "Phasing": 1,
    "PreparePhasingData": 1,
    "SubstructureDetermination": 1,
    "ModelBuilding": 0,
}
"""`phasing_report` leaves so many rows in each."""
