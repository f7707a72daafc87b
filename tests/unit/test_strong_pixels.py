"""Strong pixels of an image outlive its analysis, for DIALS to make spots of."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.benches import run_wrapper, settings
from tests.unit.test_per_image_analysis import analyse, small_image
from zocelery.errors import ParameterError, PermanentError, TemporaryError
from zocelery.messages import Member, Step
from zocelery_tasks import doorways
from zocelery_tasks.simulation.scans import simulate_rotation
from zocelery_tasks.strong_pixels import strong_pixels_file, write_strong_pixels
from zocelery_tasks.wrappers.strong_spots import Gathered, join_command


def read(file: Path | str) -> dict[str, Any]:
    with np.load(file, allow_pickle=False) as columns:
        return {name: columns[name].tolist() for name in columns}


def test_each_strong_pixel_is_kept_with_its_place_and_counts(tmp_path: Path) -> None:
    image = small_image()
    file = tmp_path / "new" / "1.npz"
    write_strong_pixels(file, analyse(image).strong)
    kept = read(file)
    assert kept["shape"] == [[120, 160]]
    assert set(kept["panel"]) == {0}
    assert kept["value"] == image.pixels.reshape(-1)[kept["index"]].tolist()
    assert len(kept["index"]) == 4 * 9
    assert kept["index"] == sorted(kept["index"])


def test_the_pixels_of_several_panels_are_told_apart(tmp_path: Path) -> None:
    (one,) = analyse(small_image()).strong
    write_strong_pixels(tmp_path / "2.npz", [one, one])
    kept = read(tmp_path / "2.npz")
    assert kept["panel"] == [0] * 36 + [1] * 36
    assert kept["shape"] == [[120, 160]] * 2
    assert kept["index"][:36] == kept["index"][36:]


def test_an_image_without_strong_pixels_leaves_a_file_too(tmp_path: Path) -> None:
    image = small_image(np.ones((120, 160), np.uint16))
    write_strong_pixels(tmp_path / "0.npz", analyse(image).strong)
    assert read(tmp_path / "0.npz")["index"] == []


def test_what_cannot_be_written_now_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    with pytest.raises(TemporaryError, match=r"1\.npz: cannot be written: File exists"):
        write_strong_pixels(
            tmp_path / "folder" / "1.npz", analyse(small_image()).strong
        )


def test_files_lie_below_the_run_and_never_outside(tmp_path: Path) -> None:
    given = settings(tmp_path / "runs", roots=(tmp_path / "visit",))
    place = ("run", "look", "17")
    file = strong_pixels_file(None, given, *place)
    assert file == tmp_path / "runs/run/strong_pixels/look/17.npz"
    named = strong_pixels_file(f"{tmp_path}/visit/tmp", given, *place)
    assert named == tmp_path / "visit/tmp/run/strong_pixels/look/17.npz"
    with pytest.raises(ParameterError, match="working_directory: '/etc' is not below"):
        strong_pixels_file("/etc", given, *place)
    hostile = strong_pixels_file(None, given, "..", "../../x", "/etc/passwd")
    assert hostile.resolve().is_relative_to(tmp_path / "runs")
    assert ".." not in hostile.parts


def test_the_task_keeps_them_if_asked_and_twice_is_as_once(tmp_path: Path) -> None:
    simulate_rotation(tmp_path, images=2, detector="test_128k", d_min=3.0, seed=3)
    payload = {"file": str(tmp_path / "lyso_1.nxs"), "file-number": 2}
    asked = {"keep_strong_pixels": True, "working_directory": str(tmp_path / "work")}
    asked["scan_range"] = "2,2"
    step = Step(parameters=asked, payload=payload, run_id="r", node="look", item="2")
    first = doorways.per_image_analysis(step)
    file = tmp_path / "work/r/strong_pixels/look/2.npz"
    assert first["strong_pixels"] == str(file)
    before = read(file)
    assert before["index"]
    assert doorways.per_image_analysis(step) == first
    assert read(file) == before
    assert [f.name for f in file.parent.iterdir()] == ["2.npz"]
    plain = doorways.per_image_analysis(Step(payload=payload))
    assert "strong_pixels" not in plain


def gathered(*members: Member) -> Gathered:
    return Gathered.of(Step(members=members))


def image(number: int) -> Member:
    value = {"strong_pixels": f"/w/{number}.npz", "n_spots_total": 3}
    return Member(str(number), "watch/every", True, value)


IMPORTED = Member("", "watch", True, {"experiments": "/w/imported.expt", "images": 3})
UNREADABLE = Member("2", "watch/every", False, None, "x_2.cbf is truncated")


def test_images_are_told_from_the_import_and_missing_ones_named() -> None:
    found = gathered(image(1), UNREADABLE, IMPORTED, image(3))
    assert found.pixels == {1: "/w/1.npz", 3: "/w/3.npz"}
    assert found.imported["experiments"] == "/w/imported.expt"
    assert found.missing() == [2]


def test_without_images_or_import_the_reason_is_named() -> None:
    with pytest.raises(PermanentError, match=r"no images came \(2: x_2\.cbf is trunc"):
        gathered(UNREADABLE, IMPORTED)
    failed = Member("", "watch/last", False, None, "no such file")
    with pytest.raises(PermanentError, match=r"no experiments came \(watch/last: no "):
        gathered(image(1), failed)
    with pytest.raises(PermanentError, match=r"\(2 images came, not the last one\)"):
        gathered(image(1), image(2))


@pytest.mark.parametrize(
    "name",
    ["spotfinder.threshold.dispersion.gain", "threshold.algorithm", "scan_range"],
)
def test_parameters_that_come_too_late_are_refused_by_name(
    tmp_path: Path, name: str
) -> None:
    found = gathered(image(1), IMPORTED)
    with pytest.raises(ParameterError, match=rf"{name}: 2 comes too late"):
        join_command(tmp_path, found, tmp_path / "x.expt", iter([f"{name}=2"]))


def test_a_join_of_nothing_fails_before_any_program(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="no experiments came"):
        run_wrapper("dials.join_spots", tmp_path, {})
