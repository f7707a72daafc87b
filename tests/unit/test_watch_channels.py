"""Which image is told of on which channel."""

import re

import pytest

from zocelery.errors import ParameterError
from zocelery_tasks.watch_channels import (
    ONCE_CHANNELS,
    STREAM_CHANNELS,
    WatchChannels,
    is_selected,
)


def selected(count: int, total: int) -> list[int]:
    return [n for n in range(1, total + 1) if is_selected(n, count, total)]


def told(names: set[str], number: int, total: int | None) -> set[str]:
    channels = WatchChannels.parse(names)
    return {each.channel for each in channels.tell(number, total)}


def test_a_selection_is_spread_evenly_and_ends_with_the_last() -> None:
    assert selected(3, 10) == [1, 6, 10]
    assert selected(2, 10) == [1, 10]
    of_a_scan = selected(250, 3600)
    assert len(of_a_scan) == 250
    assert of_a_scan[:3] == [1, 15, 29]
    assert of_a_scan[-1] == 3600


def test_a_selection_of_more_than_there_are_is_all() -> None:
    assert selected(10, 4) == [1, 2, 3, 4]


@pytest.mark.parametrize("total", [1, 2, 7])
def test_a_selection_of_one_is_the_last(total: int) -> None:
    assert selected(1, total) == [total]


def test_every_image_is_told_of_on_the_channels_that_want_it() -> None:
    names = {"first", "last", "every", "every-3", "select-2", "2", "finally", "other"}
    assert told(names, 1, 7) == {"first", "every", "every-3", "select-2"}
    assert told(names, 2, 7) == {"2", "every"}
    assert told(names, 4, 7) == {"every", "every-3"}
    assert told(names, 7, 7) == {"last", "every", "every-3", "select-2"}


def test_what_depends_on_the_total_is_told_when_it_is_known() -> None:
    names = {"every", "select-1", "last"}
    assert told(names, 7, None) == {"every"}
    late = WatchChannels.parse(names).tell_late(7, 7)
    assert {each.channel for each in late} == {"select-1", "last"}


def test_channels_that_nobody_hears_are_silent() -> None:
    assert told(set(), 1, 1) == set()


@pytest.mark.parametrize("name", ["every-0", "select-0"])
def test_a_channel_for_none_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match=name):
        WatchChannels.parse([name])


def test_every_channel_is_either_for_once_or_a_stream() -> None:
    names = ["first", "last", "17", "any", "timeout", "finally", "error"]
    names += ["every", "every-2", "select-250"]
    for name in names:
        once = any(re.fullmatch(pattern, name) for pattern in ONCE_CHANNELS)
        stream = any(re.fullmatch(pattern, name) for pattern in STREAM_CHANNELS)
        assert once != stream, name
