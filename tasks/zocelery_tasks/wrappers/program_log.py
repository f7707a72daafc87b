"""What a program prints: followed while it runs, and its last lines when it fails."""

import re
from collections.abc import Callable
from pathlib import Path

_COMPLAINT = re.compile(r"(Sorry|Error|ERROR|Fatal|FATAL|\w+Error)\b ?:")
"""DIALS's and xia2's way to begin such a line, and others'."""
LONGEST_TAIL = 4000
MOST_READ = 1 << 20
"""Bytes that are read at once; the rest waits for the next look."""


class LogFollower:
    """Reads what is added to a log, in whole lines."""

    def __init__(self, file: Path, mark: Path | None = None) -> None:
        """Follow `file` from its present end; it need not be there yet.

        Args:
            file: the log.
            mark: a file that holds how far it has been read, by whichever process: from
                there it is followed.
        """
        self._file = file
        self._mark = mark
        self._read = file.stat().st_size if file.exists() else 0
        if mark is not None:
            self._read = int(mark.read_text()) if mark.exists() else 0
        self._rest = b""

    def lines(self, *, is_over: bool = False) -> list[str]:
        """Return the lines since the last time; with `is_over` the last, unended one.

        A carriage return ends a line too: programs draw progress with it.
        """
        try:
            with self._file.open("rb") as stream:
                stream.seek(self._read)
                fresh = stream.read() if is_over else stream.read(MOST_READ)
        except FileNotFoundError:
            return []
        self._read += len(fresh)
        if fresh and self._mark is not None:
            self._mark.write_text(str(self._read))
        text = self._rest + fresh
        whole, end, self._rest = text.rpartition(b"\n")
        if is_over:
            whole, end, self._rest = text, b"", b""
        return (whole + end).decode(errors="replace").splitlines()


def last_lines(file: Path, number: int = 8) -> list[str]:
    """Return the last lines of a log that have anything in them.

    Where a program has said what is wrong before them, that line stands first.
    """
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - LONGEST_TAIL))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    before, last = lines[:-number], lines[-number:]
    told = [line for line in before if _COMPLAINT.match(line)]
    if told and not any(map(_COMPLAINT.match, last)):
        return [told[-1], *last]
    return last


ProgressParser = Callable[[str], tuple[str, int, int | None] | None]
"""Takes a line; returns a message, what has been seen and what is expected."""
