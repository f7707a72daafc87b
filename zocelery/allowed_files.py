"""Allowed files: below which folders tasks read and write what a message names.

Recipes, parameters and payloads come from the network. Whatever in them names a file
goes through here before it is opened.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from zocelery.errors import ParameterError


def allowed_path(
    value: str | Path, key: str, roots: Sequence[Path] | None = None
) -> Path:
    """Return the path that a parameter or payload names, if tasks may go there.

    Links and `..` are followed before anything is compared, those of folders that are
    not there yet as well. If there are roots the answer is what has been compared:
    absolute and free of links, so that a link that is turned afterwards leads nowhere
    else. Without any the path is returned as it was given.

    Args:
        value: the path.
        key: what errors call it, such as `file` or `results_directory`.
        roots: the allowed folders, () for everywhere; by default the setting
            `files.roots`.

    Raises:
        ParameterError: it is below none of the roots, or is no path; one line that
            names key and value.
    """
    text = str(value)
    if not text or "\0" in text or (not text.isprintable() and _is_broken(text)):
        raise ParameterError(f"{key}: {_shown(text)} is not a path")
    folders = _configured_roots() if roots is None else roots
    if not folders:
        return Path(text)
    path = Path(os.path.realpath(text))
    if not any(path.is_relative_to(os.path.realpath(folder)) for folder in folders):
        known = ", ".join(map(str, folders))
        raise ParameterError(
            f"{key}: {_shown(text)} is not below an allowed folder ({known})"
        )
    return path


def program_roots() -> tuple[Path, ...]:
    """Return the folders in which files of programs lie, () for everywhere.

    Programs may read each other's folders, wherever those are.
    """
    from zocelery.settings import current_settings

    settings = current_settings()
    if not settings.files.roots:
        return ()
    own = (settings.wrappers.working_directory, *settings.wrappers.roots)
    return (*settings.files.roots, *own)


def _configured_roots() -> tuple[Path, ...]:
    # imported here: a probe of files, which loads little, is told its roots
    from zocelery.settings import current_settings

    return current_settings().files.roots


def _is_broken(text: str) -> bool:
    """Whether the file system cannot take the text, for its surrogates."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return True
    return False


def _shown(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 200 else f"{shown[:197]}..."
