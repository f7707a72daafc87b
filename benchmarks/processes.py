"""CPU time and memory of processes, as Linux tells them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_RESET_PEAK = "5"
"""Written to clear_refs: the highest memory so far is the present one."""


@dataclass(frozen=True)
class Memory:
    """Memory of one process, MB (10^6 bytes)."""

    resident: float
    peak: float
    """Highest resident memory so far."""
    private: float
    """What it shares with no other process."""


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and its ended threads, of 10 ms each.

    Children that have ended count, those that run do not. 0 if it has ended itself.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return 0.0
    after_name = text.rpartition(")")[2].split()
    return sum(map(int, after_name[11:15])) * _TICK


def family(pid: int) -> list[int]:
    """Return a process and all its descendants, parents first."""
    found = [pid]
    for each in found:
        try:
            tasks = list(Path(f"/proc/{each}/task").iterdir())
            for task in tasks:
                found += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def total_cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU seconds of processes with all their descendants."""
    return sum(cpu_seconds(each) for pid in pids for each in family(pid))


def memory(pid: int) -> Memory:
    """Return the memory of a process.

    Raises:
        FileNotFoundError: if it has ended.
    """
    status = _kilobytes(Path(f"/proc/{pid}/status"))
    rollup = _kilobytes(Path(f"/proc/{pid}/smaps_rollup"))
    return Memory(
        resident=status["VmRSS"],
        peak=status["VmHWM"],
        private=rollup["Private_Clean"] + rollup["Private_Dirty"],
    )


def reset_peak(pid: int) -> None:
    """Let the highest memory of a process begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)


def _kilobytes(file: Path) -> dict[str, float]:
    """Return the lines `Name:  123 kB` of a file, in MB."""
    found = {}
    for line in file.read_text().splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            found[name] = int(rest.split()[0]) * 1024 / 1e6
    return found
