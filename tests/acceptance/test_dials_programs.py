"""The wrappers of DIALS with DIALS itself."""

import shutil
from pathlib import Path

import pytest

from tests.unit.benches import run_wrapper
from zocelery.errors import ProgramError
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
