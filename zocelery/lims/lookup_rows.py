"""What the LIMS knows around a data collection: sample, protein, scans, relatives."""

from collections import defaultdict
from typing import Any

from sqlalchemy import select

from zocelery.lims.reader import Reader, Row
from zocelery.lims.tables import table

EV_ANGSTROM = 12398.42
"""Photon energy in eV times wavelength in Å."""
EDGE_EV = 30.0
"""Farther than this from its edge an energy counts as remote."""
NO_PREFERENCE = "xia2/DIALS"
_GROUP_COLUMNS = (
    "dataCollectionId",
    "startImageNumber",
    "numberOfImages",
    "overlap",
    "axisRange",
    "fileTemplate",
    "imageDirectory",
)


def session_of(reader: Reader, group: Row) -> tuple[str | None, str | None]:
    """Return the beamline of a group's session, and the visit's name."""
    session = reader.one("BLSession", {"sessionId": group.get("sessionId")})
    proposal = reader.one("Proposal", {"proposalId": session.get("proposalId")})
    name = None
    if proposal and session.get("visit_number") is not None:
        code, number = proposal.get("proposalCode"), proposal.get("proposalNumber")
        name = f"{code}{number}-{session['visit_number']}"
    return session.get("beamLineName"), name


def grid_of(reader: Reader, collection: Row) -> Row:
    """Return the grid of a data collection: its own, else its group's, else {}."""
    own = reader.one("GridInfo", {"dataCollectionId": collection["dataCollectionId"]})
    group = {"dataCollectionGroupId": collection.get("dataCollectionGroupId")}
    return own or reader.one("GridInfo", group)


def preferred_processing(reader: Reader, sample: Row) -> str:
    """Return the pipeline that the sample's container asks for."""
    container = reader.one("Container", {"containerId": sample.get("containerId")})
    pipeline = container.get("priorityPipelineId")
    found = reader.one("ProcessingPipeline", {"processingPipelineId": pipeline})
    return found.get("name") or NO_PREFERENCE


def pin_of(sample: Row) -> Row:
    """Return where the sample's pin is, {} without a sample."""
    names = ("containerId", "location", "subLocation", "loopType")
    return {name: sample.get(name) for name in names} if sample else {}


def samples_on_pin(reader: Reader, pin: Row) -> dict[int, int]:
    """Return the samples of a pin with several, by their place on it."""
    if not str(pin.get("loopType") or "").startswith("multipin"):
        return {}
    where = {"containerId": pin["containerId"], "location": pin["location"]}
    rows = reader.all("BLSample", where)
    return {row["subLocation"]: row["blSampleId"] for row in rows}


def energy_scan_of(reader: Reader, collection: Row) -> Row:
    """Return the energy scan next in energy, of the same session and protein.

    One of the same sample goes before those of others; {} if there is none.
    """
    wavelength = collection.get("wavelength")
    if not wavelength or not reader.sees("EnergyScan", "energyScanId", "element"):
        return {}
    energy = EV_ANGSTROM / float(wavelength)
    scans = [
        scan
        for scan in _energy_scans(reader, collection)
        if scan["peakEnergy"] is not None and scan["inflectionEnergy"] is not None
    ]
    own = [s for s in scans if s["blSampleId"] == collection.get("BLSAMPLEID")]
    if not scans:
        return {}

    def _distance(scan: Row) -> float:
        edges = (scan["peakEnergy"], scan["inflectionEnergy"])
        return min(abs(float(edge) - float(energy)) for edge in edges)

    scan = min(own or scans, key=_distance)
    position = _edge_position(energy, scan["peakEnergy"], scan["inflectionEnergy"])
    found = {
        "energyscanid": scan["energyScanId"],
        "atom_type": scan["element"],
        "edge_position": position,
    }
    words = {"peak": "peak", "infl": "inflection"}
    if position in words:
        found["fp"] = scan[f"{words[position]}FPrime"]
        found["fpp"] = scan[f"{words[position]}FDoublePrime"]
    return found


def _edge_position(energy: float, peak: float, inflection: float) -> str:
    if energy > peak + EDGE_EV:
        return "hrem"
    if energy < inflection - EDGE_EV:
        return "lrem"
    nearer = abs(energy - inflection) < abs(energy - peak)
    return "infl" if nearer else "peak"


def _energy_scans(reader: Reader, collection: Row) -> list[Row]:
    """Return the energy scans of the session on samples of the same protein."""
    scans = table("EnergyScan").c
    this_sample, that_sample = (table("BLSample").alias() for _ in range(2))
    this_crystal, that_crystal = (table("Crystal").alias() for _ in range(2))
    query = (
        select(
            scans.energyScanId,
            scans.blSampleId,
            scans.element,
            scans.peakEnergy,
            scans.peakFPrime,
            scans.peakFDoublePrime,
            scans.inflectionEnergy,
            scans.inflectionFPrime,
            scans.inflectionFDoublePrime,
        )
        .select_from(this_sample)
        .join(this_crystal, this_crystal.c.crystalId == this_sample.c.crystalId)
        .join(that_crystal, that_crystal.c.proteinId == this_crystal.c.proteinId)
        .join(that_sample, that_sample.c.crystalId == that_crystal.c.crystalId)
        .join(table("EnergyScan"), scans.blSampleId == that_sample.c.blSampleId)
        .where(
            this_sample.c.blSampleId == collection.get("BLSAMPLEID"),
            scans.sessionId == collection.get("SESSIONID"),
            scans.element.is_not(None),
        )
        .order_by(scans.energyScanId)
    )
    return reader.select(query)


def models_of(reader: Reader, sample: Row) -> list[Row]:
    """Return the rows of PDB that are linked with the sample's protein."""
    if not sample or not reader.sees("Protein_has_PDB", "proteinid", "pdbid"):
        return []
    crystal = reader.one("Crystal", {"crystalId": sample.get("crystalId")})
    links = reader.all("Protein_has_PDB", {"proteinid": crystal.get("proteinId")})
    return [
        row for link in links for row in reader.all("PDB", {"pdbId": link["pdbid"]})
    ]


def group_collections(reader: Reader, group: int | None) -> list[Row]:
    """Return what is needed of all data collections of a group."""
    if group is None:
        return []
    columns = table("DataCollection").c
    query = select(*(columns[name] for name in _GROUP_COLUMNS))
    query = query.where(columns.dataCollectionGroupId == group)
    return reader.select(query.order_by(columns.dataCollectionId))


def sample_group_relatives(reader: Reader, collection: Row) -> list[Row]:
    """Return for each sample group of the sample the collections of its samples."""
    if collection.get("SESSIONID") is None or collection.get("BLSAMPLEID") is None:
        return []
    groups = table("BLSampleGroup")
    mine, theirs = (table("BLSampleGroup_has_BLSample").alias() for _ in range(2))
    others = table("DataCollection").c
    if not reader.sees(groups.name, "blSampleGroupId", "name"):
        return []
    query = (
        select(groups.c.blSampleGroupId, groups.c.name, others.dataCollectionId)
        .join(mine, mine.c.blSampleGroupId == groups.c.blSampleGroupId)
        .join(theirs, theirs.c.blSampleGroupId == groups.c.blSampleGroupId)
        .join(table("DataCollection"), theirs.c.blSampleId == others.BLSAMPLEID)
        .where(mine.c.blSampleId == collection["BLSAMPLEID"])
        .order_by(groups.c.blSampleGroupId, others.dataCollectionId)
    )
    found: dict[tuple[int, Any], list[int]] = defaultdict(list)
    for row in reader.select(query):
        found[row["blSampleGroupId"], row["name"]].append(row["dataCollectionId"])
    return [
        {"dcids": dcids, "sample_group_id": key, "name": name}
        for (key, name), dcids in found.items()
    ]


def session_collections(reader: Reader, session: int) -> list[Row]:
    """Return ids and image directories of a session's data collections."""
    columns = table("DataCollection").c
    query = select(columns.dataCollectionId, columns.imageDirectory)
    query = query.where(columns["SESSIONID"] == session)
    return reader.select(query.order_by(columns.dataCollectionId))


def direct_relatives(reader: Reader, collection: Row, sample: Row) -> Row | None:
    """Return the collections of the same sample, else those in the same directory."""
    columns = table("DataCollection").c
    key = collection.get("BLSAMPLEID")
    if key:
        groups = table("DataCollectionGroup").c
        query = (
            select(columns.dataCollectionId)
            .join(
                groups.blSampleId.table,
                groups.dataCollectionGroupId == columns.dataCollectionGroupId,
            )
            .where(groups.blSampleId == key)
            .order_by(columns.dataCollectionId)
        )
        dcids = [row["dataCollectionId"] for row in reader.select(query)]
        found = {"dcids": dcids, "sample_id": key, "name": sample.get("name")}
        return found if dcids else None
    query = select(columns.dataCollectionId).where(
        columns.imageDirectory == collection.get("imageDirectory"),
        columns.dataCollectionId != collection["dataCollectionId"],
    )
    rows = reader.select(query.order_by(columns.dataCollectionId))
    return {"dcids": [row["dataCollectionId"] for row in rows]}


def serial_events(reader: Reader, dcid: int) -> tuple[list[Row] | None, int | None]:
    """Return the events of a serial collection, and how many shots an image has."""
    chains = reader.all("EventChain", {"dataCollectionId": dcid})
    types = {}
    events = []
    for chain in chains:
        for event in reader.all("Event", {"eventChainId": chain["eventChainId"]}):
            key = event.get("eventTypeId")
            if key not in types:
                types[key] = reader.one("EventType", {"eventTypeId": key}).get("name")
            events.append({"eventType": types[key], **event})
    shots = sum(
        event["repetition"] or 0
        for event in events
        if event["eventType"] == "XrayDetection"
    )
    return events or None, int(shots) or None
