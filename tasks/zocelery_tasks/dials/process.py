"""The child process that opens images with DIALS, and what is said to it."""

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hdf5plugin

from zocelery.errors import ImageError

PYTHONS = ("dials.python", "/usr/bin/python3")
"""Of conda's package, which is on PATH where it is active, and of Debian's."""
HOW_TO_INSTALL = (
    "the DIALS backend needs DIALS: install Debian's package (apt-get install dials) "
    "or conda's (conda install -c conda-forge dials), and have its dials.python on PATH"
)
TIMEOUT_S = 50.0
"""How long one image may take; the first one of a process takes DIALS's start too."""

_CHILD = Path(__file__).parent / "child" / "read_images.py"
_NOT_PASSED_ON = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
"""Of this process's Python: DIALS has one of its own."""
_PIPE = 1 << 20
"""Bytes; the system's own 64 kB make three times the number of turns."""
_DIGITS = 12
_LAST_WORDS = 2000


class DialsMissingError(ImageError):
    """DIALS is not installed where it can be found."""


class DialsProcess:
    """A child process, started by the first request and ended with this object.

    One that hangs, dies or answers nonsense is ended; the next request starts another.
    Not for use by two threads at once.
    """

    def __init__(
        self,
        pythons: tuple[str, ...] = PYTHONS,
        timeout: float = TIMEOUT_S,
        child: Path = _CHILD,
    ) -> None:
        """Take commands of DIALS's Python, the first that is there counts."""
        self._pythons = pythons
        self._timeout = timeout
        self._script = child
        self._running: _Child | None = None

    def ask(
        self, request: Mapping[str, Any], room: Callable[[Any], list[memoryview]]
    ) -> dict[str, Any]:
        """Send a request and return the answer.

        Args:
            request: what `child/read_images.py` understands.
            room: where the bytes that follow the answer go, by the answer.

        Raises:
            DialsMissingError: if DIALS is not there.
            ImageError: if the child cannot do as asked, dies or takes too long.
        """
        deadline = time.monotonic() + self._timeout
        try:
            child = self._started()
            child.say(request)
            said = child.hear(deadline)
            if "error" not in said:
                for view in room(said):
                    child.fill(view, deadline)
        except BaseException:
            self.close()
            raise
        if said.get("missing"):
            self.close()
            raise DialsMissingError(f"{HOW_TO_INSTALL} ({said['error']})")
        if "error" in said:
            raise ImageError(f"DIALS: {said['error']}")
        return said

    def close(self) -> None:
        """End the child, whatever it does."""
        child, self._running = self._running, None
        if child is not None:
            child.end()

    def __del__(self) -> None:
        self.close()

    def _started(self) -> "_Child":
        child = self._running
        if child is not None and child.is_alive():
            return child
        self.close()
        python = next(filter(None, map(shutil.which, self._pythons)), None)
        if python is None:
            raise DialsMissingError(HOW_TO_INSTALL)
        self._running = _Child([python, str(self._script)], self._timeout)
        return self._running


class _Child:
    """A running child; pipes to and from it, and a file for what it complains of."""

    def __init__(self, command: list[str], timeout: float) -> None:
        kept = {k: v for k, v in os.environ.items() if k not in _NOT_PASSED_ON}
        self._timeout = timeout
        self._owner = os.getpid()
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (until its end)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            bufsize=0,
            pipesize=_PIPE,
            env={**kept, "HDF5_PLUGIN_PATH": str(hdf5plugin.PLUGIN_PATH)},
        )

    def is_alive(self) -> bool:
        """Whether it runs and is this process's own, not its parent's."""
        return self._owner == os.getpid() and self._process.poll() is None

    def end(self) -> None:
        """Kill the child, if it is this process's own, and close its pipes."""
        if self._owner == os.getpid():
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._complaints):
            if pipe is not None:
                pipe.close()
        self._process.wait()

    def say(self, request: Mapping[str, Any]) -> None:
        """Send one request; what the child complained of before is forgotten."""
        self._complaints.seek(0)
        self._complaints.truncate()
        line = json.dumps({**request, "timeout": self._timeout}).encode() + b"\n"
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
        except BrokenPipeError:
            raise self._death() from None

    def hear(self, deadline: float) -> dict[str, Any]:
        """Return what the child answers."""
        size = bytearray(_DIGITS)
        self.fill(memoryview(size), deadline)
        try:
            line = bytearray(int(size))
            self.fill(memoryview(line), deadline)
            return dict(json.loads(line))
        except ValueError:
            raise ImageError(f"DIALS's process answers {bytes(size)!r}") from None

    def fill(self, view: memoryview, deadline: float) -> None:
        """Read until `view` is full.

        Raises:
            ImageError: if the child dies, or the time is over.
        """
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        at = 0
        while at < len(view):
            left = max(deadline - time.monotonic(), 0)
            if not poll.poll(1000 * left):
                raise ImageError(f"DIALS has not answered within {self._timeout:g} s")
            count = os.readv(pipe, [view[at:]])
            if not count:
                raise self._death()
            at += count

    def _death(self) -> ImageError:
        self._process.kill()
        code = self._process.wait()
        self._complaints.seek(0, os.SEEK_END)
        self._complaints.seek(max(self._complaints.tell() - _LAST_WORDS, 0))
        words = self._complaints.read().decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(words) if line.strip()), "")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return ImageError(f"DIALS's process has died ({how}){last and ': '}{last}")
