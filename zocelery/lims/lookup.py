"""Look-up: the parameters that a data collection or processing job gives a recipe.

Their names and values are those that Diamond's recipes use: `ispyb_dcid`,
`ispyb_image_pattern`, `ispyb_working_directory` and some forty more.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Connection, select

from zocelery.errors import ParameterError
from zocelery.lims import collection as rows
from zocelery.lims import lookup_rows as around
from zocelery.lims import visit_files
from zocelery.lims.abilities import Abilities
from zocelery.lims.connection import Lims
from zocelery.lims.current import current_abilities, current_lims
from zocelery.lims.jobs import REQUEST_KEY
from zocelery.lims.layout import Layout, Places, find_layout
from zocelery.lims.reader import Reader, Row
from zocelery.lims.tables import table
from zocelery.lims.values import as_id
from zocelery.settings import current_settings

DCID = "ispyb_dcid"
JOBS = ("ispyb_reprocessing_id", "ispyb_process")
_IDS = (DCID, *JOBS)
WAIT = "ispyb_wait_for_runstatus"
POLL_SECONDS = 2.0
_NO_RELATIVES_BELOW = "/dls/mx"
"""VMXi puts many crystals into one group: they are not merged."""


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What a look-up has found."""

    parameters: dict[str, Any]
    """What was given, and all that was found."""
    recipe: str | None
    """The recipe that the processing job asks for, if there is one."""


def look_up(
    lims: Lims,
    abilities: Abilities,
    parameters: Mapping[str, Any],
    layout: Layout,
    *,
    names_recipe: bool = True,
    writes: bool = True,
) -> LookedUp:
    """Return `parameters` with what the LIMS knows.

    What is found replaces what was given, but for `ispyb_dcid`, `ispyb_image` and
    `ispyb_images`. Without a data collection or job nothing is looked up.

    Args:
        lims: to ask.
        abilities: of its account.
        parameters: `ispyb_dcid`, `ispyb_process` or `ispyb_reprocessing_id`; `guid`.
        layout: of the facility's folders.
        names_recipe: whether the recipe is known already; else the job says it.
        writes: whether models of the protein are written into the visit's folder.

    Raises:
        ParameterError: there is no such data collection or job, or its folders are not
            of the layout.
        ServerUnreachableError: the LIMS, or the visit's disk, does not answer.
    """
    given = {n: v for n, v in parameters.items() if n not in _IDS or v != ""}

    def _read(connection: Connection) -> LookedUp:
        reader = Reader(connection, abilities)
        return _Search(reader, layout, dict(given), writes).run(names_recipe)

    return lims.read(_read)


def look_up_current(
    parameters: Mapping[str, Any], *, names_recipe: bool = True, writes: bool = False
) -> LookedUp:
    """Return what the LIMS of the configuration knows; see `look_up`."""
    lims = current_lims()
    layout = find_layout(current_settings().lims.layout)
    return look_up(
        lims,
        current_abilities(lims),
        parameters,
        layout,
        names_recipe=names_recipe,
        writes=writes,
    )


def is_ready(lims: Lims, parameters: Mapping[str, Any]) -> bool:
    """Whether a run need not wait: its data collection has a run status.

    Only where the parameter `ispyb_wait_for_runstatus` asks for that.
    """
    dcid = parameters.get(DCID)
    if not parameters.get(WAIT) or not dcid:
        return True
    columns = table("DataCollection").c
    query = select(columns.runStatus).where(
        columns.dataCollectionId == _key(DCID, dcid)
    )
    return lims.read(lambda c: c.execute(query).scalar()) is not None


def wait_until_ready(lims: Lims, parameters: Mapping[str, Any], timeout: float) -> None:
    """Return when a run need not wait any more; the time counts from now.

    Raises:
        ParameterError: it is not ready after `timeout` s.
    """
    end = time.monotonic() + timeout
    while not is_ready(lims, parameters):
        if time.monotonic() >= end:
            raise ParameterError(
                f"data collection {parameters[DCID]} has no run status after "
                f"{timeout:g} s"
            )
        time.sleep(min(POLL_SECONDS, max(0.0, end - time.monotonic())))


def wait_for_current(parameters: Mapping[str, Any]) -> None:
    """Return when a run need not wait any more, as the configuration says how long."""
    if parameters.get(WAIT):
        timeout = current_settings().lims.ready_timeout
        wait_until_ready(current_lims(), parameters, timeout)


def _key(name: str, value: Any) -> int:
    key = as_id(value)
    if not key:
        raise ParameterError(f"{name} = {value!r:.60} is no id")
    return key


@dataclass
class _Search:
    """One look-up while it goes on."""

    reader: Reader
    layout: Layout
    found: dict[str, Any]
    writes: bool

    def run(self, names_recipe: bool) -> LookedUp:
        """Return all that there is."""
        jobs = (self.found.get(name) for name in JOBS)
        job = next((value for value in jobs if value is not None), None)
        recipe = None if job is None else self._job(_key("ispyb_process", job))
        if self.found.get(DCID) is not None:
            self._collection(_key(DCID, self.found[DCID]), recipe and not names_recipe)
        return LookedUp(self.found, recipe)

    def _job(self, job_id: int) -> str | None:
        job = self.reader.one("ProcessingJob", {"processingJobId": job_id}, needed=True)
        if not job:
            raise ParameterError(f"LIMS: there is no processing job {job_id}")
        where = {"processingJobId": job_id}
        sweeps = self.reader.all("ProcessingJobImageSweep", where)
        given = [
            (row["parameterKey"], row["parameterValue"])
            for row in self.reader.all("ProcessingJobParameter", where)
            if row["parameterKey"] != REQUEST_KEY
        ]
        values: dict[str, list[str]] = {}
        for key, value in given:
            values.setdefault(key, []).append(value)
        ranges = (self._sweep(sweep) for sweep in sweeps)
        self.found |= {
            "ispyb_process": job_id,
            "ispyb_images": ",".join(text for text in ranges if text),
            "ispyb_reprocessing_parameters": dict(given),
            "ispyb_processing_parameters": values,
            "ispyb_processing_job": job,
        }
        self.found.setdefault(DCID, job["dataCollectionId"])
        return f"ispyb-{job['recipe']}" if job["recipe"] else None

    def _sweep(self, sweep: Row) -> str | None:
        where = {"dataCollectionId": sweep["dataCollectionId"]}
        collection = self.reader.one("DataCollection", where)
        return rows.sweep_range(collection, sweep["startImage"], sweep["endImage"])

    def _collection(self, dcid: int, job_decides: Any) -> None:
        reader, found = self.reader, self.found
        where = {"dataCollectionId": dcid}
        info = reader.one("DataCollection", where, needed=True)
        if not info:
            raise ParameterError(f"LIMS: there is no data collection {dcid}")
        found[DCID] = dcid
        info["uuid"] = str(found.get("guid") or uuid.uuid4())
        info["gridinfo"] = around.grid_of(reader, info)
        key = info.get("dataCollectionGroupId")
        group = reader.one("DataCollectionGroup", {"dataCollectionGroupId": key})
        sample = reader.one("BLSample", {"blSampleId": info.get("BLSAMPLEID")})
        beamline, session = around.session_of(reader, group)
        kind = group.get("experimentType")
        found |= {
            "ispyb_beamline": beamline,
            "ispyb_dc_info": info,
            "ispyb_dcg_experiment_type": kind,
            "ispyb_dc_class": rows.classify(info, kind),
            **self._detector(info),
            **self._images(info),
        }
        places = self.layout.places(info, session, info["uuid"])
        self._sample(info, group, sample, places)
        self._places(places)
        self._relatives(info, sample, places)
        self._last(dcid, job_decides)

    def _detector(self, info: Row) -> Row:
        detector = self.reader.one("Detector", {"detectorId": info.get("detectorId")})
        model = detector.get("detectorModel")
        return {
            "ispyb_detectorclass": rows.detector_class(info, model),
            "ispyb_detectorname": rows.DETECTOR_NAMES.get(str(model)),
        }

    def _images(self, info: Row) -> Row:
        first, last = rows.first_and_last(info)
        images = {
            "ispyb_image_first": first,
            "ispyb_image_last": last,
            "ispyb_image_template": info.get("fileTemplate"),
            "ispyb_image_directory": info.get("imageDirectory"),
            "ispyb_image_pattern": rows.image_pattern(info),
        }
        if not self.found.get("ispyb_image") and last is not None:
            images["ispyb_image"] = rows.image_range(info)
        return images

    def _sample(
        self, info: Row, group: Row, sample: Row, places: Places | None
    ) -> None:
        """Look up what depends on the sample, and on that of the group."""
        reader = self.reader
        known = {"blSampleId": group.get("blSampleId")}
        asked = reader.one("BLSample", known)
        crystal = reader.one("Crystal", {"crystalId": asked.get("crystalId")})
        protein = reader.one("Protein", {"proteinId": crystal.get("proteinId")})
        protein.pop("externalId", None)
        plan = {"diffractionPlanId": asked.get("diffractionPlanId")}
        pin = around.pin_of(sample)
        symmetry = self._symmetry(crystal, places)
        self.found |= {
            "ispyb_diffraction_plan": reader.one("DiffractionPlan", plan) or None,
            "ispyb_protein_info": protein or None,
            "ispyb_energy_scan_info": around.energy_scan_of(reader, info),
            "ispyb_smiles": sample.get("SMILES"),
            "ispyb_preferred_processing": around.preferred_processing(reader, sample),
            "ispyb_pin_info": pin,
            "ispyb_msp_sample_ids": around.samples_on_pin(reader, pin),
            "ispyb_space_group": symmetry[0],
            "ispyb_unit_cell": symmetry[1],
        }
        if places is not None:
            models = around.models_of(reader, sample)
            directory = places.visit_directory
            linked = visit_files.linked_models(directory, models, writes=self.writes)
            own = visit_files.within_time(
                f"{directory}/processing/pdb",
                lambda: visit_files.own_models_of(directory),
            )
            self.found["ispyb_pdb"] = linked + (own or [])

    def _symmetry(self, crystal: Row, places: Places | None) -> tuple[Any, Any]:
        """Return space group and unit cell: the LIMS's, else those of a file."""
        space_group = crystal.get("spaceGroup")
        if space_group:
            names = ("a", "b", "c", "alpha", "beta", "gamma")
            cell = tuple(float(crystal.get(f"cell_{name}") or 0) for name in names)
            return space_group, cell if all(cell) else False
        if places is None or not self._image_path():
            return None, None
        directory, image = places.visit_directory, self._image_path()
        found = visit_files.within_time(
            f"{directory}/processing",
            lambda: visit_files.symmetry_of(directory, str(image)),
        )
        return found or (None, None)

    def _image_path(self) -> str | None:
        directory = self.found.get("ispyb_image_directory")
        template = self.found.get("ispyb_image_template")
        if not directory or not template:
            return None
        return str(PurePosixPath(directory, template))

    def _places(self, places: Places | None) -> None:
        visit = places.visit if places else None
        geometry = None
        if places is not None:
            directory = places.visit_directory
            geometry = visit_files.within_time(
                f"{directory}/processing",
                lambda: visit_files.reference_geometry_of(directory),
            )
        self.found |= {
            "ispyb_visit": visit,
            "ispyb_visit_directory": places.visit_directory if places else None,
            "ispyb_working_directory": places.working_directory if places else None,
            "ispyb_results_directory": places.results_directory if places else None,
            "ispyb_final_directory": places.final_directory if places else None,
            "ispyb_reference_geometry": geometry,
            "ispyb_project": (visit or "AUTOMATIC").replace("-", "v"),
            "ispyb_crystal": rows.crystal_name(self.found["ispyb_dc_info"]),
        }

    def _relatives(self, info: Row, sample: Row, places: Places | None) -> None:
        """Look up the data collections that belong to this one."""
        reader, found, dcid = self.reader, self.found, info["dataCollectionId"]
        groups = around.sample_group_relatives(reader, info)
        if not groups and places is not None:
            groups = self._groups_of_file(info, places)
        direct = around.direct_relatives(reader, info, sample)
        key = info.get("dataCollectionGroupId")
        others = around.group_collections(reader, key)
        found |= {
            "ispyb_related_dcids": [*groups, *([direct] if direct else [])],
            "ispyb_dcg_dcids": [
                row["dataCollectionId"]
                for row in others
                if row["dataCollectionId"] != dcid
            ],
            "ispyb_related_sweeps": [
                (row["dataCollectionId"], *rows.first_and_last(row)) for row in others
            ],
            "ispyb_related_images": [
                (row["dataCollectionId"], rows.first_file(row)) for row in others
            ],
        }
        if key and not found.get("ispyb_images"):
            directory = str(found["ispyb_image_directory"] or "")
            ranges = (
                rows.image_range(row)
                for row in others
                if row["dataCollectionId"] != dcid
                and rows.is_rotation(row)
                and not directory.startswith(_NO_RELATIVES_BELOW)
            )
            found["ispyb_images"] = ",".join(text for text in ranges if text)

    def _groups_of_file(self, info: Row, places: Places) -> list[Row]:
        """Return the collections of the groups that `sample_groups.yml` names."""
        directory, image = places.visit_directory, self._image_path()
        session = info.get("SESSIONID")
        if not image or session is None:
            return []
        groups = visit_files.within_time(
            f"{directory}/processing/sample_groups.yml",
            lambda: visit_files.sample_groups_of(directory, image),
        )
        if not groups:
            return []
        members = [
            (row["dataCollectionId"], _parts(row["imageDirectory"]))
            for row in around.session_collections(self.reader, session)
        ]
        return [
            {"dcids": [dcid for dcid, parts in members for n in group if n in parts]}
            for group in groups
        ]

    def _last(self, dcid: int, job_decides: Any) -> None:
        """Look up what depends on the class of the data collection."""
        kind = self.found["ispyb_dc_class"]
        if job_decides or kind["grid"]:
            return
        if kind["screen"]:
            self.found["ispyb_images"] = ""
            return
        if kind["rotation"] or kind["serial_fixed"] or kind["serial_jet"]:
            events, shots = around.serial_events(self.reader, dcid)
            self.found["ispyb_ssx_events"] = events
            self.found["ispyb_ssx_shots_per_image"] = shots


def _parts(directory: Any) -> tuple[str, ...]:
    return PurePosixPath(str(directory or "")).parts
