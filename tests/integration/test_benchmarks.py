"""Each benchmark at a tiny size: what it prints, not how fast anything is."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import COMMANDS, main
from benchmarks.dials import open_dials
from benchmarks.report import Report
from benchmarks.rounds import Spread, interleave

pytestmark = pytest.mark.timeout(400)  # where the kernels have to be compiled first

REPOSITORY = Path(__file__).parents[2]
ALGORITHMS = {"dispersion", "dispersion_extended"}


def run(*arguments: str) -> list[dict[str, Any]]:
    """What a benchmark prints with --json, without the line about the machine."""
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments, "--json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    head, *tables = map(json.loads, finished.stdout.splitlines())
    assert head["benchmark"] == arguments[0]
    assert {"command", "date", "machine", "load before", "versions"} < set(head)
    return tables


def rows(*arguments: str) -> list[dict[str, Any]]:
    """The rows of a benchmark that prints one table."""
    (table,) = run(*arguments)
    return list(table["rows"])


def test_spots_are_found_beside_dials_where_that_is_installed():
    tables = run(
        *("spotfinding", "--detector", "test_128k", "--backgrounds", "1,1500"),
        *("--overdispersed", "0.5", "--rounds", "2"),
    )
    kernel, spots, decode, whole, *_ = (table["rows"] for table in tables)
    assert {row["ours"] for row in kernel} == ALGORITHMS
    assert len({row["mean count"] for row in kernel}) == 4
    assert len(spots) == 4
    assert {"h5py dataset[i]", "h5py read_direct"} <= {row["peer"] for row in decode}
    assert {row["ours"] for row in whole} == ALGORITHMS
    assert all(row["ms"] > 0 for row in kernel + spots + decode + whole)
    compared = kernel + spots + whole
    with open_dials() as dials:
        answers = {row["same answer"] for row in compared}
        assert answers == ({None} if dials is None else {True})


def test_without_dials_ones_own_images_are_measured_without_ratios_to_it(tmp_path):
    simulate = ["zocelery", "simulate", "rotation", str(tmp_path), "--images", "2"]
    options = ["--detector", "test_128k", "--format", "cbf", "--stem", "own_1"]
    subprocess.run([sys.executable, "-m", *simulate, *options], check=True)
    tables = run(
        *("spotfinding", "--rounds", "1", "--dials-python", sys.executable),
        *("--images", f"{tmp_path / 'own_1_00002.cbf'}"),
    )
    kernel = tables[0]["rows"]
    assert {row["ours"] for row in kernel} == ALGORITHMS
    assert {row["image"] for row in kernel} == {"own_1_00002.cbf 1"}
    assert {row["peer"] for row in kernel} == {None}
    assert all(row["times memcpy"]["median"] > 0 for row in kernel)


def test_throughput_tells_the_analysis_from_the_rest():
    first, *faster = run(
        *("throughput", "--detector", "test_128k", "--images", "12", "--runs", "1"),
        *("--algorithm", "dispersion"),
    )
    row = first["rows"][0]
    assert (row.pop("algorithm"), row.pop("processes")) == ("dispersion", 1)
    assert [table["rows"][0]["ratio"]["median"] > 0 for table in faster] == [True] * 2
    cost = {key: value["median"] for key, value in row.items()}
    assert cost["images/s"] > 0
    assert cost["analysis"] > 0
    total = cost["analysis"] + cost["overhead"]
    assert cost["all workers"] == pytest.approx(total)


def test_memory_is_told_after_the_first_the_middle_and_the_last_run():
    found = rows("memory", "--detector", "test_128k", "--images", "2", "--runs", "3")
    assert [row["images"] for row in found] == [2, 4, 6] * 2
    assert {row["threshold"] for row in found} == ALGORITHMS
    assert all(0 < row["private"] <= row["resident"] <= row["peak"] for row in found)


def test_images_are_analysed_beside_programs_and_without_them():
    found = rows("wrappers", "--detector", "test_128k", "--images", "4", "--runs", "1")
    assert [row["program"] for row in found] == ["talks", "computes"]
    assert all(row["ratio"]["median"] > 0 for row in found)


def test_a_live_scan_is_followed_to_its_centre():
    (row,) = rows(
        *("live", "--grid", "4x3", "--detector", "test_128k", "--frame-rate", "20"),
        *("--processes", "1", "--scans", "1"),
    )
    assert row["images"] == 12
    assert row["missing"] == 0
    assert 0 < row["seen -> result p50"] <= row["p99"] <= row["most"]
    assert row["written -> seen"] <= row["written -> centre"] <= row["-> client"]


def test_fan_outs_of_every_size_are_gathered():
    found = rows("fanout", "--size", "5", "--size", "10")
    assert [row["members"] for row in found] == [5, 10]
    assert all(row["seconds"] > 0 and row["worker"] > 0 for row in found)


def test_a_message_is_weighed_for_each_length_of_path():
    found = rows("message", "--length", "70", "--length", "180")
    assert [row["path"] for row in found] == [70, 70, 180, 180]
    assert all(row["body"] + row["headers"] == row["sum"] for row in found)
    assert all(0 < row["sum"] < 1500 for row in found)


def test_fuzz_agrees_with_dials_and_notices_what_is_planted():
    with open_dials() as dials:
        if dials is None:
            pytest.skip("DIALS is not installed")
    (right,) = rows("fuzz", "--cases", "30", "--largest", "80")
    assert right["cases"] == right["dispersion"] + right["dispersion_extended"] == 30
    assert right["strong pixels"] > right["spots"] > 0
    assert right["mismatches"] == 0
    (wrong,) = rows(
        "fuzz", "--cases", "30", "--largest", "80", "--plant", "sigma_strong"
    )
    assert wrong["mismatches"] > 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_benchmark_explains_itself(name):
    shown = CliRunner().invoke(main, [name, "--help"])
    assert shown.exit_code == 0
    assert "--help" in shown.output


def test_a_section_of_the_page_is_replaced_and_others_stay(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    for name in ("message", "memory", "message"):
        monkeypatch.setattr(
            "benchmarks.page._measure", lambda name: f"## {name}\n\nnew\n"
        )
        assert CliRunner().invoke(main, ["page", name, "-o", str(page)]).exit_code == 0
        text = page.read_text()
        assert text.count(f"## {name}\n\nnew\n") == 1
        page.write_text(text.replace("new", "old"))
    sections = page.read_text().split("\n## ")[1:]
    assert sections == ["memory\n\nold\n", "message\n\nold\n"]


def test_contenders_take_turns_and_a_ratio_is_that_of_a_round():
    turns = []

    def contender(name, *seconds):
        taken = iter(seconds)

        def contend():
            turns.append(name)
            return next(taken)

        return contend

    contenders = {"a": contender("a", 9, 1, 2, 4), "b": contender("b", 9, 3, 8, 8)}
    measured = interleave(contenders, rounds=3)
    rounds = [sorted(turns[k : k + 2]) for k in range(0, 8, 2)]
    assert rounds == [["a", "b"]] * 4
    assert measured.ratio("a", "b") == Spread(3.0, 2.5, 3.5)  # of 3, 4 and 2
    assert measured.milliseconds("a").median == 2000


def test_a_table_is_markdown(capsys):
    report = Report("name", "about", as_json=False)
    report.table("times", [{"what": "x", "ms": 12.345, "ratio": Spread(2, 1, 300)}])
    *_, header, rule, row = capsys.readouterr().out.splitlines()
    assert header == "| what | ms   | ratio           |"
    assert set(rule) == {"|", "-"}
    assert row == "| x    | 12.3 | 2.00 (1.00–300) |"
