"""Tries never share a folder, and results of two tries never mix."""

from pathlib import Path

import pytest

from zocelery.errors import ParameterError
from zocelery_tasks.wrappers.folders import (
    MARK,
    allowed_folder,
    make_working_folder,
    publish_results,
    safe_name,
)

OWNER = {"run": "r", "node": "n", "unit": "u"}


def write(folder: Path, name: str, text: str) -> tuple[Path, str]:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file, name


def contents(folder: Path) -> dict[str, str]:
    return {
        str(f.relative_to(folder)): f.read_text()
        for f in folder.rglob("*")
        if f.is_file() and f.name != MARK
    }


def test_every_try_has_a_working_folder_of_its_own(tmp_path: Path) -> None:
    names = [make_working_folder(tmp_path / "w", "xia2").name for _ in range(3)]
    assert names == ["xia2", "xia2.2", "xia2.3"]


def test_results_of_the_same_unit_are_replaced_not_mixed(tmp_path: Path) -> None:
    base = tmp_path / "results"
    first = [
        write(tmp_path / "1", "DataFiles/a.mtz", "1"),
        write(tmp_path / "1", "x", ""),
    ]
    publish_results(first, base, "xia2", OWNER)
    second = [write(tmp_path / "2", "DataFiles/b.mtz", "2")]
    folder = publish_results(second, base, "xia2", OWNER)
    assert contents(folder) == {"DataFiles/b.mtz": "2"}
    assert [p.name for p in base.iterdir()] == ["xia2"]


def test_results_of_another_run_are_kept_beside(tmp_path: Path) -> None:
    base = tmp_path / "results"
    publish_results([write(tmp_path / "1", "a", "1")], base, "xia2", OWNER)
    other = {**OWNER, "unit": "v"}
    publish_results([write(tmp_path / "2", "a", "2")], base, "xia2", other)
    assert contents(base) == {"xia2/a": "2", "xia2.1/a": "1"}


def test_results_that_nobody_has_marked_are_never_deleted(tmp_path: Path) -> None:
    write(tmp_path / "results/xia2", "precious", "p")
    base = tmp_path / "results"
    publish_results([write(tmp_path / "2", "a", "2")], base, "xia2", OWNER)
    assert contents(base) == {"xia2/a": "2", "xia2.1/precious": "p"}


def test_a_failed_copy_leaves_what_was_there(tmp_path: Path) -> None:
    base = tmp_path / "results"
    publish_results([write(tmp_path / "1", "a", "1")], base, "xia2", OWNER)
    with pytest.raises(ParameterError, match="No such file"):
        publish_results([(tmp_path / "gone", "a")], base, "xia2", OWNER)
    assert contents(base) == {"xia2/a": "1"}
    assert [p.name for p in base.iterdir()] == ["xia2"]


def test_folders_outside_of_the_roots_are_refused_by_name(tmp_path: Path) -> None:
    root = tmp_path / "visits"
    root.mkdir()
    (root / "link").symlink_to("/etc")
    roots = [root]
    assert allowed_folder(root / "a/../b", "k", roots) == root / "b"
    for bad in ("/etc", root / "../x", root / "link/x", f"{root}2"):
        with pytest.raises(ParameterError, match=r"working_directory: .* is not below"):
            allowed_folder(bad, "working_directory", roots)


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "x\n"])
def test_names_of_folders_are_names(name: str) -> None:
    safe = safe_name(name)
    assert "/" not in safe
    assert safe not in ("", ".", "..")
    assert safe_name("node-1.a") == "node-1.a"
