"""What is built from the repository is whole: package, tasks, recipes, config."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        ["uv", "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)],
        check=True,
        timeout=110,
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_engine_tasks_recipes_and_configuration(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "zocelery/celery.py",
        "zocelery/py.typed",
        "zocelery/recipes/grid-scan.json",
        "zocelery/config/zocelery.toml",
        "zocelery/config/recipe.schema.json",
        "zocelery_tasks/doorways.py",
    } <= names
    tops = {name.partition("/")[0] for name in names}
    assert {top.partition("-")[0] for top in tops} == {"zocelery", "zocelery_tasks"}


def test_the_wheel_finds_its_recipes_away_from_the_repository(
    wheel: Path, tmp_path: Path
):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = "import zocelery.cli; zocelery.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "recipe", "list"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "grid-scan-3d" in done.stdout, done.stderr
