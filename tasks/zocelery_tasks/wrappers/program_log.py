"""What a program prints: followed while it runs, and its last lines when it fails."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_COMPLAINT = re.compile(r"(Sorry|Error|ERROR|Fatal|FATAL|\w+Error)\b ?:")
"""DIALS's and xia2's way to begin such a line, and others'."""
LONGEST_TAIL = 4000
MOST_READ = 1 << 20
"""Bytes that are read at once; the rest waits for the next look."""
MOST_BEHIND = 8 << 20
"""Bytes: of a log that grows faster than it is shown only the newest part is shown."""
LONGEST_LINE = 1 << 16
"""Bytes, beyond which a line is shown in pieces."""


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
                left_out = self._catch_up(stream)
                fresh = stream.read(MOST_BEHIND if is_over else MOST_READ)
        except FileNotFoundError:
            return []
        self._read += len(fresh)
        if fresh and self._mark is not None:
            self._mark.write_text(str(self._read))
        text = self._rest + fresh
        end = len(text) if is_over else _end_of_lines(text)
        self._rest = text[end:]
        return left_out + text[:end].decode(errors="replace").splitlines()

    def _catch_up(self, stream: BinaryIO) -> list[str]:
        """Go to where reading goes on; return a line that says what is left out."""
        size = stream.seek(0, os.SEEK_END)
        behind = size - self._read
        if behind > MOST_BEHIND:
            self._read, self._rest = size - MOST_READ, b""
        stream.seek(self._read)
        left_out = behind - MOST_READ if behind > MOST_BEHIND else 0
        return [f"[{left_out} bytes are only in {self._file}]"] if left_out else []


def _end_of_lines(text: bytes) -> int:
    """Return where the last whole line ends: at a line feed or carriage return.

    A carriage return at the very end may belong to a line feed that is still to come.
    """
    end = max(text.rfind(b"\n"), text.rfind(b"\r", 0, -1)) + 1
    return len(text) if len(text) - end > LONGEST_LINE else end


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
