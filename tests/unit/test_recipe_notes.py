"""Parameters that a task does not know: said before the run starts, refused nowhere."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from zocelery.cli import cli
from zocelery.errors import RecipeError
from zocelery.recipe_checks import check_recipe
from zocelery.recipe_format import load_recipe, parse_recipe
from zocelery.recipe_notes import ignored_parameters
from zocelery.registry import load_catalogue
from zocelery.resources import resource_dir
from zocelery.settings import current_settings


def notes(document: dict[str, Any]) -> list[str]:
    catalogue = load_catalogue(current_settings().queues)
    return list(ignored_parameters(parse_recipe(document, name="r"), catalogue))


def wrapped(**keys: Any) -> dict[str, Any]:
    node = {"wrapper": "command", "parameters": {"command": ["true"]}, **keys}
    return {"start": "a", "nodes": {"a": node}}


def zocalo_job(**given: Any) -> dict[str, Any]:
    cluster = {"commands": "zocalo.wrap --wrap xia2 -e live", "queu": "high"}
    node = {"queue": "cluster.submission", "parameters": {"cluster": cluster}}
    return {"start": [[1, []]], "1": {**node, "job_parameters": given}}


def test_a_misspelt_parameter_is_told_with_the_right_one() -> None:
    (note,) = notes(wrapped(job_parameters={"timout": 5}))
    assert note == (
        "node 'a', job_parameters: command has no parameter 'timout', it is ignored; "
        "did you mean 'timeout'?"
    )


def test_a_wrapper_of_ours_is_told_of_every_key_that_it_does_not_know() -> None:
    known = {"command": ["true"], "timeout": 5, "{x}": 1}
    (note,) = notes(wrapped(parameters={**known, "dcid": 7}))
    assert (
        note == "node 'a', parameters: command has no parameter 'dcid', it is ignored"
    )


def test_a_job_of_zocalo_is_told_only_of_what_is_much_like_a_parameter() -> None:
    foreign = {"create_symlink": "x", "stage": "run", "dcid": 1, "s3echo": {}}
    fitting = {"pipeline-final": {"path": "/x"}, "dials.integrate.phil_file": "x"}
    (note,) = notes(zocalo_job(**foreign, **fitting, ispyb_parametres={}))
    assert note.startswith("node '1', job_parameters: xia2 has no parameter 'ispyb_pa")
    assert note.endswith("did you mean 'ispyb_parameters'?")


def test_other_tasks_are_told_of_misspelt_parameters_too() -> None:
    given = {"files": ["/x"], "expected-per-image-dellay": 1, "comment": "x"}
    node = {"task": "file_watcher", "parameters": given}
    (note,) = notes({"start": "a", "nodes": {"a": node}})
    assert note.endswith("did you mean 'expected-per-image-delay'?")


def test_recipes_that_come_with_zocelery_have_no_such_parameters() -> None:
    catalogue = load_catalogue(current_settings().queues)
    for file in sorted(resource_dir("recipes").glob("*.json")):
        assert list(ignored_parameters(load_recipe(file), catalogue)) == []


def test_a_person_and_a_log_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(wrapped(job_parameters={"timout": 5})))
    for words in (["recipe", "validate"], ["submit", "--dry-run"]):
        said = CliRunner().invoke(cli, [*words, str(file)])
        assert said.exit_code == 0
        assert said.stderr.startswith("Note: ")
        assert "'timout', it is ignored; did you mean 'timeout'?" in said.stderr
    from zocelery import submission

    monkeypatch.setattr(submission, "launch", lambda *_, **__: None)
    with caplog.at_level(logging.WARNING):
        submission.submit(file)
    assert "did you mean 'timeout'?" in caplog.text


def test_job_parameters_that_do_not_fit_are_refused_before_the_run() -> None:
    catalogue = load_catalogue(current_settings().queues)
    recipe = parse_recipe(wrapped(job_parameters={"timeout": "soon"}), name="r")
    with pytest.raises(
        RecipeError, match=r"node 'a', job_parameters\.timeout: .*'soon'"
    ):
        check_recipe(recipe, catalogue)
