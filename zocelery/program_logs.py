"""The logs of a run's programs: live ones from Redis, whole ones from their files."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zocelery.run import ENDED, Run
from zocelery.run_log import RunLog

LISTEN_SECONDS = 0.5
PIECE = 1 << 20
"""Characters."""


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Something that a program has printed."""

    node: str
    item: str
    text: str
    number: int | None = None
    """Which try of the node has printed it, from 1, if that is known."""


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


def read_logs(
    run: Run, client: Any, programs: Iterable[Mapping[str, Any]]
) -> Iterator[LogPiece]:
    """Yield the logs of a run as they are now, in pieces.

    They are read from the programs' files where this machine has them, else from what
    Redis has kept.

    Args:
        run: the run.
        client: a `redis.Redis` that decodes responses.
        programs: the rows of `History.run_programs`.
    """
    tries = {p["log"]: p for p in programs if p["log"]}
    if tries and all(Path(log).is_file() for log in tries):
        for log, program in tries.items():
            yield from _read_file(program, Path(log))
        return
    live, since = RunLog(client, run.id), "0"
    while more := list(live.read(since)):
        since = more[-1][0]
        for _, node, item, text in more:
            yield LogPiece(node, item, text)


def _read_file(program: Mapping[str, Any], file: Path) -> Iterator[LogPiece]:
    """Yield what stands in a log; it may be larger than memory is."""
    node, item, number = program["node"], program["item"], program["number"]
    try:
        with file.open(errors="replace") as stream:
            while text := stream.read(PIECE):
                yield LogPiece(node, item, text, number)
    except OSError as error:
        why = f"[{file} cannot be read: {error.strerror}]\n"
        yield LogPiece(node, item, why, number)
