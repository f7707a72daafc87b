"""Zocalo's client library, unmodified, asks for runs and hears of each result."""

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bridge_site import bridge, dead_letters, declare, until, zocalo_environment
from tests.conftest import FOREIGN_QUEUES
from tests.unit.small_images import mini_header, write_cbf
from zocelery.deployment import current_deployment

CLIENT = Path(__file__).parents[1] / "zocalo_client.py"
FEEDBACK = FOREIGN_QUEUES[0]
Do = Callable[..., Any]


@pytest.fixture(scope="module")
def do(
    request: pytest.FixtureRequest, workers: Path, tmp_path_factory: Any
) -> Iterator[Do]:
    """Tells a program that uses the library what to do; answers what came of it."""
    made = Path(request.config.cache.mkdir("dodal"))  # type: ignore[union-attr]
    python = made / "venv" / "bin" / "python"
    if not (made / "installed").exists():
        pytest.skip("zocalo is not there: test_beamline_clients installs it")
    assert workers
    declare(FEEDBACK)
    folder = tmp_path_factory.mktemp("client")
    process = subprocess.Popen(
        [python, CLIENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=zocalo_environment(folder),
    )

    def _do(what: str, **told: Any) -> Any:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"do": what, **told}) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            if line.startswith('{"answer"'):
                return json.loads(line)["answer"]
        raise AssertionError(f"the client ended: {process.wait()}")

    with process:
        try:
            with bridge(folder):
                _do("listen", to=FEEDBACK)
                yield _do
        finally:
            process.kill()


def test_each_image_of_a_recipe_of_its_own_is_told_as_it_is_analysed(
    do: Do, tmp_path: Path
):
    for number in range(1, 6):
        pixels = np.full((40, 50), number, dtype=np.int32)
        write_cbf(tmp_path / f"x_{number:05d}.cbf", pixels, mini_header())
    recipe = {
        "1": {
            "service": "Filewatcher",
            "queue": "filewatcher",
            "parameters": {
                "pattern": "{images}",
                "pattern-start": "1",
                "pattern-end": "5",
                "burst-limit": 40,
                "timeout": "120",
            },
            "output": {"every": 2},
        },
        "2": {"queue": "per_image_analysis", "output": 3},
        "3": {"queue": FEEDBACK, "parameters": {"scan": "{scan}"}},
        "start": [[1, []]],
    }
    guid, scan = str(uuid.uuid4()), uuid.uuid4().hex
    parameters = {"guid": guid, "images": f"{tmp_path}/x_%05d.cbf", "scan": scan}
    message = {"custom_recipe": recipe, "parameters": parameters}
    do("send", to="processing_recipe", message=message)
    told = do("received", count=5)
    assert sorted(one["message"]["file-number"] for one in told) == [1, 2, 3, 4, 5]
    assert all(one["message"]["n_spots_total"] >= 0 for one in told)
    assert {one["id"] for one in told} == {guid}
    assert [one["parameters"] for one in told] == 5 * [{"scan": scan}]
    run = until(lambda: current_deployment().history.find_run(guid))
    assert run["recipe"] == "custom"


def test_a_request_that_cannot_be_is_a_dead_letter_with_its_reason(do: Do):
    dead_letters()  # of others
    do("send", to="processing_recipe", message={"recipes": ["nowhere"]})
    ((_, headers),) = until(dead_letters)
    assert "its parameters are None, not an object" in headers["x-z-error"]
