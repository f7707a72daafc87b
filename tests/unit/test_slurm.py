"""What is asked of Slurm and how its answers are read, without a cluster."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from zocelery.cluster_settings import ClusterSettings
from zocelery.errors import ConfigurationError, PermanentError, TemporaryError
from zocelery.settings import load_settings
from zocelery_tasks.slurm import following
from zocelery_tasks.slurm.following import FollowedJob, Told
from zocelery_tasks.slurm.jobs import Job, JobOrder, SlurmUnreachableError
from zocelery_tasks.slurm.parameters import ClusterParameters
from zocelery_tasks.slurm.rest import RestClient
from zocelery_tasks.wrappers.process import Command, Ending, Outcome

ORDER = JobOrder(
    name="n-0",
    comment="c",
    script="#!/bin/sh\ntrue\n",
    folder=Path("/work"),
    output="/work/out",
    partition="usual",
    gpus="a100:1",
    minutes=5,
    cpus=4,
    memory=300,
)
HEARD: list[dict[str, Any]] = []


@contextmanager
def answering(folder: Path, status: int, answer: Any) -> Iterator[str]:
    """Serve one answer to whatever is asked on a local socket; yield its URL."""
    HEARD.clear()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"null")
            token = self.headers.get("X-SLURM-USER-TOKEN")
            HEARD.append({"path": self.path, "body": body, "token": token})
            self.send_response(status)
            self.end_headers()
            is_text = isinstance(answer, str)
            self.wfile.write((answer if is_text else json.dumps(answer)).encode())

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def address_string(self) -> str:
            return ""

    place = folder / "socket"
    with socketserver.UnixStreamServer(str(place), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"unix:{place}"
        finally:
            server.shutdown()
            thread.join()
    place.unlink()


def client(url: str, version: str = "0.0.38", **changed: Any) -> RestClient:
    settings = load_settings(variables={}).slurm.cluster("slurm")
    assert settings is not None
    given = {"url": url, "api_version": version, **changed}
    return RestClient(ClusterSettings(**{**settings.model_dump(), **given}))


def test_a_job_is_written_as_the_version_wants_it(tmp_path: Path) -> None:
    with answering(tmp_path, 200, {"job_id": 7, "errors": []}) as url:
        assert client(url).submit(ORDER) == "7"
        assert client(url, "v0.0.44").submit(ORDER) == "7"
    old, new = (heard["body"]["job"] for heard in HEARD)
    assert HEARD[0]["path"] == "/slurm/v0.0.38/job/submit"
    assert HEARD[1]["path"] == "/slurm/v0.0.44/job/submit"
    assert (old["time_limit"], old["memory_per_node"]) == (5, 300)
    assert old["gpus_per_node"] == "a100:1"
    assert old["environment"]["PATH"]
    assert new["time_limit"] == {"set": True, "number": 5}
    assert new["tres_per_node"] == "gres/gpu:a100:1"
    assert any(text.startswith("PATH=") for text in new["environment"])
    assert new["current_working_directory"] == "/work"


@pytest.mark.parametrize("state", ["RUNNING", ["RUNNING", "COMPLETING"]])
def test_a_state_is_read_as_every_version_writes_it(tmp_path: Path, state: Any) -> None:
    job = {"job_id": 7, "name": "n-0", "job_state": state, "nodes": "node1"}
    other = {**job, "job_id": 9, "name": "other"}
    with answering(tmp_path, 200, {"jobs": [job, other]}) as url:
        assert client(url).find("n-0") == Job("7", "RUNNING", "node1")
        assert client(url).find("n-1") is None


def test_a_token_is_read_for_each_request(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with answering(tmp_path, 200, {"jobs": []}) as url:
        asked = client(url, user="me", token_path=str(token))
        for text in ("SLURM_JWT=one\n", "two"):
            token.write_text(text)
            asked.find("n-0")
        token.unlink()
        with pytest.raises(SlurmUnreachableError, match="token"):
            asked.find("n-0")
    assert [heard["token"] for heard in HEARD] == ["one", "two"]


@pytest.mark.parametrize(
    ("status", "answer", "error"),
    [
        (401, "Authentication failure", SlurmUnreachableError),
        (500, {"errors": [{"error_code": 1800, "error": "x"}]}, SlurmUnreachableError),
        (500, {"errors": [{"error_number": -1, "error": "x"}]}, SlurmUnreachableError),
        (500, {"errors": [{"error_number": 2027}]}, SlurmUnreachableError),
        (500, {"errors": [{"error_number": 2050}]}, TemporaryError),
        (500, {"errors": [{"error_code": 2000}]}, PermanentError),
        (200, {"errors": []}, SlurmUnreachableError),
    ],
)
def test_mistakes_are_told_from_servers_that_are_away(
    tmp_path: Path, status: int, answer: Any, error: type[Exception]
) -> None:
    with answering(tmp_path, status, answer) as url, pytest.raises(error):
        client(url).submit(ORDER)


class Cluster:
    """Says of every job the same."""

    def __init__(self, state: str) -> None:
        self._state = state

    def submit(self, order: JobOrder) -> str:
        return "7"

    def find(self, name: str, job: str | None = None) -> Job | None:
        return Job("7", self._state, "node1") if self._state else None

    def cancel(self, job: str) -> None:
        """Let it be."""


def follow(folder: Path, state: str, report: dict[str, Any] | None) -> Outcome:
    work = folder / "work"
    work.mkdir()
    settings = load_settings(variables={}).slurm.cluster("slurm")
    assert settings is not None
    told = Told(
        look=lambda: False,
        is_cancelled=lambda: False,
        keep=lambda known: None,
        say=lambda text, job: None,
    )
    command = Command(["x"], work, {}, folder / "log")
    order = replace(ORDER, folder=work)
    if report is not None:
        control = following.control_folder(work)
        control.mkdir()
        base = {"signal": None, "is_late": False, "host": "node1"}
        (control / "0.report").write_text(json.dumps({**base, **report}))
    return FollowedJob(command, order, Cluster(state), settings, told, {}).run()


@pytest.mark.parametrize(
    ("state", "ending"),
    [
        ("TIMEOUT", Ending.TIMEOUT),
        ("DEADLINE", Ending.TIMEOUT),
        ("OUT_OF_MEMORY", Ending.ITSELF),
        ("CANCELLED", Ending.ITSELF),
        ("BOOT_FAIL", Ending.LOST),
        ("NODE_FAIL", Ending.LOST),
        ("PREEMPTED", Ending.LOST),
    ],
)
@pytest.mark.parametrize("report", [None, {"exit_code": 143, "stopped": True}])
def test_slurms_word_says_whose_doing_an_end_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    ending: Ending,
    report: dict[str, Any] | None,
) -> None:
    monkeypatch.setattr(following, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(following, "REPORT_SECONDS", 0.1)
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.05)
    outcome = follow(tmp_path, state, report)
    assert outcome.ending is ending
    assert outcome.how == f"was ended with its job 7 (Slurm: {state})"


def test_a_job_that_nobody_knows_and_that_left_no_word_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "REPORT_SECONDS", 0.1)
    outcome = follow(tmp_path, "", None)
    assert outcome.ending is Ending.LOST
    assert outcome.how == "was ended with its job 7 (Slurm: lost)"


def test_a_program_that_succeeded_has_succeeded_whatever_slurm_says(
    tmp_path: Path,
) -> None:
    outcome = follow(tmp_path, "NODE_FAIL", {"exit_code": 0, "stopped": False})
    assert (outcome.ending, outcome.exit_code) == (Ending.ITSELF, 0)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("02:00:00", 120), ("1-00:00:00", 1440), ("30:00", 30), (90, 2), ("PT1H", 60)],
)
def test_time_limits_are_read_as_slurm_and_zocalo_write_them(
    text: Any, minutes: int
) -> None:
    settings = load_settings(variables={}).slurm
    given = ClusterParameters.model_validate({"time_limit": text, "commands": "x"})
    assert given.over(settings)["minutes"] == minutes


def test_the_configuration_says_what_the_recipe_does_not(tmp_path: Path) -> None:
    file = tmp_path / "z.toml"
    file.write_text(
        "[wrappers]\nruns_on_for = {'xia2*' = 'gpu'}\n"
        "[slurm]\naccount = 'mx'\ncpus = 2\nclusters.gpu = {partition = 'g'}\n"
    )
    settings = load_settings(file, variables={})
    assert settings.wrappers.place_of("xia2.ssx") == "gpu"
    assert settings.wrappers.place_of("dials.index") == "worker"
    cluster = settings.slurm.cluster("gpu")
    assert cluster is not None
    limits = ClusterParameters(cpus_per_task=8).over(cluster)
    assert (limits["partition"], limits["account"], limits["cpus"]) == ("g", "mx", 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[wrappers]\nruns_on = 'gpu'\n", "'gpu'.*known are: worker, slurm"),
        ("[slurm]\nclusters.gpu = {partitoin = 'g'}\n", "partitoin"),
    ],
)
def test_a_cluster_that_is_not_there_is_named(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "z.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_settings(file, variables={})
