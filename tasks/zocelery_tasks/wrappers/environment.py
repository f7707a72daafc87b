"""The environment that programs run in."""

import os
import re
import shutil
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path

from zocelery.errors import ParameterError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DECIDING = re.compile(
    r"PATH|LD_.*|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|NLSPATH"  # the loader and libc
    r"|ENV|IFS|PS4|SHELLOPTS|BASH.*|PROMPT_COMMAND"  # shells
    r"|(PYTHON|PERL|RUBY|NODE_|LUA_|TCL|R_|(_|JDK_)?JAVA_).*|CLASSPATH|VIRTUAL_ENV"
    r"|HDF5_(PLUGIN|VOL|DRIVER).*|OCTAVE_.*|LIBTBX_.*"
    r"|(ZOCELERY|CELERY).*"
)
"""Variables that decide which code a program runs, or whose it is."""
_OURS = ("ZOCELERY_", "CELERY", "FORKED_BY", "_MP_FORK")
_PYTHON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONEXECUTABLE")


def program_environment(
    own: Mapping[str, str], base: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the environment of a program: the worker's, without what is ours in it.

    Secrets of the deployment (`ZOCELERY_BROKER_URL`) and what would make another Python
    use this one's packages stay out. `HDF5_PLUGIN_PATH` is set where it is not, so that
    programs with an HDF5 of their own read bitshuffle-LZ4.
    """
    kept = {
        name: value
        for name, value in base.items()
        if not name.startswith(_OURS) and name not in _PYTHON
    }
    plugins = hdf5_plugins()
    if plugins is not None:
        kept.setdefault("HDF5_PLUGIN_PATH", str(plugins))
    return {**kept, **own}


def hdf5_plugins() -> Path | None:
    """Return the folder of HDF5 filters that comes with hdf5plugin."""
    found = find_spec("hdf5plugin")  # importing it would change this process's HDF5
    if found is None or not found.origin:
        return None
    folder = Path(found.origin).parent / "plugins"
    return folder if folder.is_dir() else None


def check_variables(given: Mapping[str, str], allowed: Collection[str]) -> None:
    """Refuse variables by which a recipe would choose the code that programs run.

    Args:
        given: what a recipe or message names.
        allowed: what the configuration lets it choose all the same.

    Raises:
        ParameterError: names the variable.
    """
    for name, value in given.items():
        if not _NAME.fullmatch(name) or not is_plain(value):
            raise ParameterError(f"environment: {name!r:.80} is no variable")
        if _DECIDING.fullmatch(name) and name not in allowed:
            raise ParameterError(
                f"environment: {name!r:.80} decides which code programs run; the "
                "configuration may allow it (wrappers.variables)"
            )


def is_plain(text: str) -> bool:
    """Whether a text can be an argument, or a variable's value: no NUL, all of Unicode.

    What stands for the bytes of a file's name that is no Unicode passes.
    """
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def find_program(name: str, folder: Path, path: str | None = None) -> str | None:
    """Return the absolute path of a program, before its own environment holds.

    Args:
        name: from `command`; with a slash in it relative to `folder`.
        folder: where it will work.
        path: where it is looked for; by default where the worker finds its programs.

    Returns:
        None if it is not installed here.
    """
    if "/" in name:
        return str(folder / name)
    found = shutil.which(name, path=path)
    return None if found is None else str(Path(found).absolute())
