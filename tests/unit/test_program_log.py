"""What a program prints, as it is followed: lines, progress, floods."""

import tracemalloc
from pathlib import Path

from zocelery_tasks.wrappers.program_log import (
    LONGEST_LINE,
    MOST_BEHIND,
    MOST_READ,
    LogFollower,
    last_lines,
)


def add(file: Path, text: bytes) -> None:
    with file.open("ab") as stream:
        stream.write(text)


def test_lines_are_told_as_soon_as_they_are_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    follower = LogFollower(log)
    assert follower.lines() == []
    add(log, b"one\ntw")
    assert follower.lines() == ["one"]
    add(log, b"o\nthree")
    assert follower.lines() == ["two"]
    assert follower.lines(is_over=True) == ["three"]


def test_progress_that_is_drawn_with_carriage_returns_is_told_meanwhile(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    follower = LogFollower(log)
    add(log, b"10 %\r20 %\r30")
    assert follower.lines() == ["10 %", "20 %"]
    add(log, b" %\r")
    assert follower.lines() == []  # a line feed may follow
    add(log, b"\nnext\r\n")
    assert follower.lines() == ["30 %", "next"]


def test_a_line_that_does_not_end_is_told_in_pieces(tmp_path: Path) -> None:
    log = tmp_path / "log"
    follower = LogFollower(log)
    add(log, b"x" * (LONGEST_LINE + 1))
    (piece,) = follower.lines()
    assert len(piece) == LONGEST_LINE + 1
    add(log, b"y\n")
    assert follower.lines() == ["y"]


def test_of_a_flood_the_newest_part_is_told_in_little_memory(tmp_path: Path) -> None:
    log = tmp_path / "log"
    follower = LogFollower(log)
    with log.open("wb") as stream:
        stream.truncate(1 << 30)  # a gigabyte, of which the disk holds nothing
    add(log, b"\nthe last line\n")
    tracemalloc.start()
    told = follower.lines(is_over=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told[0] == f"[{(1 << 30) + 15 - MOST_READ} bytes are only in {log}]"
    assert told[-1] == "the last line"
    assert peak < 4 * MOST_BEHIND
    assert last_lines(log)[-1] == "the last line"


def test_who_is_a_little_behind_is_told_everything(tmp_path: Path) -> None:
    log = tmp_path / "log"
    follower = LogFollower(log)
    add(log, b"a line\n" * (MOST_BEHIND // 7))
    told = follower.lines()
    while more := follower.lines():
        told += more
    assert told == ["a line"] * (MOST_BEHIND // 7)
