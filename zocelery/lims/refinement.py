"""Refinement against merged data (DIMPLE and the like) in the LIMS."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from zocelery.allowed_files import allowed_path, program_roots
from zocelery.errors import ParameterError, PermanentError
from zocelery.lims.payloads import read_payload
from zocelery.lims.programs import (
    SUCCESS,
    add_attachment,
    register_program,
    update_status,
)
from zocelery.lims.rows import BLOB, REFINEMENT
from zocelery.lims.writer import Writer


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Atom(_Model):
    """The atom next to a blob."""

    name: str
    chain_id: str
    res_seq: int
    res_name: str


class Blob(_Model):
    """Density that the model does not explain."""

    xyz: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    """In Å."""
    height: FiniteFloat
    map_type: Literal["anomalous", "difference"]
    occupancy: FiniteFloat | None = None
    nearest_atom: Atom | None = None
    nearest_atom_distance: FiniteFloat | None = None
    filepath: str | None = None
    view1: str | None = None
    view2: str | None = None
    view3: str | None = None

    def columns(self) -> dict[str, Any]:
        """Return the values of its row."""
        atom = self.nearest_atom
        return {
            **dict(zip("xyz", self.xyz, strict=True)),
            "height": self.height,
            "mapType": self.map_type,
            "occupancy": self.occupancy,
            "nearestAtomName": atom and atom.name,
            "nearestAtomChainId": atom and atom.chain_id,
            "nearestAtomResName": atom and atom.res_name,
            "nearestAtomResSeq": atom and atom.res_seq,
            "nearestAtomDistance": self.nearest_atom_distance,
            "filePath": self.filepath,
            "view1": self.view1,
            "view2": self.view2,
            "view3": self.view3,
        }


class Refined(_Model):
    """How well the model fits, before and after."""

    auto_proc_scaling_id: int
    auto_proc_program_id: int | None = None
    rwork_start: FiniteFloat
    rwork_end: FiniteFloat
    rfree_start: FiniteFloat
    rfree_end: FiniteFloat
    space_group: str | None = None
    LLG: FiniteFloat | None = None
    TFZ: FiniteFloat | None = None

    def columns(self, program: int) -> dict[str, Any]:
        """Return the values of its row, which belongs to a program."""
        return {
            "autoProcScalingId": self.auto_proc_scaling_id,
            "autoProcProgramId": program,
            "rValueStart": self.rwork_start,
            "rValueEnd": self.rwork_end,
            "rFreeValueStart": self.rfree_start,
            "rFreeValueEnd": self.rfree_end,
            "spaceGroup": self.space_group,
            "LLG": self.LLG,
            "TFZ": self.TFZ,
        }


class Program(_Model):
    """The program that has refined."""

    command_line: str
    programs: str
    status: int
    message: str
    start_time: datetime
    end_time: datetime


class Attachment(_Model):
    """A file that it has left."""

    file_type: str
    file_path: str
    file_name: str
    importance_rank: int | None = Field(None, ge=0, le=255)


class Refinement(_Model):
    """All that a refinement has to say, as Zocalo's `insert_dimple_result` has it."""

    mxmrrun: Refined
    blobs: tuple[Blob, ...] = ()
    auto_proc_program: Program
    attachments: tuple[Attachment, ...] = ()

    @classmethod
    def parse(cls, described: Mapping[str, Any]) -> "Refinement":
        """Read a message.

        Raises:
            PermanentError: names the key and its value.
        """
        return read_payload(cls, "refinement", described)


def store_refinement(writer: Writer, request: str, refinement: Refinement) -> int:
    """Return the id of the MXMRRun row; program, blobs and files go with it.

    Raises:
        PermanentError: a file is outside of the allowed folders; those who read the
            LIMS would be given it.
    """
    _check_files(refinement)
    told = refinement.auto_proc_program
    program = refinement.mxmrrun.auto_proc_program_id or register_program(
        writer, request, program=told.programs, command_line=told.command_line
    )
    update_status(
        writer,
        program,
        status="success" if told.status == SUCCESS else "failure",
        message=told.message,
        start_time=told.start_time,
        update_time=told.end_time,
    )
    made = writer.once(REFINEMENT, refinement.mxmrrun.columns(program))
    _store_blobs(writer, made, refinement.blobs)
    for file in refinement.attachments:
        add_attachment(
            writer,
            program,
            name=file.file_name,
            folder=file.file_path,
            kind=file.file_type,
            rank=file.importance_rank,
        )
    return made


def _check_files(refinement: Refinement) -> None:
    roots = program_roots()
    for key, path in _files(refinement):
        try:
            allowed_path(path, key, roots)
        except ParameterError as error:
            raise PermanentError(f"LIMS: refinement: {error}") from error


def _files(refinement: Refinement) -> Iterator[tuple[str, Path]]:
    """Yield the files that it names, each with its key."""
    for file in refinement.attachments:
        yield "attachments.file_path", Path(file.file_path, file.file_name)
    for blob in refinement.blobs:
        for view in filter(None, (blob.view1, blob.view2, blob.view3)):
            yield "blobs.view", Path(blob.filepath or ".", view)


def _store_blobs(writer: Writer, refinement: int, blobs: Sequence[Blob]) -> None:
    for blob in blobs:
        writer.once(BLOB, {"mxMRRunId": refinement, **blob.columns()})
