"""A cluster of three RabbitMQ nodes on this machine, each of which may die."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from tests.faults.site import wait_until
from zocelery import servers

START_SECONDS = 120.0
POLICY = '{"ha-mode":"all","ha-sync-mode":"automatic"}'


class Node:
    """One node of the cluster."""

    def __init__(self, folder: Path, name: str, epmd_port: int, cookie: str) -> None:
        self.name, self._folder = f"{name}@localhost", folder
        self._port, self._distribution = servers.free_port(), servers.free_port()
        self._epmd_port, self._cookie = epmd_port, cookie
        self._running: AbstractContextManager[subprocess.Popen[bytes]] | None = None
        self.url = f"amqp://guest:guest@{servers.LOOPBACK}:{self._port}//"

    def start(self, peers: "list[Node]") -> None:
        """Start the node; it joins those of `peers` that run."""
        program = servers.find_rabbitmq()
        assert program is not None
        self._folder.mkdir(exist_ok=True)
        names = "".join(
            f"cluster_formation.classic_config.nodes.{n} = {peer.name}\n"
            for n, peer in enumerate(peers, start=1)
        )
        (self._folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {servers.LOOPBACK}:{self._port}\n"
            "log.file = false\nlog.console = true\nlog.console.level = warning\n"
            "cluster_formation.peer_discovery_backend = classic_config\n"
            "cluster_partition_handling = ignore\n"
            f"{names}"
        )
        (self._folder / "enabled_plugins").write_text("[].\n")
        log = self._folder / "rabbitmq.log"
        running = servers.running([str(program)], log, self.environment())
        self._running = running
        process = running.__enter__()
        give_up = time.monotonic() + START_SECONDS
        while not self._answers():
            assert process.poll() is None, log.read_text()[-800:]
            assert time.monotonic() < give_up, log.read_text()[-800:]
            time.sleep(0.05)

    def kill(self) -> None:
        """End the node as a crash would."""
        os.kill(int((self._folder / "rabbitmq.pid").read_text()), signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """End the node."""
        if self._running is not None:
            self._running.__exit__(None, None, None)
            self._running = None

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` on the node and return what it says."""
        program = servers.find_rabbitmq()
        assert program is not None
        tool = program.with_name("rabbitmqctl")
        done = subprocess.run(
            [
                str(tool),
                "--node",
                self.name,
                "--erlang-cookie",
                self._cookie,
                *arguments,
            ],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Return what the node's programs are told."""
        return {
            **os.environ,
            "HOME": str(self._folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": servers.LOOPBACK,
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._folder),
            "RABBITMQ_PID_FILE": str(self._folder / "rabbitmq.pid"),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "no-such-file"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none "
                "-kernel inet_dist_use_interface {127,0,0,1} "
                f"-setcookie {self._cookie}"
            ),
        }

    def _answers(self) -> bool:
        try:
            address = (servers.LOOPBACK, self._port)
            with socket.create_connection(address, timeout=2) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(1))
        except OSError:
            return False


@contextmanager
def three_nodes(folder: Path) -> Iterator[list[Node]]:
    """Run three nodes that mirror every queue on each other."""
    epmd, port = shutil.which("epmd"), servers.free_port()
    assert epmd is not None
    with ExitStack() as stack:
        command = [epmd, "-port", str(port), "-address", servers.LOOPBACK]
        stack.enter_context(servers.running(command, folder / "epmd.log"))
        nodes = [
            Node(folder / f"node{n}", f"zocelery{n}x{port}", port, f"cookie{port}")
            for n in (1, 2, 3)
        ]
        for node in nodes:
            stack.callback(node.stop)
            node.start(nodes)
        wait_until(
            lambda: all(n.name in nodes[0].control("cluster_status") for n in nodes)
        )
        nodes[0].control("set_policy", "mirrored", ".*", POLICY, "--apply-to", "queues")
        yield nodes
