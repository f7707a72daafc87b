"""Zocalo's own command, unmodified, asks for runs here."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from tests import lims_rows
from tests.bridge_site import (
    ECHO,
    WAIT,
    bridge,
    dead_letters,
    runs_with,
    until,
    zocalo_environment,
)
from tests.lims_rows import DCID, JOB
from zocelery.deployment import current_deployment
from zocelery.lims.current import forget_lims
from zocelery.submission import open_run

RECIPE = {"1": ECHO, "start": [[1, []]]}


@pytest.fixture(scope="module")
def go(
    request: pytest.FixtureRequest, workers: Path, tmp_path_factory: Any
) -> Iterator[Any]:
    """Runs `zocalo.go` of the environment that is made for dodal."""
    made = Path(request.config.cache.mkdir("dodal"))  # type: ignore[union-attr]
    program = made / "venv" / "bin" / "zocalo.go"
    if not program.exists():
        pytest.skip("zocalo.go is not there: test_beamline_clients installs it")
    assert workers
    folder = tmp_path_factory.mktemp("go")
    lims = Path(str(make_url(os.environ["ZOCELERY_LIMS_URL"]).database))
    lims_rows.sqlite_lims(lims.parent).close()
    for name in ("hello", "xia2-dials"):
        (folder / f"{name}.json").write_text(json.dumps(RECIPE))

    def _go(*arguments: object) -> None:
        subprocess.run(
            [program, *map(str, arguments)],
            env=zocalo_environment(folder),
            check=True,
            timeout=WAIT,
        )

    with bridge(folder, recipes_folders=[str(folder)]):
        yield _go
    forget_lims()


def test_it_asks_for_a_recipe_a_file_and_a_job(go: Any, tmp_path: Path):
    file = tmp_path / "own.json"
    file.write_text(json.dumps({**RECIPE, "1": {**ECHO, "queue": "echo"}}))
    for arguments, recipe in (
        (("-r", "hello", DCID), "hello"),
        (("-f", file, DCID), "custom"),
        (("-p", JOB), "xia2-dials"),
    ):
        word = uuid.uuid4().hex
        go(*arguments, "-s", f"word={word}")
        (row,) = until(lambda word=word: runs_with(word=word))
        run = open_run(row["run"])
        assert run.result(WAIT) == {"word": word, "dcid": str(DCID)}
        known = current_deployment().history.run(run.id)
        assert known["recipe"] == recipe
        assert "zocalo.go.user" in known["parameters"]["requested_by"]


def test_what_it_asks_for_in_vain_waits_with_the_reason(go: Any):
    dead_letters()  # of others
    go("-r", "nowhere", DCID)
    ((_, headers),) = until(dead_letters)
    assert "there is no recipe 'nowhere'" in headers["x-z-error"]
    go("-r", "hello", 99)
    ((_, headers),) = until(dead_letters)
    assert "99" in headers["x-z-error"]
