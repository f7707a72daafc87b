"""Slurm asked by its own programs: sbatch, squeue, scancel."""

import os
import subprocess
from collections.abc import Sequence

from zocelery.errors import PermanentError, TemporaryError
from zocelery_tasks.slurm.jobs import (
    Job,
    JobOrder,
    SlurmUnreachableError,
    job_environment,
)

ANSWER_SECONDS = 60.0
_PASSING = (
    "unable to contact",
    "timed out",
    "connection refused",
    "temporarily",
    "communication",
    "standby",
    "authentication",
    "credential",
    "zero bytes",
    "unexpected message",
    "resolve",
    "munge",
)
"""What the words of an error have in it that is nobody's mistake."""
_GONE = ("invalid job id", "already completing", "already completed")
_OVER_LIMIT = "violates accounting/qos policy"
_FORMAT = "%A|%T|%N|%r"


class CommandLineClient:
    """The cluster of which this machine is a member or a submission host."""

    def submit(self, order: JobOrder) -> str:
        """Submit a job with sbatch and return its id.

        Raises:
            PermanentError: it is refused.
            TemporaryError: it is refused for now.
            SlurmUnreachableError: no controller, or no sbatch, answers.
        """
        limits = {
            "partition": order.partition,
            "account": order.account,
            "qos": order.qos,
            "constraint": order.constraints,
            "gpus-per-node": order.gpus,
            "time": order.minutes,
            "cpus-per-task": order.cpus,
            "mem": order.memory,
        }
        given = [f"--{name}={value}" for name, value in limits.items() if value]
        command = [
            *("sbatch", "--parsable", "--no-requeue", "--input=/dev/null"),
            *(f"--job-name={order.name}", f"--comment={order.comment}"),
            *(f"--chdir={order.folder}", f"--output={order.output}", *given),
        ]
        return _ask(command, order.script).strip().partition(";")[0]

    def find(self, name: str, job: str | None = None) -> Job | None:
        """Return the newest job called `name`, if squeue knows one."""
        del job  # asked for an id that it has forgotten, squeue fails
        command = [
            *("squeue", "--noheader", "--all", "--states=all"),
            *(f"--name={name}", f"--format={_FORMAT}"),
        ]
        found = [line.strip().split("|") for line in _ask(command).splitlines()]
        jobs = [Job(*fields) for fields in found if len(fields) == 4]
        return max(jobs, key=lambda job: int(job.id)) if jobs else None

    def cancel(self, job: str) -> None:
        """End a job with scancel."""
        try:
            _ask(["scancel", job])
        except PermanentError as error:
            if not any(word in str(error).lower() for word in _GONE):
                raise


def _ask(command: Sequence[str], script: str = "") -> str:
    try:
        done = subprocess.run(
            command,
            input=script,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_SECONDS,
            env=job_environment(os.environ),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SlurmUnreachableError(
            f"{command[0]}: no answer in {ANSWER_SECONDS:g} s"
        ) from None
    except OSError as error:
        raise SlurmUnreachableError(f"{command[0]}: {error.strerror}") from error
    if done.returncode == 0:
        return done.stdout
    said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    if any(word in said.lower() for word in _PASSING):
        raise SlurmUnreachableError(said)
    if _OVER_LIMIT in said.lower():
        raise TemporaryError(f"Slurm refuses for now: {said}")
    raise PermanentError(f"Slurm refuses: {said}")
