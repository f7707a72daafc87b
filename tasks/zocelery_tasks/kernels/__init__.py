"""Pure numeric kernels: numpy and numba only.

Numba keeps what it has compiled, keyed by the source file of each function alone: a
change in a function that it calls goes unnoticed, and a wrong number comes out. So the
cache lies in a folder that is named after the sources of all kernels together, below
`NUMBA_CACHE_DIR` or `~/.cache/zocelery/numba`.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _use_cache_of_these_sources() -> None:
    name = _digest_of_sources()
    named = os.environ.get("NUMBA_CACHE_DIR")
    base = Path(named) if named else Path.home() / ".cache" / "zocelery" / "numba"
    folder = base if base.name == name else base / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        folder = Path(tempfile.gettempdir()) / f"zocelery-numba-{os.getuid()}" / name
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    if "numba" in sys.modules:  # it has read the variable already
        sys.modules["numba"].config.CACHE_DIR = str(folder)


_use_cache_of_these_sources()
