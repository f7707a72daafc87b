"""`zocelery find-spots`, beside the other commands."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from tests.unit.small_images import mini_header, write_cbf, write_nxmx
from zocelery.errors import InputFileError
from zocelery_tasks.commands.find_spots import find_spots

STATISTICS = [
    "n_spots_4A",
    "n_spots_no_ice",
    "n_spots_total",
    "total_intensity",
    "d_min_distl_method_1",
    "d_min_distl_method_2",
    "estimated_d_min",
    "noisiness_method_1",
    "noisiness_method_2",
]


def image_with(n_spots):
    """An image of 60 x 80 pixels with so many spots of 3 x 3 pixels."""
    pixels = np.ones((60, 80), np.uint16)
    pixels[::2, ::3] = 0
    for number in range(n_spots):
        slow, fast = 10 + 20 * (number // 3), 10 + 25 * (number % 3)
        pixels[slow - 1 : slow + 2, fast - 1 : fast + 2] = 40
    return pixels


@pytest.fixture
def nexus(tmp_path):
    """A NXmx file whose images have 1, 2, 3 and 4 spots."""
    return write_nxmx(
        tmp_path / "x_1.nxs", np.array([image_with(n) for n in range(1, 5)])
    )


@pytest.fixture
def cbf(tmp_path):
    """A CBF file with an image of five spots."""
    header = mini_header(Detector_distance="0.02000 m")
    return write_cbf(tmp_path / "x_00007.cbf", image_with(5), header)


def run(*arguments):
    return CliRunner().invoke(find_spots, [str(argument) for argument in arguments])


def records(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_each_image_is_one_line_of_json(nexus, cbf):
    result = run(cbf, nexus, "--json")
    assert result.exit_code == 0
    found = records(result)
    assert [record["file"] for record in found] == [str(cbf)] + [str(nexus)] * 4
    assert [record["image_number"] for record in found] == [1, 1, 2, 3, 4]
    assert [record["n_spots_found"] for record in found] == [5, 1, 2, 3, 4]
    for record in found:
        assert list(record) == ["file", "image_number", "n_spots_found", *STATISTICS]


def test_a_range_chooses_images(nexus):
    found = records(run(f"{nexus}:2:3", "--json"))
    assert [record["image_number"] for record in found] == [2, 3]


def test_a_colon_may_be_part_of_the_name(tmp_path):
    file = write_cbf(tmp_path / "x:1:2", image_with(1))
    assert records(run(file, "--json"))[0]["file"] == str(file)
    assert records(run(f"{file}:1:1", "--json"))[0]["file"] == str(file)


def test_spots_are_listed_if_asked(cbf):
    (record,) = records(run(cbf, "--json", "--spots"))
    assert len(record["spots"]) == 5
    first = record["spots"][0]
    assert list(first) == ["x", "y", "intensity", "variance", "bbox", "d"]
    assert (first["x"], first["y"]) == pytest.approx((10.5, 10.5))
    assert first["intensity"] == first["variance"] == 360
    assert first["bbox"] == [9, 12, 9, 12]


def test_resolution_limits_choose_spots(cbf):
    (record,) = records(run(cbf, "--json", "--spots"))
    limit = sorted(spot["d"] for spot in record["spots"])[2] - 1e-6
    (cut,) = records(run(cbf, "--json", "--spots", "--d-min", limit))
    assert (cut["n_spots_found"], cut["n_spots_total"]) == (5, 3)
    assert len(cut["spots"]) == 3
    (cut,) = records(run(cbf, "--json", "--d-max", limit))
    assert (cut["n_spots_found"], cut["n_spots_total"]) == (5, 2)


@pytest.mark.parametrize(
    "options",
    [
        ("--algorithm", "dispersion"),
        ("--algorithm", "dispersion_extended"),
        ("--dials-rule", "3.12"),
        ("--dials-rule", "3.24", "--algorithm", "dispersion_extended"),
    ],
)
def test_algorithm_and_rule_may_be_chosen(cbf, options):
    (record,) = records(run(cbf, "--json", *options))
    assert record["n_spots_found"] == 5


def test_images_that_cannot_be_analysed_are_said_and_the_others_done(nexus, cbf):
    broken = cbf.with_name("broken.cbf")
    broken.write_bytes(cbf.read_bytes()[:2000])
    result = run(broken, cbf, nexus, "--json")
    assert result.exit_code == 1
    first, *others = records(result)
    assert list(first) == ["file", "image_number", "error"]
    assert (first["file"], first["image_number"]) == (str(broken), 1)
    assert first["error"].startswith(f"{broken}: image 1: truncated")
    assert [record["n_spots_found"] for record in others] == [5, 1, 2, 3, 4]


def test_a_file_that_is_no_image_is_an_image_that_cannot_be_analysed(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("no image")
    result = run(f"{file}:3:4", "--json")
    assert result.exit_code == 1
    assert [record["image_number"] for record in records(result)] == [3, 4]


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("gone.cbf", "gone.cbf: no such file"),
        ("gone.cbf:1:2", "gone.cbf: no such file"),
        (".", "not a file"),
        ("x_1.nxs:0:2", "should stand :FIRST:LAST"),
        ("x_1.nxs:3:2", "should stand :FIRST:LAST"),
        ("x_1.nxs:a:b", "should stand :FIRST:LAST"),
        ("x_1.nxs::", "should stand :FIRST:LAST"),
        ("x_1.nxs:1", r"x_1.nxs:1: no such file"),
        ("x_1.nxs:2:5", "x_1.nxs has 4 images: there is no image 5"),
        ("x_00007.cbf:1:2", "x_00007.cbf has 1 image: there is no image 2"),
    ],
)
def test_a_mistake_is_said_before_anything_starts(
    nexus, cbf, monkeypatch, argument, complaint
):
    monkeypatch.chdir(cbf.parent)
    result = run(cbf, argument, "--json")
    assert isinstance(result.exception, InputFileError)
    assert result.exception.exit_code == 2
    assert complaint in str(result.exception)
    assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--algorithm", "radial"),
        ("--dials-rule", "2"),
        ("--d-min", "5", "--d-max", "4"),
        ("--d-min", "-1"),
    ],
)
def test_wrong_options_are_mistakes(cbf, arguments):
    result = run(*arguments, *([cbf] if arguments else []))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error" in result.stderr


def test_the_table_is_for_people(nexus, cbf):
    broken = cbf.with_name("broken.cbf")
    broken.write_bytes(b"")
    result = run(cbf, f"{nexus}:2:2", broken, "--d-max", 1000)
    assert result.exit_code == 1
    header, first, second = result.stdout.splitlines()
    assert header.split()[:4] == ["file", "image", "found", "spots"]
    assert first.split()[:4] == ["x_00007.cbf", "1", "5", "5"]
    assert second.split()[:4] == ["x_1.nxs", "2", "2", "2"]
    assert "broken.cbf: image 1: empty" in result.stderr


def test_the_table_may_be_followed_by_the_spots(nexus):
    result = run(f"{nexus}:3:3", "--spots", "--d-max", 1000)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["10.50", "10.50", "360"] in [line[:3] for line in lines]
    assert ["x_1.nxs,", "image", "3"] in lines
