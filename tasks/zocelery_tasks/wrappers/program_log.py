"""What a program prints: followed while it runs, and its last lines when it fails."""

from collections.abc import Callable
from pathlib import Path

LONGEST_TAIL = 4000
MOST_READ = 1 << 20
"""Bytes that are read at once; the rest waits for the next look."""


class LogFollower:
    """Reads what is added to a log, in whole lines."""

    def __init__(self, file: Path) -> None:
        """Follow `file` from its present end; it need not be there yet."""
        self._file = file
        self._read = file.stat().st_size if file.exists() else 0
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
        text = self._rest + fresh
        whole, end, self._rest = text.rpartition(b"\n")
        if is_over:
            whole, end, self._rest = text, b"", b""
        return (whole + end).decode(errors="replace").splitlines()


def last_lines(file: Path, number: int = 5) -> list[str]:
    """Return the last lines of a log that have anything in them."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - LONGEST_TAIL))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line][-number:]


ProgressParser = Callable[[str], tuple[str, int, int | None] | None]
"""Takes a line; returns a message, what has been seen and what is expected."""
