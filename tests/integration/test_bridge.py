"""What Zocalo's clients send becomes runs, each once, and nothing is lost."""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import make_url, update

from tests import lims_rows
from tests.bridge_site import (
    ECHO,
    QUEUE,
    WAIT,
    bridge,
    dead_letters,
    declare,
    message_count,
    runs_with,
    send,
    until,
)
from tests.lims_rows import (
    DCID,
    GRID_DCG,
    GRID_DCID,
    JOB,
    SECOND_DCID,
    VISIT,
    Site,
    add_second_grid,
)
from zocelery.cli import cli
from zocelery.deployment import current_deployment
from zocelery.errors import RecipeError
from zocelery.lims.current import current_lims, forget_lims
from zocelery.lims.tables import table
from zocelery.submission import open_run, submit

pytestmark = pytest.mark.usefixtures("serving")
RULED = ("grid-scan-3d", "per-image-analysis", "autoprocessing-xia2")
RECIPE = {"1": ECHO, "start": [[1, []]]}
WHO = {"zocalo.go.user": "gda", "zocalo.go.host": "i99-control"}


@pytest.fixture(scope="module")
def serving(workers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bridge with a LIMS and the recipes of a facility; yields its log."""
    path = Path(str(make_url(os.environ["ZOCELERY_LIMS_URL"]).database))
    lims_rows.sqlite_lims(path.parent).close()
    folder = tmp_path_factory.mktemp("bridge")
    for name in ("hello", "xia2-dials", *RULED):
        (folder / f"{name}.json").write_text(json.dumps(RECIPE))
    trigger = {"1": {**ECHO, "parameters": {"word": "hi"}}, "start": [[1, []]]}
    (folder / "trigger.json").write_text(json.dumps(trigger))
    settings = {
        "recipes_folders": [str(folder)],
        "bridge_ready_interval": 0.2,
        "queues_foreign": ["late"],
    }
    assert workers
    current_lims().write(add_second_grid)
    with bridge(folder, **settings) as log:
        yield log
    forget_lims()


def new_word() -> str:
    return uuid.uuid4().hex


def hello(word: str, **parameters: Any) -> dict[str, Any]:
    given = {"word": word, "ispyb_dcid": DCID, **parameters}
    return {"recipes": ["hello"], "parameters": given}


def run_of(word: str) -> Any:
    return open_run(until(lambda: runs_with(word=word))[0]["run"])


# every client


def test_a_message_of_zocalo_go_starts_a_run_with_what_the_lims_knows():
    guid = new_word()
    send(hello("go", guid=guid), delivery_mode=2, application_headers=WHO)
    row = until(lambda: current_deployment().history.find_run(guid))
    assert open_run(guid).result(WAIT) == {"word": "go", "dcid": str(DCID)}
    known = row["parameters"]
    assert known["ispyb_image_pattern"] == "ly-so_2_%05d.cbf"
    assert known["ispyb_working_directory"].endswith(guid)
    assert known["requested_by"] == WHO


@pytest.mark.parametrize("dcid", [str(DCID), f" {DCID} ", float(DCID)])
def test_the_id_of_a_data_collection_may_be_text_or_end_in_a_zero(dcid: Any):
    word = new_word()
    given = json.dumps(hello(word, ispyb_dcid=dcid)).encode()
    send(b"\xef\xbb\xbf" + given)  # with the mark that some editors put before it
    assert run_of(word).result(WAIT) == {"word": word, "dcid": str(DCID)}


def test_an_id_that_is_empty_is_none_at_all():
    word = new_word()
    send(hello(word, ispyb_dcid="", ispyb_process=JOB))
    assert run_of(word).result(WAIT) == {"word": word, "dcid": str(DCID)}


def test_a_message_of_synchweb_without_any_property_runs_the_jobs_recipe():
    send({"parameters": {"ispyb_process": JOB, "word": (word := new_word())}})
    run = run_of(word)
    assert run.result(WAIT) == {"word": word, "dcid": str(DCID)}
    row = current_deployment().history.run(run.id)
    assert row["recipe"] == "xia2-dials"
    assert row["parameters"]["ispyb_parameters"] == {"d_min": "3"}
    assert row["parameters"]["images"].endswith("/raw/lyso/ly-so_2_%05d.cbf:1:50")


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (
            '{"recipes":["trigger"],"parameters":{"ispyb_dcid":11,"scaling_id":%d}}',
            "scaling_id",
        ),
        (
            '{"recipes":["trigger"],"parameters":{"ispyb_protein_id":%d}}',
            "ispyb_protein_id",
        ),
    ],
    ids=["downstream", "sequence"],
)
def test_what_else_synchweb_asks_for_byte_by_byte(body: str, key: str):
    number = uuid.uuid4().int % 10**9
    send((body % number).encode())
    (row,) = until(lambda: runs_with(**{key: number}))
    assert row["recipe"] == "trigger"
    assert open_run(row["run"]).result(WAIT) == {"word": "hi"}


def test_a_custom_recipe_and_several_recipes_make_one_run():
    word = new_word()
    send({**hello(word), "recipes": ["hello", "xia2-dials"], "custom_recipe": RECIPE})
    run = run_of(word)
    answer = {"word": word, "dcid": str(DCID)}
    assert run.result(WAIT) == {"1": answer, "2": answer, "3": answer}


def test_a_request_that_comes_recipe_wrapped_is_taken_out():
    word = new_word()
    wrapped = {"payload": hello(word), "recipe": {}, "recipe-pointer": 1}
    send(wrapped, application_headers={"workflows-recipe": "True"})
    assert run_of(word).result(WAIT)["word"] == word


# once


def test_the_same_message_twice_with_and_without_a_guid_starts_one_run():
    word, guid = new_word(), new_word()
    for _ in range(5):
        send(hello(word))
        send(hello(word, guid=guid))
    found = until(lambda: len(runs_with(word=word)) == 2 and runs_with(word=word))
    until(lambda: message_count(QUEUE) == 0)
    last = new_word()
    send(hello(last))  # behind all of them
    run_of(last).wait(WAIT)
    assert len(runs_with(word=word)) == 2
    for row in found:
        run = open_run(row["run"])
        run.wait(WAIT)
        assert len(current_deployment().history.run_tries(run.id)) == 1
    assert guid in {row["run"] for row in found}


def test_a_guid_that_another_recipe_has_taken_is_refused():
    guid = new_word()
    send(hello("first", guid=guid))
    until(lambda: current_deployment().history.find_run(guid))
    send({**hello("second", guid=guid), "recipes": ["xia2-dials"]})
    ((_, headers),) = until(dead_letters)
    assert "is taken by a run of 'hello', this is 'xia2-dials'" in headers["x-z-error"]


# what the rules ask for


def announce(dcid: int, event: str, word: str, **more: Any) -> None:
    """Send what dodal's ZocaloTrigger sends."""
    parameters = {"ispyb_dcid": dcid, "event": event, "word": word, **more}
    message = {"recipes": ["mimas"], "parameters": parameters}
    send(message, delivery_mode=2, application_headers=WHO)


def test_a_grid_pair_announced_as_dodal_does_with_duplicates_is_one_run():
    word = new_word()
    for _ in range(2):
        for index, dcid in enumerate((GRID_DCID, SECOND_DCID)):
            more = {"filename": None, "start_frame_index": 0, "message_index": index}
            announce(dcid, "start", word, number_of_frames=20, **more)
    for dcid in (GRID_DCID, SECOND_DCID, SECOND_DCID):
        announce(dcid, "end", word)
    last = new_word()
    send(hello(last))
    run_of(last).wait(WAIT)
    until(lambda: message_count(QUEUE) == 0)
    (row,) = until(lambda: runs_with(word=word))
    known = row["parameters"]
    assert row["recipe"] == "grid-scan-3d"
    assert known["images_xy"] == f"{VISIT}/raw/lyso/ly-so_2_%05d.cbf:1:20"
    assert known["images_xz"] == f"{VISIT}/raw/lyso/ly-so_2_%05d.cbf:21:35"
    assert known["gridinfo_xy"]["steps_y"] == 4
    assert known["gridinfo_xz"]["steps_y"] == 3
    assert (known["dcid"], known["dcgid"]) == (SECOND_DCID, GRID_DCG)
    assert dead_letters() == []


def is_recorded(run: dict[str, Any], **parameters: str) -> bool:
    """Whether the LIMS has a run as its only job of that kind, all images with it."""
    site, job = Site(current_lims()), run["parameters"]["ispyb_process"]
    (row,) = site.rows("ProcessingJob", "recipe", "automatic", processingJobId=job)
    (sweep,) = site.rows("ProcessingJobImageSweep", "startImage", processingJobId=job)
    columns = ("parameterKey", "parameterValue")
    given = dict(site.rows("ProcessingJobParameter", *columns, processingJobId=job))
    mark = f"run {run['run']}"
    marked = site.rows("ProcessingJobParameter", "parameterKey", parameterValue=mark)
    assert len(marked) == 1  # however often it was announced
    assert (row, sweep) == (("autoprocessing-xia2", 1), (1,))
    return parameters.items() <= given.items()


def test_a_rotation_is_analysed_from_its_start_and_processed_at_its_end():
    word = new_word()
    sweep = {"start_frame_index": 0, "number_of_frames": 3600, "message_index": 0}
    announce(DCID, "start", word, filename=None, **sweep)  # as mx-bluesky says it
    first = run_of(word)
    for _ in range(3):
        announce(DCID, "end", word)
    rows = until(lambda: len(runs_with(word=word)) > 2 and runs_with(word=word))
    again, once, live = rows
    assert again["recipe"] == once["recipe"] == "autoprocessing-xia2"
    assert (live["recipe"], live["run"]) == ("per-image-analysis", first.id)
    assert "space_group" not in once["parameters"]
    assert again["parameters"]["space_group"] == "P43212"
    assert is_recorded(once, pipeline="dials")
    assert is_recorded(again, pipeline="dials", spacegroup="P43212")
    assert "ispyb_process" not in live["parameters"]
    folders = [row["parameters"]["ispyb_working_directory"] for row in rows]
    assert [folder.rsplit("/")[-1] for folder in folders] == [r["run"] for r in rows]


def test_rules_tell_what_would_run_and_why():
    result = CliRunner().invoke(cli, ["rules", str(DCID), "--event", "end", "--json"])
    told = {row["rule"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert told["grid-scan"]["why"].startswith("kind is rotation, not grid")
    assert not told["grid-scan"]["holds"]
    run, again = told["processing"]["runs"]
    assert (run["recipe"], run["urgency"]) == ("autoprocessing-xia2", "live")
    assert again["urgency"] == "reprocessing"
    assert run["run"] in {row["run"] for row in runs_with(ispyb_dcid=DCID)}
    text = CliRunner().invoke(cli, ["rules", str(DCID), "--event", "start"]).stdout
    assert "processing: no, event is start, not end" in text


# as the command line does


def test_submit_in_python_looks_up_what_the_command_line_does():
    run = submit(RECIPE, {"word": "x"}, dcid=DCID)
    assert run.result(WAIT) == {"word": "x", "dcid": str(DCID)}
    asked = ["lims", "lookup", str(DCID), "--json"]
    told = json.loads(CliRunner().invoke(cli, asked).stdout)
    known = current_deployment().history.run(run.id)["parameters"]
    assert known.keys() == {*told, "word", "guid"}
    with pytest.raises(RecipeError, match="no recipe 'ispyb-xia2-dials'"):
        submit(job=JOB)
    with pytest.raises(RecipeError, match="no recipe is named"):
        submit(dcid=DCID)


# what cannot be used


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff\xfe", "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b"[" * 100_000, "not JSON"),
        ({}, "parameters are None"),
        ({"parameters": [1]}, "parameters are"),
        ({"recipes": [3], "parameters": {}}, "not a list of names"),
        ({"recipes": ["../hello"], "parameters": {}}, "is no recipe name"),
        ({"recipes": ["/etc/passwd"], "parameters": {}}, "is no recipe name"),
        ({"recipes": ["nowhere"], "parameters": {}}, "no recipe 'nowhere'"),
        ({"recipes": ["hello"], "parameters": {}}, "'ispyb_dcid' is not given"),
        ({"custom_recipe": "x", "parameters": {}}, "not an object"),
        ({"custom_recipe": {"a": 1}, "parameters": {}}, "custom"),
        ({"parameters": {"guid": "../x"}}, "run id"),
        ({"recipes": ["hello"], "parameters": {"ispyb_dcid": 99}}, "collection 99"),
        ({"recipes": ["hello"], "parameters": {"ispyb_dcid": 0}}, "dcid = 0 is no id"),
        ({"recipes": ["hello"], "parameters": {"ispyb_dcid": 10**30}}, "is no id"),
        ({"parameters": {"ispyb_process": 99}}, "no processing job 99"),
        ({"parameters": {"word": "x"}}, "need a data collection"),
        ({"parameters": {"dispatcher_timeout": "soon"}}, "dispatcher_timeout"),
    ],
)
def test_what_cannot_be_used_becomes_a_dead_letter_with_the_reason(
    body: Any, reason: str
):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    send(raw)
    ((letter, headers),) = until(dead_letters)
    assert letter == raw
    assert reason in headers["x-z-error"]
    assert headers["x-z-queue"] == QUEUE


def test_a_dead_letter_is_reinjected_by_the_ordinary_command(serving: Path):
    word = new_word()
    send({**hello(word), "recipes": ["later"]})
    until(lambda: message_count(f"dlq.{QUEUE}") == 1)
    listed = CliRunner().invoke(cli, ["dlq", "list", "--json"])
    assert "there is no recipe 'later'" in listed.stdout
    (serving.parent / "later.json").write_text(json.dumps(RECIPE))
    again = CliRunner().invoke(cli, ["dlq", "reinject", "--queue", QUEUE])
    assert again.exit_code == 0, again.output
    assert run_of(word).result(WAIT)["word"] == word
    assert dead_letters() == []


# waiting


def set_run_status(status: str | None) -> None:
    columns = table("DataCollection")
    where = columns.c.dataCollectionId == DCID
    change = update(columns).where(where).values(runStatus=status)
    current_lims().write(lambda connection: connection.execute(change))


def waiting() -> list[dict[str, Any]]:
    result = CliRunner().invoke(cli, ["bridge", "waiting", "--json"])
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_request_waits_until_its_data_collection_has_a_run_status():
    set_run_status(None)
    word = new_word()
    for _ in range(2):
        send(hello(word, ispyb_wait_for_runstatus=True))
    (row,) = until(waiting)
    assert row["waits_for"] == "lims"
    assert message_count(QUEUE) == 0
    assert runs_with(word=word) == []
    set_run_status("DataCollection Successful")
    run = run_of(word)
    assert run.id == row["run"]
    assert run.result(WAIT)["word"] == word
    until(lambda: not waiting())
    assert len(runs_with(word=word)) == 1


def test_defect_15_the_time_to_get_ready_counts_anew_for_a_reinjected_letter():
    set_run_status(None)
    word = new_word()
    stale = {"dispatcher_timeout": 0.5, "dispatcher_expiration": 1.0}
    send(hello(word, ispyb_wait_for_runstatus=True, **stale))
    until(lambda: message_count(f"dlq.{QUEUE}") == 1)
    assert waiting() == []
    again = CliRunner().invoke(cli, ["dlq", "reinject", "--queue", QUEUE])
    assert again.exit_code == 0, again.output
    until(waiting)
    set_run_status("DataCollection Successful")
    assert run_of(word).result(WAIT)["word"] == word
    assert dead_letters() == []


@pytest.mark.parametrize("queue", ["late", "elsewhere"])
def test_what_is_never_ready_goes_to_the_clients_queue_if_that_is_allowed(queue: str):
    set_run_status(None)
    declare(queue)
    late = {"dispatcher_timeout": 0, "dispatcher_error_queue": queue}
    send(hello(new_word(), ispyb_wait_for_runstatus=True, **late))
    if queue == "late":
        until(lambda: message_count("late") == 1)
        assert dead_letters() == []
    else:
        ((_, headers),) = until(dead_letters)
        assert "not ready after 0 s" in headers["x-z-error"]
        assert message_count(queue) == 0
