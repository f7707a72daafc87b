"""Several data sets in one: which they are, and how missing ones are waited for."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.benches import settings
from zocelery.desk import NoDesk
from zocelery.errors import NotYetError, PermanentError
from zocelery.messages import Member, Step
from zocelery_tasks.wrappers.base import Bench
from zocelery_tasks.wrappers.xia2_multiplex import (
    MultiplexParameters,
    collections,
    present_files,
)


def pair(name: str) -> dict[str, str]:
    return {"experiments": f"/d/{name}.expt", "reflections": f"/d/{name}.refl"}


def bench(folder: Path, step: Step, **parameters: Any) -> Bench:
    given = MultiplexParameters.model_validate(parameters)
    return Bench(step, NoDesk(settings(folder)), given, "multiplex")


def names(found: Any) -> list[str]:
    return [Path(c.experiments).stem for c in found]


def test_data_sets_come_from_members_payload_and_parameters(tmp_path: Path) -> None:
    members = [
        Member("1", "x", True, pair("a")),
        Member("2", "x", False, None, "no crystal"),
        Member("3", "x", True, [pair("b"), pair("a")]),
    ]
    gathered = bench(tmp_path, Step(members=members), data=[pair("c")])
    assert names(collections(gathered)) == ["c", "a", "b"]
    collected = Step(payload={"members": [pair("d"), {"other": 1}]})
    assert names(collections(bench(tmp_path, collected))) == ["d"]
    with pytest.raises(PermanentError, match="1 data sets are known, 2 are needed"):
        collections(bench(tmp_path, Step(payload=pair("a")), least=2))


def test_missing_data_sets_are_waited_for_with_growing_pauses(tmp_path: Path) -> None:
    given = MultiplexParameters.model_validate(
        {"data": [pair("gone")], "wait": 100, "least": 1}
    )
    pauses = []
    for number in (1, 2, 3):
        with pytest.raises((NotYetError, PermanentError)) as raised:
            present_files(given.data, given, number)
        pauses.append(getattr(raised.value, "pause", None))
    assert pauses == [30, 60, 10]
    with pytest.raises(PermanentError, match="0 of 1 data sets are there"):
        present_files(given.data, given, 4)


def test_after_the_wait_it_goes_on_with_what_is_there(tmp_path: Path) -> None:
    there = {kind: str(tmp_path / kind) for kind in ("experiments", "reflections")}
    for file in there.values():
        Path(file).touch()
    given = MultiplexParameters.model_validate({"data": [there, pair("gone")]})
    assert [str(f) for f in present_files(given.data, given, 1)] == list(there.values())
