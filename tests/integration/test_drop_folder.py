"""A request that was made while the broker was away is sent later, once."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from zocelery import servers
from zocelery.deployment import current_deployment
from zocelery.drop_folder import PickedUp, StoredRequest, pick_up, store_request
from zocelery.errors import InputFileError
from zocelery.recipe_format import parse_recipe
from zocelery.submission import open_run

WAIT = 60
DOCUMENT = {
    "nodes": {"a": {"task": "echo", "parameters": {"word": "{word}"}}},
    "start": "a",
}
RECIPE = parse_recipe(DOCUMENT, name="words")


def zocelery(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "zocelery", *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT,
        env={**os.environ, **variables},
        check=False,
    )


def submit_without_broker(tmp_path: Path, *options: str, **variables: str) -> Any:
    recipe = tmp_path / "words.json"
    recipe.write_text(json.dumps(DOCUMENT))
    return zocelery(
        *("submit", str(recipe), "-p", "word=hello", *options),
        ZOCELERY_BROKER_URL=f"amqp://127.0.0.1:{servers.free_port()}//",
        ZOCELERY_BROKER_CONNECT_TIMEOUT="0.5",
        **variables,
    )


def tries(run: str) -> int:
    return len(current_deployment().history.run_tries(run))


def test_without_a_drop_folder_nothing_is_started_and_exit_is_2(tmp_path):
    done = submit_without_broker(tmp_path)
    assert done.returncode == 2
    assert "cannot reach RabbitMQ" in done.stderr
    assert done.stdout == ""


@pytest.mark.usefixtures("workers")
def test_a_request_is_stored_and_sent_once_the_broker_is_back(tmp_path):
    folder = tmp_path / "drop"
    place = {"ZOCELERY_RUN_DROP_FOLDER": str(folder)}
    done = submit_without_broker(tmp_path, "--json", **place)
    assert done.returncode == 0
    assert "stored" in done.stderr
    told = json.loads(done.stdout)
    assert told["event"] == "stored"
    assert [str(file) for file in folder.iterdir()] == [told["file"]]
    for sent in (1, 0):
        picked = zocelery("pickup", "--json", **place)
        assert picked.returncode == 0, picked.stderr
        events = [json.loads(line) for line in picked.stdout.splitlines()]
        assert [(e["event"], e["run"]) for e in events] == [("sent", told["run"])][
            :sent
        ]
    assert open_run(told["run"]).result(WAIT) == {"word": "hello"}
    assert list(folder.iterdir()) == []
    assert tries(told["run"]) == 1


def test_who_waits_for_what_was_only_stored_is_told_so(tmp_path):
    place = {"ZOCELERY_RUN_DROP_FOLDER": str(tmp_path / "drop")}
    for option in ("--wait", "--follow"):
        done = submit_without_broker(tmp_path, option, "--deadline", "7", **place)
        assert done.returncode == 3
        assert "'zocelery pickup' sends it later" in done.stderr
    for file in (tmp_path / "drop").iterdir():
        assert StoredRequest.model_validate_json(file.read_text()).deadline == 7


@pytest.mark.usefixtures("workers")
def test_two_pickups_at_once_send_each_request_once(tmp_path):
    runs = {f"at-once-{os.getpid()}-{number}" for number in range(20)}
    for run in sorted(runs):
        store_request(tmp_path, RECIPE, {"word": run}, run)
    found: list[PickedUp] = []
    threads = [
        threading.Thread(target=lambda: found.extend(pick_up(tmp_path)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(f.run) for f in found) == sorted(runs)
    for run in runs:
        assert open_run(run).result(WAIT) == {"word": run}
        assert tries(run) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from zocelery import drop_folder
Path.unlink = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
list(drop_folder.pick_up(Path(sys.argv[1])))
"""


@pytest.mark.usefixtures("workers")
def test_a_pickup_that_is_killed_after_sending_doubles_nothing(tmp_path):
    run = f"killed-{os.getpid()}"
    store_request(tmp_path, RECIPE, {"word": "x"}, run)
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert killed.returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    open_run(run).wait(WAIT)
    current_deployment().store.forget_run(run)  # as after a day
    assert [found.event for found in pick_up(tmp_path)] == ["sent"]
    assert open_run(run).results() == {"a": {"word": "x"}}
    assert tries(run) == 1


@pytest.mark.usefixtures("workers")
def test_what_can_never_be_sent_is_moved_aside_with_the_reason(tmp_path):
    (tmp_path / "1.json").write_text("no JSON")
    (tmp_path / "2.json").write_text("[" * 100_000)
    (tmp_path / "3.json").write_text('{"version": 1}')
    (tmp_path / "4.json").write_text('{"version": 2, "more": []}')
    store_request(tmp_path, RECIPE, {}, "no-word")
    found = list(pick_up(tmp_path))
    events = sorted((f.event, f.file.name[:1]) for f in found)
    assert events == [
        ("left", "4"),
        ("refused", "0"),
        ("refused", "1"),
        ("refused", "2"),
        ("refused", "3"),
    ]
    reasons = sorted(p.read_text() for p in tmp_path.glob("refused/*.reason.txt"))
    assert len(reasons) == 4
    assert any("parameter 'word' is not given" in reason for reason in reasons)
    assert [f.event for f in pick_up(tmp_path)] == ["left"]


@pytest.mark.usefixtures("workers")
def test_a_request_that_is_half_written_is_not_taken(tmp_path):
    (tmp_path / ".0-x.json.77").write_text('{"version": 1,')
    assert list(pick_up(tmp_path)) == []
    os.utime(tmp_path / ".0-x.json.77", (0, 0))
    assert list(pick_up(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_drop_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputFileError, match=r"drop folder .*file"):
        store_request(tmp_path / "file", RECIPE, {}, "x")
    with pytest.raises(InputFileError, match="cannot be read"):
        list(pick_up(tmp_path / "nowhere"))
