"""What users put into the folder of their visit: symmetry, sample groups, models.

Such folders lie on shared disks that may be slow, away, or written by anyone: every
look has its time, and what cannot be read is said in the log and left out.
"""

import hashlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from zocelery.errors import ServerUnreachableError

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")
FILE_SECONDS = 10.0
LARGEST_FILE = 1_000_000
_SPACE_GROUP = re.compile(r"[PABCIFRH][ 1-6abcdemn/:HR()_-]{0,30}", re.IGNORECASE)


def within_time(what: str, look: Callable[[], Answer]) -> Answer | None:
    """Return what `look` finds; None, and a warning, if a file cannot be read.

    Raises:
        ServerUnreachableError: the disk has not answered after `FILE_SECONDS`.
    """
    found: list[Answer] = []

    def _look() -> None:
        try:
            found.append(look())
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.warning("%s cannot be read: %s", what, error)

    thread = threading.Thread(target=_look, daemon=True)
    thread.start()
    thread.join(FILE_SECONDS)
    if thread.is_alive():
        raise ServerUnreachableError(
            f"{what}: the disk does not answer within {FILE_SECONDS:g} s"
        )
    return found[0] if found else None


def symmetry_of(
    visit_directory: str, image_path: str
) -> tuple[str | None, list[float] | None]:
    """Return space group and unit cell from `processing/PREFIX.yml`, else None.

    The file counts whose name, in lower case, is a folder or file on the way from the
    visit to the images.
    """
    folder = Path(visit_directory, "processing")
    parts = Path(os.path.relpath(image_path, visit_directory).lower()).parts
    for pattern in ("*.yml", "*.yaml"):
        for file in folder.glob(pattern):
            if file.stem.lower() in parts:
                told = _read_yaml(file)
                if not isinstance(told, Mapping):
                    return None, None
                return (
                    _space_group(file, told.get("ispyb_space_group")),
                    _unit_cell(file, told.get("ispyb_unit_cell")),
                )
    return None, None


def sample_groups_of(visit_directory: str, image_path: str) -> list[list[str]]:
    """Return the groups of `processing/sample_groups.yml` that the images belong to."""
    file = Path(visit_directory, "processing", "sample_groups.yml")
    if not file.is_file():
        return []
    parts = Path(os.path.relpath(image_path, visit_directory)).parts
    told = _read_yaml(file)
    groups = [[str(name) for name in group] for group in told or ()]
    return [group for group in groups for name in group if name in parts]


def reference_geometry_of(visit_directory: str) -> str | None:
    """Return the visit's `processing/reference_geometry.expt`, None if not there."""
    file = Path(visit_directory, "processing", "reference_geometry.expt")
    return str(file) if file.exists() else None


def own_models_of(visit_directory: str) -> list[dict[str, Any]]:
    """Return the models that users have put into `processing/pdb`."""
    folder = Path(visit_directory, "processing", "pdb")
    if not folder.is_dir():
        return []
    return [
        _model(filepath=str(file))
        for file in sorted(folder.iterdir())
        if file.suffix == ".pdb" and file.stem and file.is_file()
    ]


def linked_models(
    visit_directory: str, rows: Iterable[Mapping[str, Any]], *, writes: bool
) -> list[dict[str, Any]]:
    """Return the models that the LIMS links with the protein: a code or a file.

    Args:
        visit_directory: below it, in `tmp/pdb`, stored models become files.
        rows: of the table PDB.
        writes: write those files; else only say where they would be.
    """
    found = []
    for row in rows:
        code = str(row.get("code") or "").strip()
        if len(code) == 4 and code.isalnum():
            found.append(_model(code=code, source=row.get("source")))
            continue
        if code:
            logger.warning("PDB %s: %r is no PDB code", row.get("pdbId"), code)
        contents, name = row.get("contents"), str(row.get("name") or "")
        if not contents:
            continue
        if not name or "/" in name or name in (".", ".."):
            logger.warning("PDB %s: %r is no file name", row.get("pdbId"), name)
            continue
        digest = hashlib.sha1(str(contents).encode(), usedforsecurity=False)
        file = Path(visit_directory, "tmp", "pdb", digest.hexdigest(), name)
        if not writes or _write_once(file, str(contents)):
            found.append(_model(filepath=str(file), source=row.get("source")))
    return found


def _model(
    filepath: str | None = None, code: str | None = None, source: Any = None
) -> dict[str, Any]:
    return {"filepath": filepath, "code": code, "source": source}


def _write_once(file: Path, contents: str) -> bool:
    """Write a file that is not there; False, and a warning, if that cannot be."""
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            half = file.with_name(f".{file.name}.{os.getpid()}")
            half.write_text(contents)
            half.replace(file)
    except OSError as error:
        logger.warning("%s cannot be written: %s", file, error.strerror)
        return False
    return True


def _read_yaml(file: Path) -> Any:
    yaml = import_module("yaml")
    if file.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{file} is larger than {LARGEST_FILE} bytes")
    try:
        return yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _space_group(file: Path, told: Any) -> str | None:
    if told is None:
        return None
    name = str(told).strip()
    if name.isdecimal() and 1 <= int(name) <= 230:
        return name
    if _SPACE_GROUP.fullmatch(name):
        return name
    logger.warning("%s: %r is no space group", file, told)
    return None


def _unit_cell(file: Path, told: Any) -> list[float] | None:
    if told is None:
        return None
    given = told.replace(",", " ").split() if isinstance(told, str) else told
    try:
        cell = [float(value) for value in given]
    except (TypeError, ValueError):
        cell = []
    is_cell = len(cell) == 6 and min(cell) > 0 and max(cell[3:]) < 180
    if not is_cell:
        logger.warning("%s: %r is no unit cell", file, told)
        return None
    return cell
