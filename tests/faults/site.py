"""A site under attack: private servers, workers and a client, each of which may die."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.duplicates import messages_in
from zocelery import servers
from zocelery.deployment import Deployment
from zocelery.queues import QUEUE_NAMES
from zocelery.run import Run
from zocelery.settings import load_settings

HERE = Path(__file__).parent
FACILITY = HERE / "facility"
READY_SECONDS = 300.0
PATIENCE_SECONDS = 250.0
TIMEOUT = "ZOCELERY_REDIS_TIMEOUT"
BROKER_TIMEOUT = "ZOCELERY_BROKER_TIMEOUT"


def wait_until(
    condition: Callable[[], Any], what: str = "", seconds: float = PATIENCE_SECONDS
) -> Any:
    """Wait until `condition` answers something true and return it."""
    give_up = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < give_up, f"in vain: {what or condition}"
        time.sleep(0.01)
    return answer


class RedisServer:
    """A Redis that keeps its data in an append-only file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = servers.free_port()
        self._running: AbstractContextManager[subprocess.Popen[bytes]] | None = None
        self.process: subprocess.Popen[bytes]
        self.url = f"redis://{servers.LOOPBACK}:{self._port}/0"

    def start(self) -> None:
        """Start the server with what it had kept."""
        program = servers.find_redis()
        assert program is not None
        log = self._folder / "redis.log"
        command = [
            *(str(program), "--port", str(self._port), "--bind", servers.LOOPBACK),
            *("--dir", str(self._folder), "--save", "", "--appendonly", "yes"),
            *("--appendfsync", "everysec"),
        ]
        self._running = servers.running(command, log)
        self.process = self._running.__enter__()
        servers.wait_for_port(self._port, self.process, log)

    def is_running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._running is not None

    def kill(self) -> None:
        """End the server as a crash would."""
        self.process.kill()
        self.stop()

    def stop(self) -> None:
        """End the server."""
        if self._running is not None:
            self._running.__exit__(None, None, None)
            self._running = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let the server do nothing at all as long as the context lasts."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def forget(self) -> None:
        """Remove what the server has kept."""
        for file in self._folder.glob("appendonly*"):
            for part in file.iterdir() if file.is_dir() else (file,):
                part.unlink()


class RabbitServer:
    """A RabbitMQ that keeps its queues on disk."""

    def __init__(self, folder: Path, options: str = "") -> None:
        self._folder = folder
        self._port = servers.free_port()
        self._options = options
        self._running: AbstractContextManager[str] | None = None
        self.url = f"amqp://guest:guest@{servers.LOOPBACK}:{self._port}//"

    def start(self) -> None:
        """Start the server with what it had kept."""
        running = servers.private_rabbitmq(
            self._folder, self._port, options=self._options
        )
        running.__enter__()
        self._running = running

    def is_running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._running is not None

    def kill(self) -> None:
        """End the server as a crash would."""
        os.kill(self._pid(), signal.SIGKILL)
        self.stop()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let the server do nothing at all as long as the context lasts."""
        pid = self._pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Let the server take nothing, as if its memory were full, as long as it lasts.

        It goes on to deliver what it has.
        """
        self._control("set_vm_memory_high_watermark", "0.00001")
        try:
            yield
        finally:
            self._control("set_vm_memory_high_watermark", "0.4")

    def _pid(self) -> int:
        return int((self._folder / "rabbitmq.pid").read_text())

    def _control(self, *arguments: str) -> None:
        """Run `rabbitmqctl`; where the server is stands in its own environment."""
        program = servers.find_rabbitmq()
        assert program is not None
        told = Path(f"/proc/{self._pid()}/environ").read_bytes().split(b"\0")
        done = subprocess.run(
            [
                str(program.with_name("rabbitmqctl")),
                *("--node", f"zocelery{self._port}@localhost"),
                *("--erlang-cookie", f"zocelery{self._port}", *arguments),
            ],
            env=dict(entry.decode().split("=", 1) for entry in told if b"=" in entry),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout

    def stop(self) -> None:
        """End the server."""
        if self._running is not None:
            self._running.__exit__(None, None, None)
            self._running = None


@dataclass
class Worker:
    """One `celery worker`, started again whenever it dies while it is wanted."""

    name: str
    queues: str
    pool: str
    concurrency: int
    folder: Path
    environment: Mapping[str, str]
    options: Sequence[str] = ()
    wanted: bool = False
    starts: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    _running: "AbstractContextManager[subprocess.Popen[bytes]] | None" = field(
        default=None, repr=False
    )

    @property
    def log(self) -> Path:
        """The file with what the worker says."""
        return self.folder / f"{self.name}.log"

    @property
    def ready(self) -> Path:
        """The file that is there while the worker takes messages."""
        return self.folder / f"{self.name}.ready"

    @property
    def pid(self) -> int:
        """The main process."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start the worker; it may still have to load."""
        self.ready.unlink(missing_ok=True)
        command = [
            *(sys.executable, str(HERE / "worker.py"), "worker"),
            *("-n", f"{self.name}@faults", "-Q", self.queues, "-P", self.pool),
            *("-c", str(self.concurrency), "--without-gossip", "--without-mingle"),
            *("--loglevel", "INFO", *self.options),
        ]
        environment = {**self.environment, "ZOCELERY_READY_FILE": str(self.ready)}
        self._running = servers.running(command, self.log, environment)
        self.process = self._running.__enter__()
        self.wanted = True
        self.starts += 1

    def await_ready(self) -> None:
        """Wait until the worker takes messages."""
        servers.wait_for_file(self.ready, self.log, READY_SECONDS)

    def is_alive(self) -> bool:
        """Whether the main process is there."""
        return self.process is not None and self.process.poll() is None

    def children(self) -> list[int]:
        """Return the processes of the pool, by id."""
        return child_processes(self.pid)

    def kill(self, number: int = signal.SIGKILL, *, wanted: bool = True) -> None:
        """Send the main process a signal and let it be, or not be, started again."""
        self.wanted = wanted
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def stop(self) -> None:
        """End the worker and let it rest."""
        self.wanted = False
        if self._running is not None:
            self._running.__exit__(None, None, None)
            self._running = None


def child_processes(pid: int) -> list[int]:
    """Return the ids of the processes that `pid` has started and that still run."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


class Site:
    """Servers, workers and a client on this machine, and their state as of now."""

    def __init__(
        self, folder: Path, rabbitmq_options: str = "", **variables: str
    ) -> None:
        self.folder = folder
        self.redis = RedisServer(folder)
        self.rabbitmq = RabbitServer(folder, rabbitmq_options)
        self.history = folder / "history" / "history.sqlite"
        self.history.parent.mkdir()
        clean = {k: v for k, v in os.environ.items() if not k.startswith("ZOCELERY_")}
        self.environment = {
            **clean,
            "PYTHONPATH": os.pathsep.join(
                (str(FACILITY), os.environ.get("PYTHONPATH", ""))
            ),
            "ZOCELERY_REDIS_URL": self.redis.url,
            "ZOCELERY_BROKER_URL": self.rabbitmq.url,
            TIMEOUT: "2",
            BROKER_TIMEOUT: "3",
            "ZOCELERY_HISTORY_URL": f"sqlite:///{self.history}",
            "ZOCELERY_WORKERS_JANITOR_INTERVAL": "0.5",
            "ZOCELERY_WORKERS_WATCH_LEASE": "2",
            "ZOCELERY_WORKERS_TASK_LEASE": "3",
            "ZOCELERY_WORKERS_GATHER_LEASE": "3",
            "ZOCELERY_WRAPPERS_NICE": "0",  # the suite itself would come first
            **variables,
        }
        self.workers: dict[str, Worker] = {}
        self.deployment = Deployment(load_settings(variables=self.environment))
        self._client: subprocess.Popen[str] | None = None
        self._ended = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    def add_worker(
        self, name: str, queues: str, pool: str, concurrency: int, *options: str
    ) -> Worker:
        """Add a worker; it is not started yet."""
        worker = Worker(
            name, queues, pool, concurrency, self.folder, self.environment, options
        )
        self.workers[name] = worker
        return worker

    def start_servers(self) -> None:
        """Start the servers and what starts workers again."""
        self.rabbitmq.start()
        self.start_without_broker()

    def start_without_broker(self) -> None:
        """Start Redis and what starts workers again; the broker is another's."""
        self.redis.start()
        self._supervisor.start()

    def start_missing_servers(self) -> None:
        """Start what a case that broke off has left stopped."""
        for server in (self.rabbitmq, self.redis):
            if not server.is_running():
                server.start()

    def start_workers(self) -> None:
        """Start every worker that does not run and wait until all take messages."""
        for worker in self.workers.values():
            if not worker.is_alive():
                worker.start()
        for worker in self.workers.values():
            worker.await_ready()

    def submit(
        self,
        recipe: Mapping[str, Any],
        parameters: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Run:
        """Submit a run through the client and return its handle."""
        request = {"recipe": recipe, "parameters": parameters or {}, **options}
        answer = self.request(request)
        assert "run" in answer, answer
        return Run(answer["run"], self.deployment)

    def request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Let the client submit a run; return its id, or what was wrong."""
        client = self._open_client()
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(json.dumps(request) + "\n")
        client.stdin.flush()
        answer: dict[str, Any] = json.loads(client.stdout.readline())
        return answer

    def waiting_messages(self) -> int:
        """Return how many messages wait in the queues for work."""
        return messages_in(self.rabbitmq.url, QUEUE_NAMES)

    def logs(self) -> str:
        """Return the end of what each worker has said."""
        return "\n".join(
            f"--- {worker.name}\n{worker.log.read_text(errors='replace')[-6000:]}"
            for worker in self.workers.values()
            if worker.log.exists()
        )

    def says(self, text: str) -> Callable[[], bool]:
        """Return whether a worker has said `text`, from now on, as a condition."""
        logs = [worker.log for worker in self.workers.values()]
        sizes = {log: log.stat().st_size for log in logs if log.exists()}

        def _is_said() -> bool:
            return any(
                text.encode() in log.read_bytes()[size:] for log, size in sizes.items()
            )

        return _is_said

    def close(self) -> None:
        """End everything that was started."""
        self._ended.set()
        for worker in self.workers.values():
            worker.stop()
        if self._client is not None:
            self._client.communicate()
        self.deployment.close()
        self.rabbitmq.stop()
        self.redis.stop()

    def _open_client(self) -> "subprocess.Popen[str]":
        if self._client is None:
            self._client = subprocess.Popen(
                [sys.executable, str(HERE / "submitter.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=self.environment,
                preexec_fn=servers.die_with_parent,
            )
        return self._client

    def _supervise(self) -> None:
        """Start workers again that have died, as systemd would."""
        while not self._ended.wait(0.05):
            for worker in list(self.workers.values()):
                if (
                    worker.wanted
                    and worker.process
                    and worker.process.poll() is not None
                ):
                    worker.start()


@contextmanager
def running_site(
    folder: Path, rabbitmq_options: str = "", **variables: str
) -> Iterator[Site]:
    """Yield a site with its servers running and without workers."""
    site = Site(folder, rabbitmq_options, **variables)
    try:
        site.start_servers()
        yield site
    finally:
        site.close()
