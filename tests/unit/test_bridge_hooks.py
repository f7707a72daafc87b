"""Filters and hooks of facilities, called as Zocalo's dispatcher calls them."""

from importlib.metadata import EntryPoint

import pytest

from zocelery.bridge import hooks
from zocelery.bridge.hooks import FILTERS, READY_HOOKS, apply_filters, waits_for
from zocelery.errors import ParameterError

MESSAGE = {"recipes": ["theirs"]}


def install(monkeypatch: pytest.MonkeyPatch, group: str, **found: str) -> None:
    entries = [
        EntryPoint(name, f"tests.unit.facility_hooks:{function}", group)
        for name, function in found.items()
    ]

    def _entry_points(group: str) -> list[EntryPoint]:
        return [entry for entry in entries if entry.group == group]

    monkeypatch.setattr(hooks, "entry_points", _entry_points)


def test_a_filter_changes_message_and_parameters(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, FILTERS, i99="add_beamline")
    told = apply_filters(MESSAGE, {"word": "x"})
    assert told == ({"recipes": ["ours"]}, {"word": "x", "beamline": "i99"})
    assert MESSAGE == {"recipes": ["theirs"]}


def test_a_filter_that_answers_nothing_is_named(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, FILTERS, i98="says_nothing")
    given = {"word": "x"}
    with pytest.raises(ParameterError, match=r"filter 'i98' of zocelery\.bridge"):
        apply_filters(MESSAGE, given)
    assert given == {"word": "x"}


def test_a_request_waits_for_the_first_hook_that_says_no(
    monkeypatch: pytest.MonkeyPatch,
):
    install(monkeypatch, READY_HOOKS, z="never", b="never")
    assert waits_for(MESSAGE, {"word": "x"}) == "b"
    assert waits_for({**MESSAGE, "ready": True}, {"word": "x"}) is None


def test_without_hooks_and_ids_nothing_is_changed_nor_waited_for():
    assert apply_filters(MESSAGE, {"word": "x"}) == (MESSAGE, {"word": "x"})
    assert waits_for(MESSAGE, {}) is None
