"""Stills through xia2.ssx: its command line, and what is read from what it says."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.benches import Heard, run_wrapper
from tests.unit.xia2_replay import write
from zocelery.errors import ProgramError

SAYS = """
Cumulative number of images processed: 1000
Cumulative % of images indexed: 31.50%
Total number of integrated crystals: 330
Cumulative number of images processed: 1400
Cumulative % of images indexed: 30.25%
Total number of integrated crystals: 460
450 crystals scaled in space group P 43 21 2
                                             Overall    Low     High
High resolution limit                           2.00    5.43    2.00
Completeness                                   99.5   100.0    98.1
CC half                                       0.981   0.990   0.412

Merged mtz file: /somewhere/merged.mtz
"""


def run(folder: Path, says: str, heard: Heard | None = None, **given: Any) -> Any:
    """Run the wrapper where `xia2.ssx` is a stand-in that says `says`."""
    programs = folder / "bin"
    lines = (
        f"#!{sys.executable} -S",
        "import json, os, sys",
        f"says = {says!r}",
        "json.dump(sys.argv[1:], open('arguments.json', 'w'))",
        "os.mkdir('DataFiles'), os.mkdir('LogFiles')",
        "open('xia2.ssx.log', 'a').write(says)",
        "print(says)",
        "if 'Merged' in says:",
        "    open('DataFiles/merged.mtz', 'w').write('MTZ')",
        "    open('LogFiles/dials.merge.json', 'w').write('{}')",
    )
    write(programs, "xia2.ssx", "\n".join(lines))
    (programs / "xia2.ssx").chmod(0o755)
    images = folder / "x.nxs"
    images.touch()
    environment = {"PATH": f"{programs}:/usr/bin:/bin"}
    parameters = {"images": str(images), "environment": environment, **given}
    return run_wrapper("xia2.ssx", folder / "work", parameters, heard=heard)


def test_the_command_line_has_images_crystal_and_resolution(tmp_path: Path) -> None:
    model = tmp_path / "model.pdb"
    model.touch()
    answer = run(
        tmp_path,
        SAYS,
        space_group="P43212",
        unit_cell=[79, 79, 37, 90, 90, 90],
        d_min=2,
        reference=str(model),
        phil={"indexing.max_lattices": 2},
    )
    told = json.loads(
        (Path(answer["working_directory"]) / "arguments.json").read_text()
    )
    assert told == [
        f"image={tmp_path}/x.nxs",
        "space_group=P43212",
        "unit_cell=79,79,37,90,90,90",
        "d_min=2.0",
        f"reference={model}",
        "nproc=1",
        "indexing.max_lattices=2",
    ]


def test_the_last_counts_and_the_statistics_are_data(tmp_path: Path) -> None:
    heard = Heard()
    answer = run(tmp_path, SAYS, heard)
    assert answer["images"] == 1400
    assert answer["indexed_percent"] == 30.25
    assert answer["integrated_crystals"] == 460
    assert answer["merging_statistics"]["outerShell"]["ccHalf"] == 0.412
    assert answer["mtz"].endswith("DataFiles/merged.mtz")
    ranks = {f["file_name"]: f["importance_rank"] for f in answer["files"]}
    assert ranks.items() >= {"merged.mtz": 1, "dials.merge.json": 2}.items()


@pytest.mark.parametrize(
    "said",
    [
        "Error: No images successfully indexed, unable to run geometry refinement",
        "Unable to find file: [Errno 2] No such file or directory: 'x.nxs'",
    ],
)
def test_an_error_that_ends_with_exit_code_0_is_a_failure(
    tmp_path: Path, said: str
) -> None:
    heard = Heard()
    with pytest.raises(ProgramError, match=re.escape(f"xia2.ssx failed: {said}")):
        run(tmp_path, said, heard)
    assert heard.on("result-individual-file")[0]["file_type"] == "log"


def test_a_run_that_leaves_no_data_has_failed(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"xia2\.ssx left no DataFiles"):
        run(tmp_path, "all is well")
