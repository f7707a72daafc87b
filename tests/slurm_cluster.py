"""A real Slurm cluster of one node on loopback, gone with its test.

Needs Debian's packages (3.5 MB to download, 14 MB on disk, 10 s):

    apt-get install --no-install-recommends \
        slurmctld slurmd slurm-client slurmrestd slurm-wlm-jwt-plugin munge

Nothing of a Slurm or munge of the system is used: own keys, ports, folders, processes.
"""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from zocelery import servers

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "slurmrestd", "munged")
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}({loopback})
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={folder}/jwt.key
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
MessageTimeout=5
KillWait=3
MinJobAge={remembered}
NodeName={host} NodeAddr={loopback} CPUs={cpus} RealMemory=2000 State=UNKNOWN
PartitionName=usual Nodes=ALL Default=YES MaxTime=60 DefMemPerNode=400 PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=60 DefMemPerNode=400 PriorityTier=9
"""
CGROUPS = Path("/sys/fs/cgroup")
CGROUP_CONFIGURATION = f"""
CgroupPlugin=cgroup/v1
CgroupAutomount=no
CgroupMountpoint={CGROUPS}
ConstrainRAMSpace=yes
AllowedSwapSpace=0
"""
Process = AbstractContextManager["subprocess.Popen[bytes]"]


def missing_programs() -> str:
    """Return why there can be no cluster: what has to be installed; or ""."""
    missing = [p for p in PROGRAMS if not _find(p)]
    if not missing and os.geteuid() != 0:
        return "slurmrestd refuses to run as the user of Slurm: only root can be both"
    return f"Slurm is not installed ({', '.join(missing)})" if missing else ""


def missing_cgroups() -> str:
    """Return why the kernel cannot limit the memory of jobs, or ""."""
    folder = CGROUPS / "memory"  # version 2 needs systemd
    can = os.access(folder / "memory.limit_in_bytes", os.W_OK)
    return "" if can else f"{folder} (version 1 of cgroups) is not there for us"


def _find(program: str) -> str | None:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    return shutil.which(program, path=path)


class SlurmCluster:
    """Controller, node and web service, each of which can be killed and started."""

    def __init__(
        self, folder: Path, remembered: int = 300, *, has_cgroups: bool = False
    ) -> None:
        """Prepare a cluster in `folder`, that forgets jobs after `remembered` s.

        With `has_cgroups` the kernel limits the memory of jobs, else Slurm looks at it.
        """
        self.folder = folder
        self.host = socket.gethostname().partition(".")[0]
        self.rest_port = servers.free_port()
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self._running: dict[str, Process] = {}
        for name in ("state", "spool"):
            (folder / name).mkdir()
        for name in ("munge.key", "jwt.key"):
            (folder / name).write_bytes(secrets.token_bytes(64))
            (folder / name).chmod(0o600)
        text = CONFIGURATION
        if has_cgroups:
            text = text.replace("task/none", "task/cgroup")
            text = text.replace("JobAcctGatherParams=OverMemoryKill\n", "")
            (folder / "cgroup.conf").write_text(CGROUP_CONFIGURATION)
        (folder / "slurm.conf").write_text(
            text.format(
                host=self.host,
                loopback=servers.LOOPBACK,
                controller_port=servers.free_port(),
                node_port=servers.free_port(),
                user=getpass.getuser(),
                folder=folder,
                cpus=os.cpu_count(),
                remembered=remembered,
            )
        )

    @property
    def url(self) -> str:
        """Where slurmrestd listens."""
        return f"http://{servers.LOOPBACK}:{self.rest_port}"

    @property
    def token_file(self) -> Path:
        """A file with a JWT of this user."""
        file = self.folder / "token"
        if not file.exists():
            file.write_text(self.call("scontrol", "token", "lifespan=36000"))
        return file

    def start(self) -> None:
        """Start everything and wait until the node takes jobs."""
        key = [f"--key-file={self.folder}/munge.key", "--foreground", "--force"]
        names = ("socket", "pid-file", "log-file", "seed-file")
        places = [f"--{name}={self.folder}/munge.{name[:6]}" for name in names]
        self._start("munged", *key, *places)
        self._until((self.folder / "munge.socket").exists)
        self.start_controller()
        self.start_node()
        self.start_rest()

    def start_controller(self) -> None:
        """Start the controller, with what it knew, and wait until it answers."""
        self._start("slurmctld", "-D")
        self._until(lambda: "UP" in self.call("scontrol", "ping"))

    def stop_controller(self) -> None:
        """End the controller as an operator would: it keeps what it knows."""
        self._running.pop("slurmctld").__exit__(None, None, None)

    def start_node(self) -> None:
        """Start the node and wait until it takes jobs."""
        self._start("slurmd", "-D", "-N", self.host)
        self._until(lambda: "idle" in self.call("sinfo", "--noheader"))

    def mend(self) -> None:
        """End all jobs and wait until the node is free for others.

        A node is drained when a controller that has lost its last state wants to start
        what it has running.
        """

        def _is_idle() -> bool:
            state = self.call("sinfo", "--noheader", "--format=%t").split()[0]
            if state.startswith(("drain", "drng", "down")):
                place = f"NodeName={self.host}"
                self.call("scontrol", "update", place, "State=RESUME")
            return state == "idle"

        if _is_idle():
            return
        self.call("scancel", f"--user={getpass.getuser()}")
        self._until(_is_idle)

    def start_rest(self) -> None:
        """Start the web service, which refuses to be root or the user of Slurm."""
        place = f"{servers.LOOPBACK}:{self.rest_port}"
        plugins = ("-s", "openapi/v0.0.38", "-a", "rest_auth/jwt")
        self._start("slurmrestd", "-u", "nobody", "-g", "nogroup", *plugins, place)
        self._until(self._answers)

    def _answers(self) -> bool:
        try:
            socket.create_connection((servers.LOOPBACK, self.rest_port), 1).close()
        except OSError:
            return False
        return True

    def kill(self, program: str) -> None:
        """End one of the servers as a crash would."""
        running = self._running.pop(program)
        process = running.process  # type: ignore[attr-defined]  # see _start
        process.kill()
        running.__exit__(None, None, None)

    def call(self, *command: str) -> str:
        """Run a program of Slurm's; return what it prints, whatever it thinks."""
        done = subprocess.run(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout

    def jobs(self) -> list[tuple[str, str, str]]:
        """Return id, state and name of all jobs that the controller remembers."""
        text = self.call("squeue", "--noheader", "--states=all", "--format=%A|%T|%j")
        found = [line.split("|") for line in text.splitlines()]
        return [(number, state, name) for number, state, name in found]

    def stop(self) -> None:
        """End everything, what jobs have left running included."""
        for process in Path("/proc").iterdir():
            if process.name.isdecimal() and self._is_of_a_job(process):
                with suppress(ProcessLookupError):
                    os.kill(int(process.name), signal.SIGKILL)
        for running in reversed(self._running.values()):
            running.__exit__(None, None, None)
        self._running.clear()

    def _is_of_a_job(self, process: Path) -> bool:
        """Whether it is a job's supervisor: slurmd's children, on their own feet."""
        try:
            is_step = (process / "comm").read_text().startswith("slurmstepd")
            variables = (process / "environ").read_bytes()
        except OSError:
            return False
        return is_step and f"SLURM_CONF={self.folder}/".encode() in variables

    def _start(self, name: str, *options: str) -> None:
        program = _find(name)
        assert program is not None, missing_programs()
        log = self.folder / f"{name}.log"
        environment = dict(self.environment)
        if name == "slurmrestd":
            environment["SLURM_JWT"] = "daemon"
        running = _Running(name, [program, *options], log, environment)
        running.__enter__()
        self._running[name] = running

    def _until(self, condition: Callable[[], bool]) -> None:
        give_up = time.monotonic() + servers.START_SECONDS
        while not condition():
            assert time.monotonic() < give_up, self.logs()
            time.sleep(0.05)

    def logs(self) -> str:
        """Return the end of what each server has said."""
        found = sorted(self.folder.glob("*.log"))
        texts = [
            (file.name, file.read_text(errors="replace")[-3000:]) for file in found
        ]
        return "\n".join(f"--- {name}\n{text}" for name, text in texts)


class _Running(AbstractContextManager["subprocess.Popen[bytes]"]):
    """A server, and its process."""

    def __init__(
        self, name: str, command: list[str], log: Path, environment: dict[str, str]
    ) -> None:
        self.name = name
        self._stack = ExitStack()
        self._server = servers.running(command, log, environment)
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> "subprocess.Popen[bytes]":
        self.process = self._stack.enter_context(self._server)
        return self.process

    def __exit__(self, *exception: object) -> None:
        self._stack.close()


@contextmanager
def running_cluster(
    remembered: int = 300, *, has_cgroups: bool = False
) -> Iterator[SlurmCluster]:
    """Yield a cluster that takes jobs."""
    # not below pytest's own folder, which nobody else may enter: slurmrestd is nobody
    with tempfile.TemporaryDirectory(
        prefix="zocelery-slurm-", ignore_cleanup_errors=True
    ) as name:
        Path(name).chmod(0o755)
        cluster = SlurmCluster(Path(name), remembered, has_cgroups=has_cgroups)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
