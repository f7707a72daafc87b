"""The watcher's end of a file probe: asks, and gives up on a look that hangs."""

import json
import logging
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

logger = logging.getLogger(__name__)

LOOK_LIMIT_S = 30.0
"""A look that takes longer is given up and its process killed."""

# The probe is started without the package's own __init__, which defines every task and
# loads what they need: a probe is small and there within a blink.
_PROGRAM = """
import sys, types
package = types.ModuleType("zocelery_tasks")
package.__path__ = [sys.argv[1]]
sys.modules["zocelery_tasks"] = package
from zocelery_tasks.file_probe import main
main()
"""


class ProbeClient:
    """A file probe in a process of its own, started again whenever it is lost.

    To be used, and closed, by the thread that asks first: the process is killed when
    that thread ends.
    """

    def __init__(self, limit_s: float = LOOK_LIMIT_S) -> None:
        """Allow each look `limit_s` seconds; start nothing yet."""
        self.hangs = 0
        """How many looks were given up."""
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._stuck: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the client."""
        self.close()

    @property
    def pid(self) -> int | None:
        """The probe's process, None while there is none."""
        return None if self._process is None else self._process.pid

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the probe's answer to a question, in the form of `file_probe`.

        A look that hangs, a probe that dies or cannot be started make an answer, too:
        nothing is there, and `why` says what went wrong.
        """
        if self._stuck is not None and self._stuck.poll() is None:
            return {"present": [], "why": "file access hangs; waiting for it to end"}
        self._stuck = None
        try:
            process = self._process or self._start()
            self._send(process, json.dumps(question).encode() + b"\n")
            return dict(json.loads(self._receive(process)))
        except TimeoutError:
            return {"present": [], "why": self._give_up()}
        except (OSError, ValueError) as error:
            self._abandon()
            logger.warning("The file probe was lost (%s) and is started again.", error)
            return {"present": [], "why": f"file probe lost: {error}"}

    def close(self) -> None:
        """End the probe."""
        self._abandon()

    def _start(self) -> subprocess.Popen[bytes]:
        folder = Path(__file__).parent
        self._unread = b""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        return self._process

    def _send(self, process: subprocess.Popen[bytes], data: bytes) -> None:
        assert process.stdin is not None
        deadline = time.monotonic() + self._limit_s
        while data:
            _wait(process.stdin.fileno(), select.POLLOUT, deadline)
            data = data[os.write(process.stdin.fileno(), data) :]

    def _receive(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        deadline = time.monotonic() + self._limit_s
        while b"\n" not in self._unread:
            _wait(process.stdout.fileno(), select.POLLIN, deadline)
            received = os.read(process.stdout.fileno(), 1 << 16)
            if not received:
                raise BrokenPipeError("it has ended")
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _give_up(self) -> str:
        self.hangs += 1
        logger.warning(
            "A look at files took longer than %g s and was given up (%d so far); "
            "the watch goes on.",
            self._limit_s,
            self.hangs,
        )
        self._abandon()
        return f"a look took longer than {self._limit_s:g} s"

    def _abandon(self) -> None:
        """Kill the probe. One that is stuck in the kernel dies when that lets it go."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.kill()
        try:
            process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self._stuck = process


def _wait(descriptor: int, event: int, deadline: float) -> None:
    """Wait until a pipe can be read or written.

    Raises:
        TimeoutError: if it cannot until `deadline`.
    """
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        raise TimeoutError
