"""The logs of a run's programs: live ones from Redis, whole ones from their files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zocelery.run import ENDED, Run
from zocelery.run_log import RunLog

LISTEN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Something that a program has printed."""

    node: str
    item: str
    text: str


def follow_log(run: Run, client: Any) -> Iterator[LogPiece]:
    """Yield what the programs of a run print, from the beginning to the run's end."""
    log, since = RunLog(client, run.id), "0"
    while True:
        ended = run.state in ENDED  # asked before the last look, so that none is missed
        found = list(log.read(since, LISTEN_SECONDS))
        for _, node, item, text in found:
            yield LogPiece(node, item, text)
        if found:
            since = found[-1][0]
        elif ended:
            return


def read_logs(run: Run, client: Any, programs: list[dict[str, Any]]) -> list[LogPiece]:
    """Return the logs of a run as they are now.

    They are read from the programs' files where this machine has them, else from what
    Redis has kept.

    Args:
        run: the run.
        client: a `redis.Redis` that decodes responses.
        programs: the rows of `History.run_programs`.
    """
    files = dict.fromkeys((p["node"], p["item"], p["log"]) for p in programs)
    found = [_read_file(node, item, Path(log)) for node, item, log in files if log]
    if found and all(piece is not None for piece in found):
        return [piece for piece in found if piece is not None]
    log, since = RunLog(client, run.id), "0"
    pieces: list[LogPiece] = []
    while more := list(log.read(since)):
        since = more[-1][0]
        pieces += [LogPiece(node, item, text) for _, node, item, text in more]
    return pieces


def _read_file(node: str, item: str, file: Path) -> LogPiece | None:
    try:
        return LogPiece(node, item, file.read_text(errors="replace"))
    except OSError:
        return None
