"""The wrappers of DIALS with DIALS itself."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.benches import run_wrapper
from tests.unit.test_simulation_with_dials import DIALS_PYTHON
from zocelery.errors import ProgramError
from zocelery.messages import Member, Step
from zocelery_tasks import doorways
from zocelery_tasks.simulation.scans import simulate_rotation

pytestmark = [
    pytest.mark.dials,
    pytest.mark.skipif(shutil.which("dials.import") is None, reason="no DIALS here"),
]


def test_dials_reads_bitshuffled_images_and_finds_their_spots(tmp_path: Path) -> None:
    simulate_rotation(tmp_path / "images", images=6, distinct=2)
    images = tmp_path / "images" / "lyso_1.nxs"
    named = {"images": f"{images}:2:5"}
    imported = run_wrapper("dials.import", tmp_path, named)
    assert imported["images"] == 4
    spots = run_wrapper("dials.find_spots", tmp_path, {}, payload=imported)
    assert spots["spots"] > 20
    with pytest.raises(ProgramError, match=r"dials\.refine ended with exit code 1"):
        run_wrapper("dials.refine", tmp_path, {}, payload=spots)


COLUMNS = """
import json, sys
from dials.array_family import flex
table = flex.reflection_table.from_file(sys.argv[1])
boxes = table["shoebox"]
print(json.dumps({
    "flags": list(table["flags"]),
    "sums": list(table["intensity.sum.value"]),
    "places": list(table["xyzobs.px.value"]),
    "variances": list(table["xyzobs.px.variance"]),
    "pixels": [list(box.data.as_1d()) for box in boxes],
    "masks": [list(box.mask.as_1d()) for box in boxes],
}))
"""


def columns(reflections: str) -> Any:
    command = [DIALS_PYTHON, "-c", COLUMNS, reflections]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


def look_at(images: Path, number: int, folder: Path) -> Member:
    given = {
        "algorithm": "dispersion_extended",
        "scan_range": f"{number},{number}",
        "keep_strong_pixels": True,
        "working_directory": str(folder),
    }
    payload = {"file": str(images)}
    item = str(number - 1)  # the second image is the first of those that are imported
    step = Step(parameters=given, payload=payload, run_id="r", node="n", item=item)
    return Member(item, "watch/every", True, doorways.per_image_analysis(step))


def test_spots_joined_from_strong_pixels_are_those_that_dials_finds(
    tmp_path: Path,
) -> None:
    simulate_rotation(tmp_path / "images", images=6, distinct=2)
    images = tmp_path / "images" / "lyso_1.nxs"
    imported = run_wrapper("dials.import", tmp_path, {"images": f"{images}:2:5"})
    expected = run_wrapper("dials.find_spots", tmp_path, {}, payload=imported)
    looked = [look_at(images, number, tmp_path / "live") for number in (4, 2, 5, 3)]
    members = [*looked, Member("", "watch", True, imported)]
    joined = run_wrapper("dials.join_spots", tmp_path, {}, members=members)
    assert joined["spots"] == expected["spots"] > 20
    assert joined["missing"] == []
    assert columns(joined["reflections"]) == columns(expected["reflections"])
    fewer = run_wrapper("dials.join_spots", tmp_path, {}, members=members[1:])
    assert fewer["missing"] == [3]
    assert 0 < fewer["spots"] < joined["spots"]
