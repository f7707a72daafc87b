"""The environment that programs run in."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

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
