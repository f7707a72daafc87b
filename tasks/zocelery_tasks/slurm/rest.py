"""Slurm asked through slurmrestd, its web service, in whichever version it speaks."""

import http.client
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from zocelery.cluster_settings import ClusterSettings
from zocelery.errors import PermanentError, TemporaryError
from zocelery_tasks.slurm.jobs import (
    Job,
    JobOrder,
    SlurmUnreachableError,
    job_environment,
)

ANSWER_SECONDS = 20.0
"""slurmrestd itself waits for minutes for a controller that is away."""
UNKNOWN_JOB = frozenset((2017, 2021))
"""No such job, and one that has ended; numbers as in Slurm's `slurm_errno.h`."""
USERS = range(2000, 3000)
"""What is wrong with a request; other numbers are those of networks and passwords."""
PASSING = frozenset((2016, 2019, 2020, 2027, 2037, 2049))
"""Those of them that pass: nodes busy, in transition, a controller on standby."""
OVER_LIMIT = 2050
"""More jobs, or larger ones, than the account may have (for now)."""


class RestClient:
    """One cluster behind slurmrestd, with a JWT or on a local socket."""

    def __init__(self, settings: ClusterSettings) -> None:
        """Ask the server that the settings name."""
        self._settings = settings
        numbers = settings.api_version.removeprefix("v").split(".")
        self._version = tuple(int(number) for number in numbers)
        self._root = f"/slurm/v{'.'.join(numbers)}"

    def submit(self, order: JobOrder) -> str:
        """Submit a job and return its id.

        Raises:
            PermanentError: Slurm refuses it.
            TemporaryError: Slurm refuses it for now.
            SlurmUnreachableError: no answer, or none that says what became of it.
        """
        body = {"script": order.script, "job": self._job(order)}
        answer = self._ask("POST", "/job/submit", body)
        number = answer.get("job_id") or (answer.get("result") or {}).get("job_id")
        if not number:
            raise SlurmUnreachableError("slurmrestd has answered without a job's id")
        return str(number)

    def find(self, name: str, job: str | None = None) -> Job | None:
        """Return the newest job called `name`, by its id where that is known."""
        try:
            answer = self._ask("GET", f"/job/{int(job)}" if job else "/jobs")
        except _UnknownJobError:
            return None
        found = [_read(each) for each in answer.get("jobs", ()) if each["name"] == name]
        return max(found, key=lambda job: int(job.id)) if found else None

    def cancel(self, job: str) -> None:
        """End a job."""
        try:
            self._ask("DELETE", f"/job/{int(job)}")
        except _UnknownJobError:
            return

    def _job(self, order: JobOrder) -> dict[str, Any]:
        """Return a job's properties; their form has changed with version 0.0.39."""
        is_old = self._version < (0, 0, 39)
        path = os.environ.get("PATH", os.defpath)
        variables = {**job_environment(os.environ), "PATH": path}
        variables.pop("SLURM_CONF", None)

        def _number(value: int) -> Any:
            return value if is_old else {"set": True, "number": value}

        job = {
            "name": order.name,
            "comment": order.comment,
            "current_working_directory": str(order.folder),
            "standard_output": order.output,
            "standard_input": "/dev/null",
            "partition": order.partition,
            "account": order.account,
            "qos": order.qos,
            "constraints": order.constraints,
            "cpus_per_task": order.cpus,
            "time_limit": _number(order.minutes) if order.minutes else None,
            "memory_per_node": _number(order.memory) if order.memory else None,
        }
        if order.gpus:
            gpus = ("gpus_per_node", order.gpus)
            name, value = gpus if is_old else ("tres_per_node", f"gres/gpu:{gpus[1]}")
            job[name] = value
        kept = {key: value for key, value in job.items() if value}
        pairs = [f"{name}={value}" for name, value in variables.items()]
        return {**kept, "requeue": False, "environment": variables if is_old else pairs}

    def _ask(
        self, method: str, place: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        text = None if body is None else json.dumps(body)
        try:
            connection = _connect(self._settings.url)
            try:
                connection.request(method, self._root + place, text, self._headers())
                response = connection.getresponse()
                status, answer = response.status, response.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise SlurmUnreachableError(f"slurmrestd: {reason}") from error
        return _check(status, answer)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._settings.user:
            headers["X-SLURM-USER-NAME"] = self._settings.user
        if self._settings.token_path:
            token = Path(self._settings.token_path).read_text().strip()
            headers["X-SLURM-USER-TOKEN"] = token.removeprefix("SLURM_JWT=")
        return headers


class _UnknownJobError(Exception):
    """Slurm has no job of this id."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return _UnixConnection(parts.path)
    place = parts.hostname or "", parts.port
    if parts.scheme == "https":
        return http.client.HTTPSConnection(*place, timeout=ANSWER_SECONDS)
    return http.client.HTTPConnection(*place, timeout=ANSWER_SECONDS)


def _check(status: int, text: bytes) -> dict[str, Any]:
    """Return an answer in which there is no error."""
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        said = " ".join(text.decode(errors="replace").split())[:200]
        raise SlurmUnreachableError(f"slurmrestd answers {status}: {said}")
    errors = [e for e in answer.get("errors") or () if e]
    if not errors:
        if status >= 400:
            raise SlurmUnreachableError(f"slurmrestd answers {status}")
        return answer
    first = errors[0]
    number = int(first.get("error_number") or first.get("error_code") or 0)
    if number in UNKNOWN_JOB:
        raise _UnknownJobError
    said = first.get("description") or first.get("error") or f"error {number}"
    if number not in USERS or number in PASSING:
        raise SlurmUnreachableError(f"slurmrestd: {said} ({number})")
    if number == OVER_LIMIT:
        raise TemporaryError(f"Slurm refuses for now: {said}")
    raise PermanentError(f"Slurm refuses: {said} ({number})")


def _read(found: Mapping[str, Any]) -> Job:
    state = found["job_state"]  # a list since version 0.0.40
    name = state if isinstance(state, str) else next(iter(state), "UNKNOWN")
    return Job(
        id=str(found["job_id"]),
        state=name.split()[0],
        nodes=found.get("nodes") or "",
        reason=found.get("state_reason") or "",
    )
