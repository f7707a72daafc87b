"""Jobs of a Slurm cluster as zocelery sees them, and what a client has to offer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from zocelery.errors import TaskError

OVER = frozenset(
    (
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "RECONFIG_FAIL",
        "REVOKED",
        "TIMEOUT",
    )
)
"""States of jobs that have ended, as `man squeue` lists them."""
LOST = frozenset(
    ("BOOT_FAIL", "LAUNCH_FAILED", "NODE_FAIL", "PREEMPTED", "RECONFIG_FAIL", "REVOKED")
)
"""Those of them that are not the program's doing: another try may help."""
TOO_LONG = frozenset(("DEADLINE", "TIMEOUT"))


class SlurmUnreachableError(TaskError):
    """Slurm does not answer, or not now: what was asked for may or may not be done."""


@dataclass(frozen=True, slots=True)
class JobOrder:
    """A job as it is submitted: a script that zocelery has written, and its limits."""

    name: str
    """Unlike that of any other job."""
    comment: str
    script: str
    folder: Path
    output: str
    """File for what the script itself prints."""
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraints: str = ""
    """Features that nodes must have."""
    gpus: str = ""
    """For each node: `2`, `a100:1`."""
    minutes: int = 0
    cpus: int = 0
    memory: int = 0
    """Megabytes for each node."""


@dataclass(frozen=True, slots=True)
class Job:
    """What Slurm knows of a job."""

    id: str
    state: str
    """One of OVER, or PENDING, RUNNING, COMPLETING, SUSPENDED ..."""
    nodes: str = ""
    reason: str = ""
    """Why it waits, or has ended so."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in OVER


class SlurmClient(Protocol):
    """One cluster, by whichever way it is asked.

    Every method raises SlurmUnreachableError if there is no answer.
    """

    def submit(self, order: JobOrder) -> str:
        """Submit a job and return its id.

        Raises:
            PermanentError: Slurm refuses such a job.
            TemporaryError: Slurm refuses it for now.
        """

    def find(self, name: str, job: str | None = None) -> Job | None:
        """Return the newest job called `name`, by its id where that is known.

        None if Slurm has no such job, or has forgotten that it had: some minutes after
        its end (`MinJobAge`).
        """

    def cancel(self, job: str) -> None:
        """End a job, running or not; one that has ended is left alone."""


def job_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of clients and of the script: no secrets, no settings."""
    kept = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "SLURM_CONF")
    return {name: base[name] for name in kept if name in base}
