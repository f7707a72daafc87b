"""`zocelery centre` beside the recorded answers of the reference implementation."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from zocelery_tasks.commands.centre import centre

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "xrc.json"

pytestmark = pytest.mark.skipif(not GOLDEN.is_file(), reason=f"{GOLDEN} is not here")


@pytest.fixture(scope="module")
def golden() -> Any:
    return json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("kind", ["gridscan2d", "gridscan3d"])
def test_every_recorded_grid_has_its_recorded_answer(golden: Any, kind: str) -> None:
    for case in golden[kind]:
        answered = CliRunner().invoke(centre, ["-", "--json"], input=json.dumps(case))
        assert answered.exit_code == 0, answered.output
        assert_same(json.loads(answered.stdout), case["expected"])


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, int | float):
        assert found == pytest.approx(expected, rel=1e-9)
    else:
        assert found == expected
