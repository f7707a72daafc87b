"""Data collections in the LIMS, where acquisition leaves that to the analysis."""

from collections.abc import Mapping
from typing import Any

from zocelery.allowed_files import allowed_path
from zocelery.errors import ParameterError, PermanentError
from zocelery.lims.described import named
from zocelery.lims.programs import mark_of
from zocelery.lims.request import Request
from zocelery.lims.rows import RowKind
from zocelery.lims.writer import Writer

COLLECTION_GROUP = RowKind(
    "DataCollectionGroup",
    "dataCollectionGroupId",
    ("sessionId",),
    ("experimentType", "startTime", "comments"),
    identity=("comments",),
)
COLLECTION = RowKind(
    "DataCollection",
    "dataCollectionId",
    ("dataCollectionGroupId",),
    (
        *("SESSIONID", "startTime", "imageDirectory", "imageSuffix", "voltage"),
        *("comments", *(f"xtalSnapshotFullPath{n}" for n in range(1, 5))),
    ),
    identity=("comments",),
)
_SNAPSHOTS = {f"xtalSnapshotFullPath{n}": f"xtal_snapshot{n}" for n in range(1, 5)}
_NAMES = {
    **named("startTime", "imageSuffix", "voltage"),
    "imageDirectory": "image_directory",
}


def store_group(writer: Writer, request: Request) -> int:
    """Return the id of the data collection group that a request makes."""
    values = {
        "sessionId": request.required_key("session_id"),
        "experimentType": request.value("experiment_type"),
        "startTime": request.value("start_time"),
        "comments": _comment(request),
    }
    return writer.once(COLLECTION_GROUP, values)


def store_collection(writer: Writer, request: Request) -> int:
    """Return the id of the data collection that a request makes."""
    values: dict[str, Any] = {
        column: request.value(name) for column, name in _NAMES.items()
    }
    values["dataCollectionGroupId"] = request.required_key("dcgid")
    values["SESSIONID"] = request.key_of("session_id")
    values["comments"] = _comment(request)
    return writer.once(COLLECTION, values)


def change_collection(writer: Writer, request: Request) -> int:
    """Put snapshots of the crystal to a data collection; return its id.

    Raises:
        PermanentError: there is no such data collection.
    """
    dcid = request.key_of("dcid")
    if dcid is None:
        raise PermanentError(f"LIMS: {request.command}: dcid is not given")
    writer.require_row(COLLECTION.table, COLLECTION.key, dcid)
    values = {column: request.value(name) for column, name in _SNAPSHOTS.items()}
    writer.change(COLLECTION, dcid, values)
    return dcid


def _comment(request: Request) -> str:
    """Return the comment of a new row: its mark tells this request from others."""
    return f"{request.text('comments') or 'Created for Murfey'}, {mark_of(request.key)}"


PDB = RowKind("PDB", "pdbId", (), ("name", "contents", "source"))
PROTEIN_PDB = RowKind("Protein_has_PDB", "proteinhaspdbid", ("proteinid",), ("pdbid",))
LARGEST_PDB = 50_000_000
"""Bytes of a model's file."""


def store_models(writer: Writer, request: Request) -> list[int]:
    """Return the ids of a protein's models, whose files a request names.

    Files that are not there are passed over. A model of the same name and content is
    not stored again.

    Raises:
        PermanentError: no file is named; one is too large, no text, or in a folder that
            tasks may not read.
    """
    protein = request.required_key("protein_id")
    files = request.value("pdb_files")
    if not isinstance(files, list) or not files:
        raise PermanentError(f"LIMS: {request.command}: pdb_files is no list of files")
    source = request.text("source")
    writer.require_row("Protein", "proteinId", protein)
    writer.lock(f"proteinId={protein}")
    known = _models_of(writer, protein)
    stored = []
    for name, contents in read_models(files):
        key = known.get((name, contents))
        if key is None:
            values = {"name": name, "contents": contents, "source": source}
            key = writer.add(PDB, writer.fitting(PDB, values))
            writer.add(PROTEIN_PDB, {"proteinid": protein, "pdbid": key})
            known[name, contents] = key
        stored.append(key)
    return stored


def read_models(files: list[Any]) -> list[tuple[str, str]]:
    """Return name and text of those files that are there; see `store_models`."""
    found = []
    for file in files:
        try:
            path = allowed_path(str(file), "pdb_files")
            if not path.is_file():
                continue
            if path.stat().st_size > LARGEST_PDB:
                raise PermanentError(f"LIMS: {path}: larger than {LARGEST_PDB} bytes")
            found.append((path.name, path.read_text()))
        except ParameterError as error:
            raise PermanentError(f"LIMS: {error}") from error
        except (OSError, ValueError) as error:
            raise PermanentError(f"LIMS: {file}: {error}") from error
    return found


def _models_of(writer: Writer, protein: int) -> dict[tuple[str, str], int]:
    links = writer.rows(PROTEIN_PDB, {"proteinid": protein}, ("pdbid",))
    found: dict[tuple[str, str], int] = {}
    for link in links:
        for row in writer.rows(PDB, {"pdbId": link["pdbid"]}, ("name", "contents")):
            found.setdefault(
                (str(row["name"]), str(row["contents"])), int(row["pdbId"])
            )
    return found


ACQUISITION_COMMANDS: Mapping[str, Any] = {
    "insert_data_collection_group": store_group,
    "insert_data_collection": store_collection,
    "upsert_data_collection_mx": change_collection,
    "insert_pdb_files": store_models,
}
"""Zocalo's commands."""
