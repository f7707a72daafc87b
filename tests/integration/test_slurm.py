"""Programs as jobs of a real Slurm cluster: once, followed, ended, named."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.slurm_cluster import (
    SlurmCluster,
    missing_cgroups,
    missing_programs,
    running_cluster,
)
from tests.unit.benches import Heard, settings
from zocelery.cluster_settings import SlurmSettings
from zocelery.desk import NoDesk
from zocelery.errors import (
    ParameterError,
    PermanentError,
    ProgramError,
    StoppedError,
    TemporaryError,
)
from zocelery.messages import Step
from zocelery.registry import load_tasks, task_function
from zocelery.settings import WrapperSettings, load_settings
from zocelery_tasks.slurm import following
from zocelery_tasks.slurm.command_line import CommandLineClient
from zocelery_tasks.slurm.following import control_folder
from zocelery_tasks.slurm.jobs import SlurmUnreachableError

pytestmark = [
    pytest.mark.skipif(bool(missing_programs()), reason=missing_programs() or "there"),
    pytest.mark.timeout(240),
]
SHOW = "import json, sys; json.dump(sys.argv[1:], open('arguments.json', 'w'))"
NASTY = ["; rm -rf x", "$(id)", "--option=injected", "a b'c\"d", "*", "`id`", "\n"]
STUBBORN = (
    "trap '' TERM; setsid sh -c \"trap '' TERM; echo \\$\\$ >> pids; sleep 300\" &"
    " echo $$ >> pids; echo up; sleep 300; :"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _is_known_to_slurms_programs(
    cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    monkeypatch.setenv("ZOCELERY_BROKER_URL", "amqp://me:secret@nowhere//")
    monkeypatch.setattr(following, "SUBMIT_PAUSE", 0.5)
    monkeypatch.setattr(following, "REPORT_SECONDS", 3.0)
    monkeypatch.setattr(following, "SILENT_SECONDS", 2.0)
    cluster.mend()


@dataclass
class Desk(NoDesk):
    """The desk of a worker that can be told to stop, beside one that goes on."""

    settings: WrapperSettings
    places: SlurmSettings
    unit: str
    number: int = 1
    timeout: float | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    progress: list[str] = field(default_factory=list)
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    log: str = ""
    kept: Mapping[str, Any] = field(default_factory=dict)
    is_away: bool = False

    @property
    def slurm(self) -> SlurmSettings:
        return self.places

    def must_stop(self) -> bool:
        return self.stopping.is_set() or self.is_cancelled()

    def is_cancelled(self) -> bool:
        return self.cancelled.is_set()

    def keep(self, kept: Mapping[str, Any], *, is_away: bool) -> None:
        self.kept = json.loads(json.dumps(kept))
        self.is_away = is_away

    def tell_progress(
        self, message: str, seen: int = 0, expected: int | None = None
    ) -> None:
        self.progress.append(message)

    def write_log(self, text: str) -> None:
        self.log += text

    def record_program(self, position: int, columns: Mapping[str, Any]) -> None:
        self.rows[position] = {**self.rows.get(position, {}), **columns}


@pytest.fixture
def desk(cluster: SlurmCluster, tmp_path: Path) -> Desk:
    known = load_settings(variables={}).slurm
    rest = {"url": cluster.url, "user": "root", "token_path": str(cluster.token_file)}
    places = known.model_copy(update={"poll": 0.5, "clusters": {"rest": rest}})
    wrappers = settings(tmp_path, runs_on="slurm", grace=0.5)
    return Desk(wrappers, places, f"{tmp_path.name}-{time.time_ns()}")


def next_worker(desk: Desk) -> Desk:
    """Return the desk of the worker that goes on with what another has begun."""
    stopping, cancelled = threading.Event(), threading.Event()
    return replace(desk, stopping=stopping, cancelled=cancelled, progress=[], log="")


def another(desk: Desk) -> Desk:
    """Return the desk of another node."""
    return replace(next_worker(desk), unit=f"{desk.unit}-2", kept={})


def run(desk: Desk, command: list[str], /, **parameters: Any) -> dict[str, Any]:
    step = Step(
        parameters={"command": command, **parameters},
        run_id="run",
        node="command",
        outlet=Heard(),  # type: ignore[arg-type]  # keeps lists
    )
    answer: dict[str, Any] = task_function(load_tasks()["command"])(step, desk)
    return answer


class Running(threading.Thread):
    """A wrapper at work in a thread of its own."""

    def __init__(self, desk: Desk, command: list[str], **parameters: Any) -> None:
        super().__init__(daemon=True)
        self._work = lambda: run(desk, command, **parameters)
        self.answer: dict[str, Any] = {}
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = self._work()
        except Exception as error:
            self.error = error

    def end(self, seconds: float = 60) -> Exception | None:
        self.join(seconds)
        assert not self.is_alive()
        return self.error


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    give_up = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < give_up
        time.sleep(0.05)
    return answer


def lines(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


@pytest.mark.parametrize("place", ["slurm", "rest"])
def test_a_program_runs_as_a_job_with_literal_arguments(
    place: str, desk: Desk, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SHOW, *NASTY]
    folder = tmp_path / "a b;$(touch x)'\"&"
    answer = run(
        desk,
        command,
        runs_on=place,
        read_json="arguments.json",
        working_directory=str(folder),
        cluster={"cpus_per_task": 1, "memory_per_node": 300, "time_limit": "00:05:00"},
    )
    assert answer["data"] == NASTY
    told = answer["programs"][0]
    assert (told["exit_code"], told["job_state"]) == (0, "")
    assert told["cpu_seconds"] > 0
    assert told["peak_memory_bytes"] > 1_000_000
    assert desk.rows[0]["state"] == "done"
    assert desk.rows[0]["command"] == command
    assert desk.rows[0]["host"] == f"{told['host']} (job {told['job']})"
    assert f"job {told['job']} is submitted" in desk.progress
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize("place", ["slurm", "rest"])
def test_a_failed_job_is_told_as_a_failed_program_is(place: str, desk: Desk) -> None:
    script = "env; for i in 1 2 3 4 5 6; do echo line $i; done; exit 9"
    with pytest.raises(ProgramError, match="sh ended with exit code 9") as raised:
        run(desk, ["sh", "-c", script], runs_on=place, environment={"MINE": "7"})
    assert "line 2 | line 3 | line 4 | line 5 | line 6" in str(raised.value)
    assert raised.value.details["job_state"] == "FAILED"
    assert "MINE=7" in desk.log
    assert "SLURM_JOB_ID=" in desk.log
    assert "secret" not in desk.log
    assert desk.rows[0]["state"] == "itself"


def test_a_signal_and_a_timeout_are_named(desk: Desk) -> None:
    with pytest.raises(ProgramError, match="sh was ended by SIGSEGV"):
        run(desk, ["sh", "-c", "kill -SEGV $$"])
    with pytest.raises(ProgramError, match=r"sleep took longer than 0\.5 s"):
        run(
            another(desk),
            ["sleep", "60"],
            timeout=0.5,
        )


@pytest.mark.parametrize("place", ["slurm", "rest"])
def test_cancelling_ends_a_stubborn_job(
    place: str, desk: Desk, cluster: SlurmCluster, tmp_path: Path
) -> None:
    work = Running(desk, ["sh", "-c", STUBBORN], runs_on=place)
    pids = tmp_path / "run" / "command" / "pids"
    wait_until(lambda: len(lines(pids)) == 2)
    desk.cancelled.set()
    began = time.monotonic()
    assert isinstance(work.end(), StoppedError)
    assert time.monotonic() - began < 10  # 5 s where nothing else runs
    assert not any(Path(f"/proc/{pid}").exists() for pid in lines(pids))
    assert desk.rows[0]["state"] == "stopped"
    wait_until(lambda: state_of(cluster, desk) in ("CANCELLED", "FAILED"))


def state_of(cluster: SlurmCluster, desk: Desk) -> str:
    found = [state for _, state, name in cluster.jobs() if desk.unit in name]
    assert len(found) == 1
    return found[0]


def test_cancelling_ends_a_job_that_waits(
    desk: Desk, cluster: SlurmCluster, tmp_path: Path
) -> None:
    cluster.call("scontrol", "update", "PartitionName=usual", "State=DOWN")
    try:
        other = another(desk)
        waiting = Running(other, ["touch", str(tmp_path / "never")])
        wait_until(lambda: any("PENDING" in text for text in other.progress))
        other.cancelled.set()
        assert isinstance(waiting.end(), StoppedError)
        assert state_of(cluster, other) == "CANCELLED"
    finally:
        cluster.call("scontrol", "update", "PartitionName=usual", "State=UP")
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("place", ["slurm", "rest"])
def test_a_job_goes_on_without_its_worker_and_is_followed_by_the_next(
    place: str, desk: Desk, cluster: SlurmCluster, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    script = f"echo one; while ! test -e {gate}; do sleep 0.1; done; echo two"
    command = ["sh", "-c", script]
    first = Running(desk, command, runs_on=place)
    wait_until(lambda: "one" in desk.log)
    desk.stopping.set()
    assert isinstance(first.end(), StoppedError)
    assert desk.is_away
    other = next_worker(desk)
    second = Running(other, command, runs_on=place)
    wait_until(lambda: any("RUNNING" in text for text in other.progress))
    gate.touch()
    assert second.end() is None
    assert (desk.log, other.log) == ("one\n", "two\n")
    assert not other.is_away
    wait_until(lambda: state_of(cluster, desk) == "COMPLETED")
    third = next_worker(other)  # died before it could record the end
    assert run(third, command, runs_on=place) == second.answer
    wait_until(lambda: state_of(cluster, desk) == "COMPLETED")


def test_a_submission_whose_answer_is_lost_is_not_made_again(
    desk: Desk,
    cluster: SlurmCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submit, calls = CommandLineClient.submit, []

    def lose_the_answer(client: CommandLineClient, order: Any) -> str:
        calls.append(submit(client, order))
        raise SlurmUnreachableError("no answer")

    monkeypatch.setattr(CommandLineClient, "submit", lose_the_answer)
    run(desk, ["sh", "-c", f"echo x >> {tmp_path}/starts"])
    assert len(calls) == 1
    assert lines(tmp_path / "starts") == ["x"]
    wait_until(lambda: state_of(cluster, desk) == "COMPLETED")


def test_two_jobs_for_one_program_run_it_once(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = CommandLineClient.submit

    def submit_twice(client: CommandLineClient, order: Any) -> str:
        return max(submit(client, order), submit(client, order))

    monkeypatch.setattr(CommandLineClient, "submit", submit_twice)
    run(desk, ["sh", "-c", f"echo x >> {tmp_path}/starts; sleep 1"])
    assert lines(tmp_path / "starts") == ["x"]


def test_a_controller_that_is_away_costs_nothing(
    desk: Desk, cluster: SlurmCluster, tmp_path: Path
) -> None:
    gate, starts = tmp_path / "gate", tmp_path / "starts"
    script = f"echo x >> {starts}; while ! test -e {gate}; do sleep 0.1; done"
    command = ["sh", "-c", script]
    before = Running(desk, command)
    wait_until(lambda: lines(starts) == ["x"])
    cluster.stop_controller()
    other = another(desk)
    during = Running(other, command)
    try:
        wait_until(lambda: any("waits for Slurm" in t for t in other.progress))
        gate.touch()
        assert before.end() is None
    finally:
        cluster.start_controller()
    assert during.end() is None
    assert lines(starts) == ["x", "x"]
    names = [name for _, _, name in cluster.jobs()]
    assert len([name for name in names if desk.unit in name]) == 2


def test_a_job_that_its_controller_has_forgotten_is_begun_again_when_it_is_gone(
    desk: Desk, cluster: SlurmCluster, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    work = Running(desk, ["sh", "-c", f"echo $$ >> {pids}; sleep 100"])
    wait_until(lambda: lines(pids))
    cluster.stop_controller()
    for file in (cluster.folder / "state").glob("job_state*"):
        file.unlink()
    cluster.start_controller()  # it ends what it does not know
    raised = work.end()
    assert isinstance(raised, TemporaryError)
    assert str(raised).startswith("sh was ended with its job ")
    assert not Path(f"/proc/{lines(pids)[0]}").exists()


def test_cancelling_works_without_a_controller(
    desk: Desk, cluster: SlurmCluster, tmp_path: Path
) -> None:
    work = Running(desk, ["sh", "-c", STUBBORN])
    pids = tmp_path / "run" / "command" / "pids"
    wait_until(lambda: len(lines(pids)) == 2)
    cluster.kill("slurmctld")
    try:
        desk.cancelled.set()
        wait_until(lambda: not any(Path(f"/proc/{p}").exists() for p in lines(pids)))
    finally:
        cluster.start_controller()
    assert isinstance(work.end(), StoppedError)


def scancel(cluster: SlurmCluster, job: str) -> None:
    cluster.call("scancel", job)


def lose_the_node(cluster: SlurmCluster, job: str) -> None:
    place = f"NodeName={cluster.host}"
    cluster.call("scontrol", "update", place, "State=DOWN", "Reason=tested")


def preempt(cluster: SlurmCluster, job: str) -> None:
    cluster.call(
        *("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null"),
        "--wrap=true",
    )


def test_a_job_that_slurm_gives_no_more_time_has_taken_too_long(
    desk: Desk, cluster: SlurmCluster
) -> None:
    work = Running(desk, ["sh", "-c", "echo up; sleep 100"])
    wait_until(lambda: "up" in desk.log or work.error)
    job = str(desk.kept["jobs"]["0"]["id"])
    cluster.call("scontrol", "update", f"JobId={job}", "EndTime=now+1")
    raised = work.end(180)  # Slurm looks at all limits once in half a minute
    assert isinstance(raised, ProgramError)
    assert f"took longer than job {job} may (Slurm: TIMEOUT)" in str(raised)
    assert desk.rows[0]["state"] == "timeout"


@pytest.mark.parametrize(
    ("disturb", "error", "state"),
    [
        (scancel, ProgramError, "CANCELLED"),
        (lose_the_node, TemporaryError, "NODE_FAIL"),
        (preempt, TemporaryError, "PREEMPTED"),
    ],
)
def test_what_the_cluster_does_to_a_job_is_named(
    disturb: Callable[[SlurmCluster, str], None],
    error: type[Exception],
    state: str,
    desk: Desk,
    cluster: SlurmCluster,
) -> None:
    work = Running(desk, ["sh", "-c", "echo up; sleep 100"])
    wait_until(lambda: "up" in desk.log or work.error)
    assert work.error is None, (desk.progress, cluster.call("sinfo"))
    job = str(desk.kept["jobs"]["0"]["id"])
    disturb(cluster, job)
    raised = work.end()
    assert isinstance(raised, error)
    assert f"with its job {job} (Slurm: {state}" in str(raised)
    assert desk.rows[0]["state"] == state.lower()


def test_a_job_that_takes_too_much_memory_is_told_so(desk: Desk) -> None:
    script = "x = b'x' * 400_000_000; import time; time.sleep(60)"
    with pytest.raises(ProgramError, match=r"Slurm: .*xceeded (job )?memory limit"):
        run(desk, [sys.executable, "-c", script], cluster={"memory_per_node": 100})


@pytest.mark.skipif(bool(missing_cgroups()), reason=missing_cgroups() or "there")
def test_a_job_that_the_kernel_gives_no_more_memory_is_told_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "x = b'x' * 400_000_000; import time; time.sleep(60)"
    with running_cluster(has_cgroups=True) as limited:
        monkeypatch.setenv("SLURM_CONF", limited.environment["SLURM_CONF"])
        with pytest.raises(ProgramError, match=r"with its job 1 \(Slurm: OUT_OF_MEM"):
            run(desk, [sys.executable, "-c", script], cluster={"memory_per_node": 100})
    assert desk.rows[0]["state"] == "out_of_memory"


@pytest.mark.parametrize("place", ["slurm", "rest"])
def test_what_slurm_refuses_is_named(place: str, desk: Desk) -> None:
    with pytest.raises(PermanentError, match=r"(?i)refuses: .*invalid partition"):
        run(desk, ["true"], runs_on=place, cluster={"partition": "no-such"})


def test_what_slurm_could_not_know_is_refused_by_name(desk: Desk) -> None:
    for value in ("x; rm", "--wrap=id", "a b", "$(id)", "x\n#SBATCH --wrap=id"):
        with pytest.raises(ParameterError, match=r"cluster\.partition"):
            run(desk, ["true"], cluster={"partition": value})
    with pytest.raises(ParameterError, match=r"cluster\.partitoin"):
        run(desk, ["true"], cluster={"partitoin": "x"})
    with pytest.raises(
        ParameterError, match=r"'gpu' is not known \(known: worker, slu"
    ):
        run(desk, ["true"], runs_on="gpu")


def test_a_node_without_python_is_named(desk: Desk) -> None:
    desk.places = desk.places.model_copy(update={"python": "/no/such/python"})
    with pytest.raises(PermanentError, match=r"could not begin true .*/no/such/python"):
        run(desk, ["true"])


def test_a_program_that_is_not_on_the_node_is_named(desk: Desk) -> None:
    with pytest.raises(PermanentError, match=r"no-such: cannot be started in .* on "):
        run(desk, ["no-such"])


def test_nothing_of_an_order_stays_on_the_disk(desk: Desk, tmp_path: Path) -> None:
    run(desk, ["true"], environment={"TOKEN": "very-secret"})
    control = control_folder(tmp_path / "run" / "command")
    assert control.stat().st_mode & 0o077 == 0
    texts = [f.read_bytes() for f in control.rglob("*") if f.is_file()]
    assert texts
    assert not any(b"very-secret" in text for text in texts)
