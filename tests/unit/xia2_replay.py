"""A stand-in for xia2: leaves the files of a run that once was, or was made up."""

import json
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STAND_IN = f"""#!{sys.executable} -S
import json, os, shutil, sys
with open("arguments.json", "w") as stream:
    json.dump(sys.argv[1:], stream)
shutil.copytree(os.environ["REPLAY"], "new", copy_function=shutil.copyfile)
for name in os.listdir("new"):
    os.rename("new/" + name, name)
os.rmdir("new")
print(open("xia2.txt").read())
sys.exit(int(os.environ.get("REPLAY_EXIT", "0")))
"""


def stand_in(folder: Path, replayed: Path, *, exit_code: int = 0) -> dict[str, str]:
    """Make a program `xia2`; return the environment in which it is found."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "xia2"
    program.write_text(STAND_IN)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {
        "PATH": f"{folder}:/usr/bin:/bin",
        "REPLAY": str(replayed),
        "REPLAY_EXIT": str(exit_code),
    }


PANEL = {
    "fast_axis": [1.0, 0.0, 0.0],
    "slow_axis": [0.0, -1.0, 0.0],
    "origin": [-50.0, 60.0, -200.0],
    "image_size": [1000, 1000],
    "pixel_size": [0.1, 0.1],
    "thickness": 0.3,
    "mu": 3.9,
    "px_mm_strategy": {"type": "SimplePxMmStrategy"},
}
STATISTICS = {
    "High resolution limit": [1.5, 4.0, 1.5],
    "Low resolution limit": [50.0, 50.0, 1.55],
    "Completeness": [99.5, 100.0, 97.0],
    "I/sigma": [12.0, 40.0, 1.1],
    "Rmerge(I+/-)": [0.05, 0.02, 0.9],
    "CC half": [0.999, 0.999, 0.5],
    "Total observations": [1000, 100, 90],
    "Total unique": [200, 20, 19],
    "dF/F": [0.07],
}


def write_run(folder: Path) -> Path:
    """Write the files of a small run that never was."""
    sweep = {
        "_directory": "/data//visit",
        "_template": "x_####.cbf",
        "_frames_to_process": [1, 60],
        "_integrater": {
            "_intgr_cell": [10, 20, 30, 90, 90, 90],
            "_intgr_wedge": [3, 50],
        },
        "_indexer": {
            "_indxr_experiment_list": {
                "experiment": [{"detector": 0, "beam": 0}],
                "detector": [{"panels": [PANEL]}],
                "beam": [{"direction": [0.0, 0.0, 1.0], "wavelength": 1.0}],
            }
        },
    }
    crystal = {
        "_scaler": {
            "_scalr_statistics": {'["AUTOMATIC", "DEFAULT", "SAD"]': STATISTICS},
            "_scalr_likely_spacegroups": ["P 21 21 21", "P 21 21 2"],
            "_scalr_cell": [10.1, 20.1, 30.1, 90.0, 90.0, 90.0],
            "_scalr_scaled_reflection_files": {
                "mtz": "/tmp/gone/AUTOMATIC_DEFAULT_free.mtz",
                "mtz_unmerged": {"SAD": "/tmp/gone/unmerged.mtz"},
            },
        },
        "_wavelengths": {"SAD": {"_sweeps": [sweep]}},
    }
    xtriage = [
        {"level": 0, "text": "All is well.", "summary": "yes", "header": "h"},
        {"level": 2, "text": "The data may be assigned to the wrong space group."},
        {"level": 1, "text": "There may be ice.", "summary": "ice", "header": "h"},
    ]
    text = (
        "XIA2 3.12.0\nCommand line: xia2 pipeline=dials\nStatus: normal termination\n"
    )
    write(folder, "xia2.json", {"_crystals": {"DEFAULT": crystal}})
    write(folder, "xia2-report.json", {"xtriage": xtriage})
    write(folder, "xia2.txt", text)
    write(folder, "xia2.html", "<html>")
    write(folder, "automatic.xinfo", "BEGIN")
    write(folder, "DataFiles/AUTOMATIC_DEFAULT_free.mtz", "MTZ")
    write(folder, "DataFiles/AUTOMATIC_DEFAULT_scaled.mtz", "MTZ")
    write(folder, "LogFiles/merging-statistics.json", {})
    write(folder, "LogFiles/SCALE.log", "scaled")
    return folder


def write(folder: Path, name: str, content: str | Mapping[str, Any]) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    file.write_text(text)
