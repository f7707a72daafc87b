"""Scenario: what rules may know of a data collection when something happens to it."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from zocelery.errors import ParameterError
from zocelery.recipe import Frozen

EVENT = "event"
"""The parameter in which GDA and dodal say what happens."""
EVENTS = ("start", "end")
KINDS = (
    "serial_fixed",
    "serial_jet",
    "grid",
    "diamond_anvil_cell",
    "characterization",
    "screening",
    "rotation",
)
"""The first of them that is true of a data collection is its kind: a chip of serial
crystals is scanned as a grid, and has no centre."""
_LIMS_NAMES = {"screening": "screen"}


class GridPair(Frozen):
    """Two grids of one group at right angles, in the order of their collection."""

    first: Mapping[str, Any]
    """Parameters `ispyb_...` of the grid along x and y."""
    second: Mapping[str, Any]
    """Those of the grid along x and z."""

    @property
    def dcids(self) -> tuple[int, int]:
        """The ids of the two data collections."""
        return int(self.first["ispyb_dcid"]), int(self.second["ispyb_dcid"])


class Scenario(Frozen):
    """A data collection, and what happens to it."""

    dcid: int
    event: str = "end"
    """"start" or "end"."""
    kind: str = "undefined"
    """One of `KINDS`, or "undefined"."""
    beamline: str | None = None
    visit: str | None = None
    detector: str | None = None
    """"eiger" or "pilatus", None for others."""
    experiment_type: str | None = None
    """Of the group, as ISPyB has it."""
    group: int | None = None
    """The id of the data collection group."""
    grid: Mapping[str, Any] = Field(default_factory=dict)
    """ISPyB's row of the grid, {} if it is none."""
    pair: GridPair | None = None
    """The two grids of which this is one, if there are two by now."""
    run_status: str | None = None
    preferred_processing: str | None = None
    """The pipeline that the sample's container asks for."""
    space_group: str | None = None
    unit_cell: tuple[float, ...] | None = None
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    """All that has been looked up and sent."""


def find_scenario(parameters: Mapping[str, Any]) -> Scenario:
    """Return the scenario of a data collection that has been looked up.

    Without an event it is taken to have ended.

    Raises:
        ParameterError: the LIMS has not been asked, or the event is not known.
    """
    info = parameters.get("ispyb_dc_info")
    if not isinstance(info, Mapping):
        raise ParameterError(
            "no recipe is named, and the rules need a data collection of the LIMS "
            "(ispyb_dcid)"
        )
    happened = str(parameters.get(EVENT) or "end").lower()
    if happened not in EVENTS:
        raise ParameterError(f"event {happened!r:.60} is none of {', '.join(EVENTS)}")
    classes = parameters.get("ispyb_dc_class") or {}
    true = (name for name in KINDS if classes.get(_LIMS_NAMES.get(name, name)))
    kind = next(true, "undefined")
    return Scenario(
        dcid=int(parameters["ispyb_dcid"]),
        event=happened,
        kind=kind,
        beamline=parameters.get("ispyb_beamline"),
        visit=parameters.get("ispyb_visit"),
        detector=parameters.get("ispyb_detectorclass"),
        experiment_type=parameters.get("ispyb_dcg_experiment_type"),
        group=info.get("dataCollectionGroupId"),
        grid=info.get("gridinfo") or {},
        pair=_pair(parameters) if kind == "grid" else None,
        run_status=info.get("runStatus"),
        preferred_processing=parameters.get("ispyb_preferred_processing"),
        space_group=parameters.get("ispyb_space_group"),
        unit_cell=tuple(parameters.get("ispyb_unit_cell") or ()) or None,
        parameters=dict(parameters),
    )


def _pair(parameters: Mapping[str, Any]) -> GridPair | None:
    """Ask the LIMS for the other grid of the group."""
    from zocelery.lims.current import current_abilities, current_lims
    from zocelery.lims.grid_pairs import find_pair
    from zocelery.lims.lookup import DCID, look_up_current

    dcid = int(parameters["ispyb_dcid"])
    lims = current_lims()
    dcids = find_pair(lims, current_abilities(lims), dcid)
    if dcids is None:
        return None
    first, second = (
        parameters if other == dcid else look_up_current({DCID: other}).parameters
        for other in dcids
    )
    return GridPair(first=dict(first), second=dict(second))
