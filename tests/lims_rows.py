"""Rows of a LIMS for the tests: one small visit, made up for them."""

import shutil
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from sqlalchemy import URL, Connection, func, insert, select, update

from zocelery.lims.abilities import Abilities, find_abilities
from zocelery.lims.commands import Outcome, run_command
from zocelery.lims.connection import Lims
from zocelery.lims.tables import create_tables, table

DCID, GRID_DCID, STILL_DCID, SERIAL_DCID = 11, 12, 13, 14
SECOND_DCID = 15
"""See `add_second_grid`."""
DCG, GRID_DCG, SERIAL_DCG = 7, 8, 9
SAMPLE, SESSION, JOB = 21, 31, 41
VISIT = "/dls/i99/data/2026/cm7-3"


def add(connection: Connection, name: str, /, **values: Any) -> None:
    """Add a row to a table."""
    connection.execute(insert(table(name)).values(values))


def add_visit(connection: Connection, visit: str = VISIT) -> None:
    """Add a visit with a rotation, a grid, a still and a serial collection."""
    add(connection, "Person", personId=1)
    add(
        connection,
        "Proposal",
        proposalId=1,
        personId=1,
        proposalCode="cm",
        proposalNumber="7",
    )
    add(
        connection,
        "BLSession",
        sessionId=SESSION,
        proposalId=1,
        visit_number=3,
        beamLineName="i99",
    )
    _add_sample(connection)
    for group, kind in (
        (DCG, "SAD"),
        (GRID_DCG, "Mesh3D"),
        (SERIAL_DCG, "Serial Fixed"),
    ):
        add(
            connection,
            "DataCollectionGroup",
            dataCollectionGroupId=group,
            sessionId=SESSION,
            experimentType=kind,
            blSampleId=SAMPLE if group == DCG else None,
        )
    add(
        connection,
        "Detector",
        detectorId=5,
        detectorModel="Eiger2 XE 16M",
        detectorSerialNumber="E-32",
    )
    _add_collections(connection, visit)
    _add_job(connection)


def _add_sample(connection: Connection) -> None:
    add(
        connection,
        "Protein",
        proteinId=2,
        proposalId=1,
        acronym="lyso",
        externalId=b"1234567890abcdef",
    )
    add(
        connection,
        "Crystal",
        crystalId=3,
        proteinId=2,
        spaceGroup="P43212",
        cell_a=78.0,
        cell_b=78.0,
        cell_c=37.0,
        cell_alpha=90,
        cell_beta=90,
        cell_gamma=90,
    )
    add(connection, "DiffractionPlan", diffractionPlanId=6, requiredResolution=1.5)
    add(
        connection,
        "ProcessingPipeline",
        processingPipelineId=8,
        name="autoPROC",
        discipline="MX",
    )
    add(connection, "Container", containerId=4, priorityPipelineId=8)
    for place in (1, 2):
        add(
            connection,
            "BLSample",
            blSampleId=SAMPLE + place - 1,
            crystalId=3,
            diffractionPlanId=6,
            containerId=4,
            location="5",
            subLocation=place,
            loopType="multipin_2x50",
            SMILES="CCO",
            name=f"lyso_{place}",
        )
    add(
        connection,
        "EnergyScan",
        energyScanId=51,
        sessionId=SESSION,
        blSampleId=SAMPLE,
        element="Se",
        peakEnergy=12660.0,
        peakFPrime=-8.0,
        peakFDoublePrime=5.0,
        inflectionEnergy=12656.0,
        inflectionFPrime=-10.0,
        inflectionFDoublePrime=3.0,
    )
    add(connection, "BLSampleGroup", blSampleGroupId=61, name="both")
    for sample in (SAMPLE, SAMPLE + 1):
        add(
            connection,
            "BLSampleGroup_has_BLSample",
            blSampleGroupId=61,
            blSampleId=sample,
        )
    add(
        connection,
        "PDB",
        pdbId=71,
        name="model.pdb",
        contents="ATOM",
        source="user",
    )
    add(connection, "PDB", pdbId=72, name="known", code="1LYZ")
    for key in (71, 72):
        add(connection, "Protein_has_PDB", proteinhaspdbid=key, proteinid=2, pdbid=key)


def _add_collections(connection: Connection, visit: str) -> None:
    for dcid, group, number, overlap, width, sample in (
        (DCID, DCG, 100, 0.0, 0.1, SAMPLE),
        (GRID_DCID, GRID_DCG, 20, 0.0, 0.0, None),
        (STILL_DCID, DCG, 3, -44.0, 0.5, None),
        (SERIAL_DCID, SERIAL_DCG, 50, 0.0, 0.0, None),
    ):
        add(
            connection,
            "DataCollection",
            dataCollectionId=dcid,
            dataCollectionGroupId=group,
            SESSIONID=SESSION,
            BLSAMPLEID=sample,
            startImageNumber=1,
            numberOfImages=number,
            overlap=overlap,
            axisRange=width,
            wavelength=0.9793,
            detectorId=5 if dcid == DCID else None,
            dataCollectionNumber=2,
            imagePrefix="ly-so",
            imageDirectory=f"{visit}/raw/lyso/",
            fileTemplate="ly-so_2_#####.cbf",
        )
    add(
        connection,
        "GridInfo",
        gridInfoId=81,
        dataCollectionId=GRID_DCID,
        steps_x=5,
        steps_y=4,
        snaked=1,
        orientation="horizontal",
        dx_mm=0.02,
        dy_mm=0.02,
    )
    add(connection, "EventType", eventTypeId=1, name="XrayDetection")
    add(connection, "EventChain", eventChainId=91, dataCollectionId=SERIAL_DCID)
    add(
        connection,
        "Event",
        eventId=92,
        eventChainId=91,
        eventTypeId=1,
        offset=0.0,
        duration=1.0,
        repetition=4.0,
    )


def add_second_grid(connection: Connection) -> None:
    """Let the grid of the visit be the first of a pair at right angles."""
    add(
        connection,
        "DataCollection",
        dataCollectionId=SECOND_DCID,
        dataCollectionGroupId=GRID_DCG,
        SESSIONID=SESSION,
        startImageNumber=21,
        numberOfImages=15,
        omegaStart=90.0,
        imageDirectory=f"{VISIT}/raw/lyso/",
        fileTemplate="ly-so_2_#####.cbf",
    )
    add(
        connection,
        "GridInfo",
        gridInfoId=82,
        dataCollectionId=SECOND_DCID,
        steps_x=5,
        steps_y=3,
        orientation="horizontal",
    )
    columns = table("DataCollection")
    first = columns.c.dataCollectionId == GRID_DCID
    connection.execute(update(columns).where(first).values(omegaStart=0.0))


def _add_job(connection: Connection) -> None:
    add(
        connection,
        "ProcessingJob",
        processingJobId=JOB,
        dataCollectionId=DCID,
        recipe="xia2-dials",
        displayName="again",
        automatic=0,
    )
    for number, (key, value) in enumerate((("d_min", "2"), ("d_min", "3"))):
        add(
            connection,
            "ProcessingJobParameter",
            processingJobParameterId=number + 1,
            processingJobId=JOB,
            parameterKey=key,
            parameterValue=value,
        )
    add(
        connection,
        "ProcessingJobImageSweep",
        processingJobImageSweepId=1,
        processingJobId=JOB,
        dataCollectionId=DCID,
        startImage=1,
        endImage=50,
    )


@cache
def _template() -> Path:
    path = Path(mkdtemp(prefix="zocelery-lims-")) / "lims.sqlite"
    lims = Lims(URL.create("sqlite", database=str(path)))
    create_tables(lims.engine)
    lims.write(add_visit)
    lims.close()
    return path


def sqlite_lims(folder: Path) -> Lims:
    """Return a LIMS in a file of its own, with the visit in it."""
    path = folder / "lims.sqlite"
    shutil.copy(_template(), path)
    return Lims(URL.create("sqlite", database=str(path)))


class Site:
    """A LIMS, what its account may, and ids of rows that are in it."""

    def __init__(self, lims: Lims, dcid: int = DCID, dcg: int = DCG) -> None:
        self.lims = lims
        self.abilities: Abilities = find_abilities(lims)
        self.dcid = dcid
        self.dcg = dcg

    def run(
        self,
        values: dict[str, Any],
        key: str = "unit",
        variables: dict[str, Any] | None = None,
    ) -> Outcome:
        """Do what a payload asks for."""
        layers = (values, {"dcid": self.dcid, "dcgid": self.dcg})
        return run_command(self.lims, self.abilities, layers, variables or {}, key)

    def count(self, *names: str) -> dict[str, int]:
        """Return how many rows the tables have."""

        def _count(connection: Connection) -> dict[str, int]:
            return {
                name: connection.execute(
                    select(func.count()).select_from(table(name))
                ).scalar_one()
                for name in names
            }

        return self.lims.read(_count)

    def rows(self, name: str, *columns: str, **where: Any) -> list[tuple[Any, ...]]:
        """Return columns of rows, in the order of their keys."""
        target = table(name)
        query = select(*(target.c[column] for column in columns))
        for column, value in where.items():
            query = query.where(target.c[column] == value)
        query = query.order_by(*target.primary_key.columns)
        return self.lims.read(lambda c: [tuple(r) for r in c.execute(query)])


def at_once(work: Callable[[], Any], number: int = 8) -> list[Any]:
    """Return what `work` answers in so many threads that begin together."""
    barrier = threading.Barrier(number)
    answers: list[Any] = []

    def _run() -> None:
        barrier.wait()
        try:
            answers.append(work())
        except Exception as error:  # shown by the test that looks at the answers
            answers.append(error)

    threads = [threading.Thread(target=_run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
