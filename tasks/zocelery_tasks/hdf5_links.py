"""Where the links of HDF5 files lead: one rule for the reader and for the probe.

Nothing heavy is imported here: a probe is a process of its own and loads little.
"""

from pathlib import Path


def linked_file(path: Path, name: str) -> Path | None:
    """Return the file that a link in `path` to a file `name` means, None without one.

    As HDF5 does, relative names are looked for beside the file, and beside what it is
    a symbolic link to; so are absolute ones that do not exist, as in a copied or moved
    folder.
    """
    for folder in (path.parent, path.resolve().parent):
        for candidate in (folder / name, folder / Path(name).name):
            if candidate.exists():
                return candidate
    return None
