"""Merged data in the LIMS: AutoProc, its scaling in three shells, its integrations."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from zocelery.errors import PermanentError
from zocelery.lims.rows import (
    AUTO_PROC,
    INTEGRATION,
    SCALING,
    SCALING_LINK,
    SCALING_STATISTICS,
    RowKind,
)
from zocelery.lims.tables import table
from zocelery.lims.values import is_same
from zocelery.lims.writer import Writer, argument_name

SHELLS = ("overall", "innerShell", "outerShell")
STATISTICS = {
    "comments": "comments",
    "res_lim_low": "resolutionLimitLow",
    "res_lim_high": "resolutionLimitHigh",
    "r_merge": "rMerge",
    "r_meas_within_iplusi_minus": "rMeasWithinIPlusIMinus",
    "r_meas_all_iplusi_minus": "rMeasAllIPlusIMinus",
    "r_pim_within_iplusi_minus": "rPimWithinIPlusIMinus",
    "r_pim_all_iplusi_minus": "rPimAllIPlusIMinus",
    "fract_partial_bias": "fractionalPartialBias",
    "n_tot_obs": "nTotalObservations",
    "n_tot_unique_obs": "nTotalUniqueObservations",
    "mean_i_sig_i": "meanIOverSigI",
    "res_i_sig_i_2": "resIOverSigI2",
    "completeness": "completeness",
    "multiplicity": "multiplicity",
    "anom": "anomalous",
    "anom_completeness": "anomalousCompleteness",
    "anom_multiplicity": "anomalousMultiplicity",
    "cc_half": "ccHalf",
    "cc_anom": "ccAnomalous",
}
"""What Zocalo's messages call the columns of a shell."""


def store_merged(writer: Writer, values: Mapping[str, Any]) -> int:
    """Return the id of an AutoProc row: space group and refined cell of a program."""
    return writer.once(AUTO_PROC, values)


def store_scaling(
    writer: Writer, auto_proc: int, shells: Mapping[str, Mapping[str, Any]]
) -> int:
    """Return the id of the scaling with these three shells.

    Args:
        writer: of the transaction.
        auto_proc: the AutoProc row that it belongs to.
        shells: the values of `STATISTICS` by shell; all of `SHELLS`.

    Raises:
        PermanentError: a shell is missing.
    """
    missing = [name for name in SHELLS if not isinstance(shells.get(name), Mapping)]
    if missing:
        raise PermanentError(f"LIMS: a scaling needs the shell {', '.join(missing)}")
    rows = [_shell_row(writer, name, shells[name]) for name in SHELLS]
    writer.lock(f"autoProcId={auto_proc}")
    found = _find_scaling(writer, auto_proc, rows)
    return found if found is not None else _add_scaling(writer, auto_proc, rows)


def store_integration(
    writer: Writer,
    values: Mapping[str, Any],
    *,
    scaling: int | None,
    integration: int | None = None,
) -> int:
    """Return the id of an integration, linked to its scaling.

    Args:
        writer: of the transaction.
        values: by column.
        scaling: the scaling that it went into.
        integration: the row to change; None looks for the same one, or adds one.
    """
    if integration is not None:
        writer.row(INTEGRATION, integration, ())
        writer.change(INTEGRATION, integration, values)
        made = integration
    else:
        made = writer.once(INTEGRATION, values, p_parentId=scaling)
    if scaling is not None:
        _link(writer, scaling, made, values)
    return made


def _shell_row(writer: Writer, name: str, shell: Mapping[str, Any]) -> dict[str, Any]:
    values = {column: shell.get(key) for key, column in STATISTICS.items()}
    row = {"scalingStatisticsType": name, **values}
    return writer.fitting(SCALING_STATISTICS, row)


def _find_scaling(
    writer: Writer, auto_proc: int, rows: list[dict[str, Any]]
) -> int | None:
    columns = [
        name
        for name in SCALING_STATISTICS.columns
        if name in writer.abilities.columns(SCALING_STATISTICS.table)
    ]
    target = table(SCALING_STATISTICS.table).columns
    for scaling in writer.rows(SCALING, {"autoProcId": auto_proc}, ()):
        key = int(scaling[SCALING.key])
        stored = writer.rows(SCALING_STATISTICS, {"autoProcScalingId": key}, columns)
        by_shell = {row["scalingStatisticsType"]: row for row in stored}
        if all(
            (there := by_shell.get(row["scalingStatisticsType"])) is not None
            and all(is_same(target[c], there[c], row.get(c)) for c in columns)
            for row in rows
        ):
            return key
    return None


def _add_scaling(writer: Writer, auto_proc: int, rows: list[dict[str, Any]]) -> int:
    scaling = {"autoProcId": auto_proc, "recordTimeStamp": datetime.now()}
    may = writer.abilities.may
    by_table = may("insert", SCALING.table, scaling) and all(
        may("insert", SCALING_STATISTICS.table, (*row, "autoProcScalingId"))
        for row in rows
    )
    if by_table or not writer.abilities.may_call(str(SCALING.procedure)):
        made = writer.add(SCALING, writer.fitting(SCALING, scaling))
        for row in rows:
            writer.add(SCALING_STATISTICS, {"autoProcScalingId": made, **row})
        return made
    writer.require_row("AutoProc", "autoProcId", auto_proc)
    arguments: dict[str, Any] = {"p_parentId": auto_proc}
    for number, row in enumerate(rows, start=1):
        for column, value in row.items():
            name = argument_name(SCALING_STATISTICS, column)
            arguments[f"{name}{number}"] = value
    return writer.call(SCALING, arguments)


def _link(
    writer: Writer, scaling: int, integration: int, values: Mapping[str, Any]
) -> None:
    link = {"autoProcScalingId": scaling, "autoProcIntegrationId": integration}
    kind: RowKind = SCALING_LINK
    writer.lock(f"autoProcScalingId={scaling}")
    if writer.find(kind, link, "autoProcScalingId") is not None:
        return
    if writer.abilities.may("insert", kind.table, link):
        writer.add(kind, link)
    else:  # the integration's procedure links it, too
        writer.call(INTEGRATION, {**link, "p_parentId": scaling}, key=integration)
