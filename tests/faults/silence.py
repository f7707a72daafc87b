"""Something between a client and its server that falls silent, like a dead network."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from zocelery import servers


class Proxy:
    """Passes on what comes, until it is told to be silent; who comes later is served.

    Silent connections stay open: nobody is told anything.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((servers.LOOPBACK, servers.free_port()))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._silent: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    def silence(self) -> None:
        """Pass nothing more on, in no direction, between those that are connected."""
        with self._lock:
            self._silent |= {end for pair in self._pairs for end in pair}

    def close(self) -> None:
        """End all connections, silent ones as well."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End the connections that there are, and let others come."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for end in (end for pair in pairs for end in pair):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((servers.LOOPBACK, self._target))
                with self._lock:
                    self._pairs.append((client, server))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if source not in self._silent:
                    target.sendall(data)
            if source not in self._silent:
                target.shutdown(socket.SHUT_WR)


@contextmanager
def a_proxy(port: int) -> Iterator[Proxy]:
    """Stand in front of a server on this machine as long as the context lasts."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
