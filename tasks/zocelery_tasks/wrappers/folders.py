"""Folders of programs: one for each try, and results that replace, never mix.

Two tries never share a folder: a working folder is made by the one that uses it, and
results appear under their name all at once.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from zocelery.allowed_files import allowed_path, program_roots
from zocelery.errors import ParameterError

MARK = ".zocelery.json"
"""File in a results folder that says which unit of which run has made it."""
MOST_FOLDERS = 10_000
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


def allowed_folder(value: str | Path, key: str, roots: Sequence[Path]) -> Path:
    """Return a folder that a parameter names, absolute and free of links.

    Raises:
        ParameterError: it is below none of `roots`, or without them of `files.roots`,
            if there are any, or it is no path; the message names key and value.
    """
    return Path(os.path.realpath(allowed_path(value, key, roots or None)))


def allowed_input(value: str, key: str) -> Path:
    """Return the absolute path of a file that a program is given.

    Raises:
        ParameterError: it is outside of the allowed folders; see `program_roots`.
    """
    return allowed_path(value, key, program_roots()).absolute()


def make_working_folder(base: Path, name: str) -> Path:
    """Make a folder that nobody else has: `base/name`, `base/name.2`, ...

    Raises:
        ParameterError: it cannot be made.
    """
    safe = safe_name(name)
    try:
        base.mkdir(parents=True, exist_ok=True)
        for number in range(1, MOST_FOLDERS):
            folder = base / (safe if number == 1 else f"{safe}.{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        raise ParameterError(
            f"working_directory: {base} cannot be used: {error.strerror}"
        ) from error
    raise ParameterError(f"working_directory: {base} is full of folders {safe!r}")


def safe_name(name: str) -> str:
    """Return a name for a file, told apart from others by a hash if it was unsafe."""
    safe = _UNSAFE.sub("_", name)[:100].lstrip(".")
    if safe and safe == name:
        return safe
    return f"{safe or 'x'}-{hashlib.sha1(name.encode()).hexdigest()[:8]}"


def publish_results(
    files: Iterable[tuple[Path, str]], base: Path, name: str, owner: Mapping[str, str]
) -> Path:
    """Copy files to `base/name`, which appears complete or not at all.

    What is there already is replaced if the same unit of the same run has made it, in
    an earlier try; otherwise it is kept as `name.1`, `name.2`, ...

    Args:
        files: pairs of a file and its path in the results folder.
        base: the folder of results.
        name: name of the new folder in it.
        owner: run, node and unit that it belongs to.

    Raises:
        ParameterError: the files cannot be copied.
    """
    final = base / safe_name(name)
    fresh = base / f".{final.name}.{uuid.uuid4().hex}"
    try:
        fresh.mkdir(parents=True)
        for source, place in files:
            target = fresh / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
        (fresh / MARK).write_text(json.dumps(dict(owner)) + "\n")
        _make_way(final, owner)
        fresh.rename(final)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        reason = error.strerror or error
        raise ParameterError(
            f"results_directory: {base} cannot be used: {reason}"
        ) from error
    return final


def _make_way(final: Path, owner: Mapping[str, str]) -> None:
    if not final.exists():
        return
    if _owner(final) == owner:
        old = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
        final.rename(old)
        shutil.rmtree(old, ignore_errors=True)
        return
    number = 1
    while (kept := final.with_name(f"{final.name}.{number}")).exists():
        number += 1
    final.rename(kept)


def _owner(folder: Path) -> Mapping[str, str] | None:
    try:
        found = json.loads((folder / MARK).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
