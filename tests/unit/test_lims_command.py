"""`zocelery lims`, and what DCID and --job give `zocelery submit --dry-run`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests import lims_rows
from tests.lims_rows import DCID, JOB, VISIT
from zocelery.cli import cli
from zocelery.deployment import forget_deployment
from zocelery.errors import ZoceleryError
from zocelery.lims.current import forget_lims


@pytest.fixture(autouse=True)
def _own_lims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ZOCELERY_LIMS_URL", f"sqlite:///{tmp_path}/lims.sqlite")
    forget_deployment()
    yield
    forget_lims()
    forget_deployment()


@pytest.fixture
def visit(tmp_path: Path) -> None:
    lims_rows.sqlite_lims(tmp_path)


def zocelery(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, list(arguments))
    if isinstance(result.exception, ZoceleryError):
        raise result.exception
    return result


def recipe_file(folder: Path, parameters: dict[str, Any]) -> str:
    file = folder / "recipe.json"
    nodes = {"a": {"task": "echo", "parameters": parameters}}
    file.write_text(json.dumps({"nodes": nodes, "start": "a"}))
    return str(file)


def test_a_lims_of_ones_own_is_made_checked_and_asked(tmp_path: Path):
    with pytest.raises(ZoceleryError, match="has no tables yet; 'zocelery lims init'"):
        zocelery("lims", "check")
    made = zocelery("lims", "init", "--json")
    assert json.loads(made.stdout)["lims"].endswith("lims.sqlite")
    checked = zocelery("lims", "check", "--json")
    lines = [json.loads(line) for line in checked.stdout.splitlines()]
    assert checked.exit_code == 0
    assert {line["path"] for line in lines[1:]} == {"tables"}
    with pytest.raises(ZoceleryError, match="there is no data collection 5"):
        zocelery("lims", "lookup", "5")
    again = zocelery("lims", "init")
    assert again.exit_code == 0


def test_a_servers_tables_are_never_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ZOCELERY_LIMS_URL", "mysql://u:p%40ss@127.0.0.1:1/ispyb")
    forget_deployment()
    with pytest.raises(ZoceleryError, match="is a server") as caught:
        zocelery("lims", "init")
    assert "p%40ss" not in str(caught.value)
    with pytest.raises(ZoceleryError, match="cannot reach the LIMS at mysql") as caught:
        zocelery("lims", "check")
    assert "p%40ss" not in str(caught.value)


@pytest.mark.usefixtures("visit")
def test_lookup_prints_what_a_recipe_would_get():
    found = json.loads(zocelery("lims", "lookup", str(DCID), "--json").stdout)
    assert found["ispyb_visit_directory"] == VISIT
    job = json.loads(zocelery("lims", "lookup", "--job", str(JOB)).stdout)
    assert (job["ispyb_dcid"], job["ispyb_process"]) == (DCID, JOB)
    assert zocelery("lims", "lookup").exit_code == 2


@pytest.mark.usefixtures("visit")
def test_a_dcid_fills_a_recipe_and_what_is_typed_wins(tmp_path: Path):
    asked = {"folder": "{ispyb_results_directory}", "group": "{ispyb_space_group}"}
    file = recipe_file(tmp_path, asked)
    told = zocelery(
        *("submit", file, str(DCID), "-p", "ispyb_space_group=P1"),
        *("--run-id", "run-7", "--dry-run"),
    )
    (node,) = json.loads(told.stdout)["nodes"].values()
    assert node["parameters"] == {
        "folder": f"{VISIT}/processed/raw/lyso/ly-so_2/run-7",
        "group": "P1",
    }


@pytest.mark.usefixtures("visit")
def test_a_job_names_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "recipes"
    folder.mkdir()
    nodes = {"a": {"task": "echo", "parameters": {"images": "{ispyb_images}"}}}
    document = {"nodes": nodes, "start": "a"}
    (folder / "ispyb-xia2-dials.json").write_text(json.dumps(document))
    monkeypatch.setenv("ZOCELERY_RECIPES_FOLDERS", json.dumps([str(folder)]))
    forget_deployment()
    told = zocelery("submit", "--job", str(JOB), "--dry-run")
    (node,) = json.loads(told.stdout)["nodes"].values()
    images = f"{VISIT}/raw/lyso/ly-so_2_00001.cbf:1:50"
    assert node["parameters"] == {"images": images}
    assert "give a RECIPE" in zocelery("submit").output
