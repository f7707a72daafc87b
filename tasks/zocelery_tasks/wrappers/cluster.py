"""A cluster as the place where a wrapper's programs run, each as a job."""

import hashlib
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from zocelery.cluster_settings import SLURM, WORKER, ClusterSettings
from zocelery.desk import Desk
from zocelery.errors import ParameterError, TaskError
from zocelery.messages import Step
from zocelery_tasks.slurm.command_line import CommandLineClient
from zocelery_tasks.slurm.following import (
    FollowedJob,
    Told,
    control_folder,
    job_script,
)
from zocelery_tasks.slurm.jobs import Job, JobOrder, SlurmClient
from zocelery_tasks.slurm.parameters import ClusterParameters
from zocelery_tasks.slurm.rest import RestClient
from zocelery_tasks.wrappers.process import Command, Outcome

Say = Callable[[str, str], None]
"""Is told each change: a text for people, and the host for the history."""
_ODD = frozenset("%\\")
"""Slurm reads more than a name into a path with one of these."""


class ClusterPlace:
    """Runs the programs of one try as jobs, and finds those again that are there.

    What has to be known for that stands in the desk: the folder, and name and id of
    each job.
    """

    def __init__(
        self, desk: Desk, step: Step, name: str, wishes: ClusterParameters
    ) -> None:
        """Take the cluster `name`, and what a node wishes of it.

        Raises:
            ParameterError: there is no such cluster.
        """
        settings = desk.slurm.cluster(name)
        if settings is None:
            known = ", ".join((WORKER, SLURM, *desk.slurm.clusters))
            raise ParameterError(f"runs_on: {name!r} is not known (known: {known})")
        self._desk = desk
        self._step = step
        self._name = name
        self._settings = settings
        self._limits = wishes.over(settings)
        self._client = slurm_client(settings)

    @property
    def cpus(self) -> int:
        """How many processors a job asks for."""
        return int(self._limits["cpus"]) or 1

    def run(
        self, command: Command, position: int, look: Callable[[], bool], say: Say
    ) -> Outcome:
        """Run program number `position` of the try, or follow the job that runs it.

        Raises:
            PermanentError: Slurm refuses the job, or it could not begin.
            TemporaryError: Slurm refuses it for now.
            StoppedError: the worker stops; the job goes on without it.
        """
        known = self._jobs().get(str(position), {})

        def _say(text: str, job: Job | None) -> None:
            label = f"{self._name} (job {job.id})" if job else self._name
            say(text, f"{job.nodes} (job {job.id})" if job and job.nodes else label)

        told = Told(
            look=look,
            is_cancelled=self._desk.is_cancelled,
            keep=lambda job: self._keep(command.folder, position, job, is_away=True),
            say=_say,
        )
        order = self._order(command, position)
        job = FollowedJob(command, order, self._client, self._settings, told, known)
        outcome = job.run()
        self._keep(
            command.folder,
            position,
            {"name": order.name, "id": outcome.job},
            is_away=False,
        )
        return outcome

    def has_begun(self, position: int) -> bool:
        """Whether an earlier worker has submitted program number `position`."""
        return str(position) in self._jobs()

    def end_jobs(self) -> None:
        """End whatever job of the try may still be there."""
        folder = control_folder(Path(self._desk.kept.get("folder") or "/"))
        for position, job in self._jobs().items():
            with suppress(OSError):
                (folder / f"{position}.stop").touch()
            with suppress(TaskError):
                found = self._client.find(str(job.get("name")), job.get("id"))
                if found is not None:
                    self._client.cancel(found.id)

    def _jobs(self) -> Mapping[str, Mapping[str, Any]]:
        jobs: Mapping[str, Mapping[str, Any]] = self._desk.kept.get("jobs") or {}
        return jobs

    def _keep(
        self, folder: Path, position: int, job: Mapping[str, Any], *, is_away: bool
    ) -> None:
        jobs = {**self._jobs(), str(position): dict(job)}
        kept = {"place": self._name, "folder": str(folder), "jobs": jobs}
        self._desk.keep(kept, is_away=is_away)

    def _order(self, command: Command, position: int) -> JobOrder:
        desk, step = self._desk, self._step
        unit = desk.unit or hashlib.sha1(str(command.folder).encode()).hexdigest()
        output = str(control_folder(command.folder) / f"{position}.out")
        limits = dict(self._limits)
        if command.timeout and not limits["minutes"]:
            limits["minutes"] = math.ceil(command.timeout / 60) + 1
        return JobOrder(
            name=f"zocelery-{unit}-{desk.number}-{position}",
            comment=f"run {step.run_id} node {step.node} {step.item} try {desk.number}",
            script=job_script(self._settings, command.folder, position),
            folder=command.folder,
            output="/dev/null" if _ODD & set(output) else output,
            **limits,
        )


def log_mark(folder: Path) -> Path:
    """Return the file that says how much of a try's log has been passed on."""
    control = control_folder(folder)
    control.mkdir(mode=0o700, exist_ok=True)
    return control / "log.mark"


def slurm_client(settings: ClusterSettings) -> SlurmClient:
    """Return the client for a cluster: slurmrestd if it has a URL, else sbatch."""
    return RestClient(settings) if settings.url else CommandLineClient()
