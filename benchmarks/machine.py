"""The machine on which something is measured."""

import importlib.metadata
import os
import platform
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
"""From where all is run."""
PACKAGES = ("zocelery", "numpy", "numba", "h5py", "hdf5plugin", "celery", "kombu")


def describe_machine() -> dict[str, str]:
    """Return date, machine and versions, for people."""
    packages = (f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()} GB",
        "system": f"{platform.system()} {platform.release()}",
        "load before": f"{os.getloadavg()[0]:.1f} processes, mean of a minute",
        "versions": f"Python {platform.python_version()}, {', '.join(packages)}",
    }


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def pin_to_core(core: int | None = None) -> int:
    """Keep this process, and children that it starts, on one core; return its number.

    Args:
        core: which; by default the last one that may be used.
    """
    chosen = usable_cores()[-1] if core is None else core
    os.sched_setaffinity(0, {chosen})
    return chosen


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> int:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return round(pages * size / 1e9)
