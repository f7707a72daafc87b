"""Processing jobs: what somebody wants to be done with which images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from zocelery.errors import PermanentError
from zocelery.lims.rows import JOB, JOB_PARAMETER, JOB_SWEEP
from zocelery.lims.tables import table
from zocelery.lims.writer import Writer

REQUEST_KEY = "zocelery_id"
"""The job's parameter that tells the request for it from all others."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Some images of a data collection."""

    dcid: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A processing job as it is asked for."""

    recipe: str
    dcid: int | None = None
    """By default that of the first sweep."""
    sweeps: Sequence[Sweep] = ()
    """By default all images of the data collection."""
    parameters: Sequence[tuple[str, str]] = field(default=())
    """Keys and values; a key may come more than once."""
    display_name: str | None = None
    comment: str | None = None
    automatic: bool = False


def create_job(writer: Writer, request: str, job: JobRequest) -> int:
    """Return the id of the job that `request` asks for, made if it is new.

    Args:
        writer: of the transaction.
        request: tells this request from all others, the same in every try.
        job: what is asked for.

    Raises:
        PermanentError: neither data collection nor sweep is given, or the images of the
            data collection are not known.
    """
    dcid = job.dcid or (job.sweeps[0].dcid if job.sweeps else None)
    if dcid is None:
        raise PermanentError("LIMS: a job needs a data collection or a sweep")
    sweeps = job.sweeps or [whole_sweep(writer, dcid)]
    writer.lock(f"job {request}")
    found = find_job(writer, dcid, request)
    values = {
        "dataCollectionId": dcid,
        "displayName": job.display_name,
        "comments": job.comment,
        "recipe": job.recipe,
        "automatic": int(job.automatic),
    }
    made = found or _add_job(writer, values, request)
    _add_parameters(writer, made, job.parameters)
    for sweep in sweeps:
        row = {
            "processingJobId": made,
            "dataCollectionId": sweep.dcid,
            "startImage": sweep.first,
            "endImage": sweep.last,
        }
        writer.once(JOB_SWEEP, row)
    return made


def find_job(writer: Writer, dcid: int, request: str) -> int | None:
    """Return the job of a data collection that a request has made, if it has."""
    jobs, parameters = table(JOB.table).c, table(JOB_PARAMETER.table).c
    query = (
        select(jobs.processingJobId)
        .join(
            parameters.processingJobId.table,
            parameters.processingJobId == jobs.processingJobId,
        )
        .where(
            jobs.dataCollectionId == dcid,
            parameters.parameterKey == REQUEST_KEY,
            parameters.parameterValue == request,
        )
        .order_by(jobs.processingJobId)
    )
    found = writer.connection.execute(query).first()
    return None if found is None else int(found[0])


def whole_sweep(writer: Writer, dcid: int) -> Sweep:
    """Return all images of a data collection as a sweep.

    Raises:
        PermanentError: there is no such collection, or its images are not known.
    """
    columns = table("DataCollection").c
    query = select(columns.startImageNumber, columns.numberOfImages).where(
        columns.dataCollectionId == dcid
    )
    found = writer.connection.execute(query).first()
    if found is None:
        raise PermanentError(f"LIMS: there is no DataCollection {dcid}")
    first, number = found
    if not first or not number:
        raise PermanentError(
            f"LIMS: data collection {dcid}: its first image ({first}) or its number of "
            f"images ({number}) is not known: give the sweeps"
        )
    return Sweep(dcid, int(first), int(first) + int(number) - 1)


def read_sweeps(described: Iterable[Mapping[str, Any]]) -> list[Sweep]:
    """Return sweeps that are described as in Zocalo: `DCID`, `start`, `end`.

    Raises:
        PermanentError: names what is missing.
    """
    sweeps = []
    for one in described:
        try:
            sweeps.append(Sweep(int(one["DCID"]), int(one["start"]), int(one["end"])))
        except (KeyError, TypeError, ValueError) as error:
            raise PermanentError(
                f"LIMS: {one!r:.80} is no sweep: it needs DCID, start and end"
            ) from error
    return sweeps


def read_pairs(described: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return keys and values that are described as in Zocalo: `key`, `value`.

    Raises:
        PermanentError: names what is missing.
    """
    try:
        return [(str(one["key"]), str(one["value"])) for one in described]
    except (KeyError, TypeError) as error:
        raise PermanentError(
            f"LIMS: {described!r:.80}: a parameter needs key and value"
        ) from error


def _add_job(writer: Writer, values: Mapping[str, Any], request: str) -> int:
    made = writer.add(JOB, writer.fitting(JOB, values))
    mark = {
        "processingJobId": made,
        "parameterKey": REQUEST_KEY,
        "parameterValue": request,
    }
    # In the same transaction: a job without its mark would be made again.
    writer.add(JOB_PARAMETER, writer.fitting(JOB_PARAMETER, mark))
    return made


def _add_parameters(
    writer: Writer, job: int, parameters: Iterable[tuple[str, str]]
) -> None:
    """Add the parameters that are not there; one that comes twice stays two."""
    there = [
        (row["parameterKey"], row["parameterValue"])
        for row in writer.rows(
            JOB_PARAMETER,
            {"processingJobId": job},
            ("parameterKey", "parameterValue"),
        )
    ]
    for pair in parameters:
        if pair in there:
            there.remove(pair)
            continue
        row = {
            "processingJobId": job,
            "parameterKey": pair[0],
            "parameterValue": pair[1],
        }
        writer.add(JOB_PARAMETER, writer.fitting(JOB_PARAMETER, row))
