"""The rules that ship with zocelery: sensible at a beamline that has none of its own.

Live analysis is asked for when a collection starts, and again when it ends: it runs
once, whichever of the two is heard first.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from zocelery.errors import ParameterError
from zocelery.rules.decision import Invocation, Rule, Urgency, rule
from zocelery.rules.predicates import (
    has_partner,
    is_characterization,
    is_end,
    is_grid,
    is_mesh_3d,
    is_rotation,
    is_screening,
    is_serial,
    is_start,
)
from zocelery.rules.scenario import Scenario
from zocelery.settings import current_settings

XIA2 = "autoprocessing-xia2"
"""As processing jobs run it, recorded in the LIMS in the same way."""
PIPELINES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "xia2/DIALS": (XIA2, {"pipeline": "dials"}),
    "xia2/3dii": (XIA2, {"pipeline": "3dii"}),
    "autoPROC": ("autoproc", {}),
    "fast_dp": ("fast-dp", {}),
}
"""ISPyB's names of pipelines: the recipe and its parameters."""


@rule("grid-scan-3d", when=is_grid & has_partner & (is_start | is_end))
def grid_scan_3d(scenario: Scenario) -> Iterator[Invocation]:
    """Centre in three dimensions as soon as both grids of a pair are known."""
    assert scenario.pair is not None
    (first, second), pair = scenario.pair.dcids, scenario.pair
    parameters = {
        "live": True,
        "images_xy": images_of(pair.first),
        "images_xz": images_of(pair.second),
        "gridinfo_xy": pair.first["ispyb_dc_info"]["gridinfo"],
        "gridinfo_xz": pair.second["ispyb_dc_info"]["gridinfo"],
        "dcid_xy": first,
        "dcid_xz": second,
        "dcid": second,
        "dcgid": scenario.group,
        "beamline": scenario.beamline,
    }
    yield Invocation("grid-scan-3d", parameters, key=f"grid-pair:{first}:{second}")


@rule("grid-scan", when=is_grid & ~has_partner & (is_end | (is_start & ~is_mesh_3d)))
def grid_scan(scenario: Scenario) -> Iterator[Invocation]:
    """Centre in two dimensions; one of a pair waits for the other until it ends."""
    parameters = {
        "live": True,
        "dcgid": scenario.group,
        "beamline": scenario.beamline,
    }
    yield Invocation("grid-scan", parameters, key=f"grid:{scenario.dcid}")


@rule(
    "per-image-analysis",
    when=(is_rotation | is_screening | is_characterization) & (is_start | is_end),
)
def per_image_analysis(scenario: Scenario) -> Iterator[Invocation]:
    """Count the spots while the images are being written."""
    key = f"per-image-analysis:{scenario.dcid}"
    yield Invocation("per-image-analysis", {"live": True}, key=key)


@rule("processing", when=is_rotation & is_end)
def processing(scenario: Scenario) -> Iterator[Invocation]:
    """Process a rotation: the preferred pipeline first, the others behind it.

    xia2 runs once more with the symmetry that the sample is said to have.
    """
    names = list(current_settings().rules.pipelines)
    preferred = scenario.preferred_processing
    first = preferred if preferred in names else next(iter(names), None)
    for name in sorted(names, key=lambda one: one != first):
        recipe, parameters = _pipeline(name)
        key = f"processing:{scenario.dcid}:{name}"
        if name == "fast_dp":
            parameters = {"image": first_image_of(scenario.parameters)}
        urgency: Urgency = "live" if name == first else "reprocessing"
        job = dict(parameters) if recipe == XIA2 else None
        yield Invocation(recipe, parameters, urgency=urgency, key=key, job=job)
        if recipe == XIA2 and scenario.space_group:
            yield _with_symmetry(scenario, parameters, f"{key}:known")


@rule("serial", when=is_serial & (is_start | is_end))
def serial(scenario: Scenario) -> Iterator[Invocation]:
    """Tell the hit rate while the images are being written.

    They are indexed and merged at the end if the sample's cell is known.
    """
    cell = _cell(scenario)
    known = {"space_group": scenario.space_group, "unit_cell": cell, "reduce": True}
    parameters = {
        "live": True,
        "beamline": scenario.beamline,
        **(known if cell else {}),
    }
    yield Invocation("ssx", parameters, key=f"serial:{scenario.dcid}")


RULES: tuple[Rule, ...] = (
    grid_scan_3d,
    grid_scan,
    per_image_analysis,
    processing,
    serial,
)


def images_of(parameters: Mapping[str, Any]) -> str:
    """Return the images of a data collection, `FILE:FIRST:LAST`.

    Raises:
        ParameterError: the LIMS does not say where they are.
    """
    directory, pattern = _file(parameters)
    first, last = (parameters.get(f"ispyb_image_{n}") for n in ("first", "last"))
    if first is None or last is None:
        raise ParameterError(
            f"data collection {parameters.get('ispyb_dcid')}: the LIMS does not say "
            "which images it has"
        )
    return f"{PurePosixPath(directory, pattern)}:{first}:{last}"


def first_image_of(parameters: Mapping[str, Any]) -> str:
    """Return the file of the first image, or the master file."""
    path = str(PurePosixPath(*_file(parameters)))
    first = parameters.get("ispyb_image_first")
    return path % first if "%" in path and first is not None else path


def _file(parameters: Mapping[str, Any]) -> tuple[str, str]:
    directory = parameters.get("ispyb_image_directory")
    pattern = parameters.get("ispyb_image_pattern")
    if not directory or not pattern:
        raise ParameterError(
            f"data collection {parameters.get('ispyb_dcid')}: the LIMS does not say "
            "where its images are"
        )
    return str(directory), str(pattern)


def _with_symmetry(
    scenario: Scenario, parameters: Mapping[str, str], key: str
) -> Invocation:
    """Return xia2 with the symmetry that the sample is said to have."""
    symmetry = {"space_group": scenario.space_group, "unit_cell": _cell(scenario)}
    names = {"spacegroup": scenario.space_group, "unit_cell": _cell(scenario)}
    job = {**parameters, **{k: v for k, v in names.items() if v is not None}}
    both = {**parameters, **symmetry}
    return Invocation(XIA2, both, urgency="reprocessing", key=key, job=job)


def _cell(scenario: Scenario) -> str | None:
    if scenario.unit_cell is None:
        return None
    return ",".join(f"{value:g}" for value in scenario.unit_cell)


def _pipeline(name: str) -> tuple[str, Mapping[str, str]]:
    if name not in PIPELINES:
        raise ParameterError(
            f"rules.pipelines: {name!r:.60} is none of {', '.join(PIPELINES)}"
        )
    return PIPELINES[name]
