"""The parent of an external program: a small process that outlives neither side.

Run as a script, with nothing but the standard library, between a worker and a program:

    worker --stdin--> supervisor --> program --> whatever the program starts

Stdin begins with a JSON object of as many bytes as the only argument says; it tells
what to start. A line `stop SECONDS` after it asks for the end, and so does the end of
stdin, which comes when the worker is killed.
The supervisor is the reaper of all that the program starts, in whatever session or
process group: whoever loses its parent becomes its child, is found and is ended. What
became of the program goes to stdout as one JSON object.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
AUTOGROUP = Path("/proc/self/autogroup")
LEFT_OVER_SECONDS = 1.0
"""What a program leaves running when it ends is asked to end, and has this long."""
DEFAULT_GRACE = 2.0
LOOK_SECONDS = 0.02
KILL_SECONDS = 5.0
"""Killing goes on for so long: something may go on forking meanwhile."""


class Supervisor:
    """Starts one program, waits for it, and ends all that is left of it."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        """Take what the worker has sent: arguments, folder, environment, log."""
        self._order = order
        self._started = time.monotonic()
        self._program = 0
        self._status: int | None = None
        self._cpu = 0.0
        self._memory = 0
        self._is_interrupted = False

    def run(self) -> dict[str, Any]:
        """Run the program to its end, or until it is asked to stop."""
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._interrupt)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._program = self._start()
        except (OSError, ValueError) as error:
            return {"error": f"{getattr(error, 'strerror', None) or error}"}
        grace = self._wait(wake)
        self._end_all(LEFT_OVER_SECONDS if grace is None else grace)
        return self._report(stopped=grace is not None)

    def _interrupt(self, *_: object) -> None:
        self._is_interrupted = True

    def _start(self) -> int:
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

        def _tie_to_parent() -> None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            _be_nice(int(self._order.get("nice", 0)))

        log = os.open(
            self._order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        )
        process = subprocess.Popen(
            self._order["arguments"],
            executable=self._order.get("executable"),
            cwd=self._order["folder"],
            env=self._order["environment"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_tie_to_parent,
        )
        process.returncode = 0  # it is waited for here, not by subprocess
        os.close(log)
        return process.pid

    def _wait(self, wake: int) -> float | None:
        """Wait for the program; return the seconds of grace if it shall stop."""
        while self._status is None:
            ready, _, _ = select.select([0, wake], [], [])
            if wake in ready:
                os.read(wake, 4096)
                self._reap()
            if self._is_interrupted:
                return DEFAULT_GRACE
            if 0 in ready and self._status is None:
                words = os.read(0, 4096).decode(errors="replace").split()
                return float(words[1]) if len(words) == 2 else DEFAULT_GRACE
        return None

    def _reap(self) -> None:
        """Take note of every child that has ended."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._cpu += usage.ru_utime + usage.ru_stime
            self._memory = max(self._memory, usage.ru_maxrss * 1024)
            if pid == self._program:
                self._status = status

    def _end_all(self, grace: float) -> None:
        """End all processes that descend from this one: politely, then for certain."""
        give_up = time.monotonic() + grace
        asked: set[int] = set()
        while time.monotonic() < give_up + KILL_SECONDS:
            self._reap()
            left = list(descendants(os.getpid()))
            if not left:
                self._reap()  # it may have ended while the others were looked at
                return
            late = time.monotonic() >= give_up
            for pid in left:
                if late or pid not in asked:
                    _send(pid, signal.SIGKILL if late else signal.SIGTERM)
            asked.update(left)
            time.sleep(LOOK_SECONDS)

    def _report(self, *, stopped: bool) -> dict[str, Any]:
        code = os.waitstatus_to_exitcode(self._status or 0)
        return {
            "exit_code": None if code < 0 or self._status is None else code,
            "signal": -code if code < 0 else None,
            "stopped": stopped,
            "seconds": time.monotonic() - self._started,
            "cpu_seconds": self._cpu,
            "peak_memory_bytes": self._memory,
        }


def descendants(root: int) -> Iterator[int]:
    """Yield the processes that descend from `root` and are no zombies."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            parent, is_zombie = _parent(folder)
            if parent and not is_zombie:
                children.setdefault(parent, []).append(int(folder.name))
    waiting = list(children.get(root, ()))
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting.extend(children.get(pid, ()))


def _parent(folder: Path) -> tuple[int, bool]:
    try:
        text = (folder / "stat").read_text(errors="replace")
    except OSError:  # it has just ended
        return 0, True
    state, parent = text[text.rindex(")") + 2 :].split()[:2]
    return int(parent), state in "ZX"


def _be_nice(increment: int) -> None:
    """Let others come first, at processors and so at disks, whose queues follow it.

    Where the kernel makes a group of each session (autogroups), what counts between
    sessions is how nice the group is.
    """
    if increment:
        os.nice(increment)
        with contextlib.suppress(OSError):
            AUTOGROUP.write_text(str(increment))


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def main() -> None:
    """Read the order, run the program, tell what became of it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    missing = int(sys.argv[1])
    order = b""
    while missing > 0:
        piece = os.read(0, missing)
        if not piece:
            return  # the worker has gone before it began
        order += piece
        missing -= len(piece)
    report = Supervisor(json.loads(order)).run()
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
