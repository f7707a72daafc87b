"""What a job runs on its node: one program, once, and a report of what became of it.

Copied beside the supervisor into the folder of a job, where the nodes see both, and run
there with the standard library alone (Python 3.10 or newer):

    python3 FOLDER/launcher FOLDER POSITION

Whoever makes the file POSITION.claim runs the program of POSITION.order; a second job
for the same program, or the same one that Slurm has queued again, finds the claim and
does nothing; its time is a sign of life. POSITION.report appears whole. POSITION.stop
asks for the end: it works where Slurm's controller does not.
"""

import json
import os
import select
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from zocelery_tasks.wrappers.supervisor import Supervisor
else:  # on a node
    from supervisor import Supervisor

LOOK_SECONDS = 1.0
CLAIMED = 75
FROM_THE_JOB = ("SLURM_", "CUDA_", "ROCR_", "GPU_DEVICE_", "TMPDIR", "XDG_RUNTIME_DIR")
"""Variables that Slurm sets for a job, beside those that the worker has sent."""


class JobSupervisor(Supervisor):
    """A supervisor that is told to stop by a file, by a signal and by the clock."""

    def __init__(self, order: Mapping[str, Any], claim: Path, stop: Path) -> None:
        """Run what `order` says until `stop` is there; touch `claim` meanwhile."""
        super().__init__(order)
        self._claim = claim
        self._stop = stop
        self._grace = float(order["grace"])
        self._timeout = order["timeout"]
        self.is_late = False

    def _wait(self, wake: int) -> float | None:
        while self._status is None:
            ready, _, _ = select.select([wake], [], [], LOOK_SECONDS)
            if ready:
                os.read(wake, 4096)
                self._reap()
            os.utime(self._claim)
            if self._status is not None:
                break
            used = time.monotonic() - self._started
            self.is_late = self._timeout is not None and used > self._timeout
            if self._is_interrupted or self.is_late or self._stop.exists():
                return self._grace
        return None


def claim(file: Path, job: str) -> bool:
    """Make `file` with the job's id in it; False if it is there already."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as stream:
        stream.write(job)
        stream.flush()
        os.fsync(stream.fileno())
    return True


def write_report(file: Path, report: Mapping[str, Any]) -> None:
    """Write what became of a program; it appears whole."""
    fresh = file.with_name(f"{file.name}.part")
    with fresh.open("w") as stream:
        json.dump(report, stream)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.rename(file)


def launch(folder: Path, position: str, job: str) -> int:
    """Run the program unless another job has; return the script's exit code."""
    mine = folder / f"{position}.claim"
    if not claim(mine, job):
        sys.stderr.write("this program has been begun before; it is left alone\n")
        return CLAIMED
    place = folder / f"{position}.order"
    order = json.loads(place.read_text())
    place.unlink()  # an environment may hold what is nobody's business
    own = {k: v for k, v in os.environ.items() if k.startswith(FROM_THE_JOB)}
    order["environment"] = {**order["environment"], **own}
    stop = folder / f"{position}.stop"
    told: dict[str, Any] = {"stopped": True, "exit_code": None, "signal": None}
    is_late = False
    if not stop.exists():
        supervisor = JobSupervisor(order, mine, stop)
        told, is_late = supervisor.run(), supervisor.is_late
    host = os.uname().nodename
    told = {**told, "is_late": is_late, "job": job, "host": host}
    write_report(folder / f"{position}.report", told)
    return int(told.get("exit_code") or 0) if told.get("signal") is None else 1


if __name__ == "__main__":
    sys.exit(launch(Path(sys.argv[1]), sys.argv[2], os.environ.get("SLURM_JOB_ID", "")))
