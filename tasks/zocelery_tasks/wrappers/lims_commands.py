"""The commands by which results reach the LIMS, as Zocalo's services take them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zocelery_tasks.wrappers.merging import SHELLS

_STATISTICS: Mapping[str, str] = {
    "resolutionLimitHigh": "res_lim_high",
    "resolutionLimitLow": "res_lim_low",
    "completeness": "completeness",
    "multiplicity": "multiplicity",
    "ccHalf": "cc_half",
    "anomalousCompleteness": "anom_completeness",
    "ccAnomalous": "cc_anom",
    "anomalousMultiplicity": "anom_multiplicity",
    "nTotalObservations": "n_tot_obs",
    "nTotalUniqueObservations": "n_tot_unique_obs",
    "rMerge": "r_merge",
    "rMeasAllIPlusIMinus": "r_meas_all_iplusi_minus",
    "rMeasWithinIPlusIMinus": "r_meas_within_iplusi_minus",
    "rPimAllIPlusIMinus": "r_pim_all_iplusi_minus",
    "rPimWithinIPlusIMinus": "r_pim_within_iplusi_minus",
    "meanIOverSigI": "mean_i_sig_i",
}
_INTEGRATION: Mapping[str, str] = {
    "startImageNumber": "start_image_no",
    "endImageNumber": "end_image_no",
    "refinedDetectorDistance": "refined_detector_dist",
    "refinedXBeam": "refined_xbeam",
    "refinedYBeam": "refined_ybeam",
}
_SEVERITY = ("INFO", "WARNING", "ERROR")
Command = dict[str, Any]


def lims_commands(
    found: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]] = (),
    resolution_at_two_sigma: float | None = None,
) -> list[Command]:
    """Return the commands that store a result: AutoProc, scaling, integrations, words.

    Args:
        found: what `read_results` returns.
        messages: what xtriage has to say.
        resolution_at_two_sigma: d where the mean I/sigma is 2, Å.
    """
    return [
        _autoproc(found["AutoProc"]),
        _scaling(found["AutoProcScalingContainer"], resolution_at_two_sigma),
        *_integrations(found["AutoProcScalingContainer"]),
        *_messages(messages),
    ]


def _autoproc(found: Mapping[str, Any]) -> Command:
    return {
        "ispyb_command": "write_autoproc",
        "autoproc_id": None,
        "store_result": "ispyb_autoproc_id",
        "spacegroup": found["spaceGroup"],
        **{k.lower(): v for k, v in found.items() if k.startswith("refinedCell")},
    }


def _scaling(found: Mapping[str, Any], resolution: float | None) -> Command:
    shells: dict[str, Any] = {}
    for row in found["AutoProcScalingStatistics"]:
        shells[row["scalingStatisticsType"]] = {
            name: row[key] for key, name in _STATISTICS.items() if key in row
        }
    if resolution is not None:
        shells.setdefault(SHELLS[0], {})["res_i_sig_i_2"] = resolution
    return {
        "ispyb_command": "insert_scaling",
        "autoproc_id": "$ispyb_autoproc_id",
        "store_result": "ispyb_autoprocscaling_id",
        **shells,
    }


def _integrations(found: Mapping[str, Any]) -> Iterator[Command]:
    for number, container in enumerate(found["AutoProcIntegrationContainer"]):
        row = container["AutoProcIntegration"]
        cell = {key: value for key, value in row.items() if key.startswith("cell_")}
        yield {
            "ispyb_command": "upsert_integration",
            "scaling_id": "$ispyb_autoprocscaling_id",
            **({"integration_id": None} if number else {}),
            **cell,
            **{name: row.get(key) for key, name in _INTEGRATION.items()},
        }


def _messages(messages: Sequence[Mapping[str, Any]]) -> Iterator[Command]:
    for message in messages:
        yield {
            "ispyb_command": "add_program_message",
            "program_id": "$ispyb_autoprocprogram_id",
            "message": message["text"],
            "description": message.get("summary"),
            "severity": _severity(message.get("level")),
        }


def _severity(level: object) -> str:
    return _SEVERITY[max(0, min(2, level))] if isinstance(level, int) else _SEVERITY[0]
