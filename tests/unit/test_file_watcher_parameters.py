"""What a file watcher is told, as recipes write it."""

from typing import Any

import pytest

from zocelery.errors import ParameterError
from zocelery_tasks.file_watcher_parameters import FileWatcherParameters, as_template
from zocelery_tasks.watch_targets import (
    Hdf5Target,
    ListTarget,
    PatternTarget,
    choose_target,
)


def target(**parameters: Any) -> object:
    return choose_target(FileWatcherParameters.parse(parameters))


def test_a_recipes_spellings_are_read_with_numbers_as_text() -> None:
    parameters = FileWatcherParameters.parse(
        {
            "pattern": "/x_%05d.cbf",
            "pattern-start": "2",
            "pattern-end": "19",
            "burst-limit": "40",
            "timeout": 120,
            "timeout-first": "3600",
            "expected-per-image-delay": "0.1",
            "log-timeout-as-info": "true",
            "hdf5": "{ispyb_hdf5}",
            "list": None,
            "something": "of another service",
        }
    )
    assert parameters.burst_limit == 40
    assert parameters.timeout_first == 3600
    assert parameters.expected_per_image_delay == 0.1
    assert parameters.log_timeout_as_info is True
    assert choose_target(parameters) == PatternTarget("/x_%05d.cbf", 2, 19)


def test_a_delay_that_is_no_number_is_as_good_as_none() -> None:
    parameters = FileWatcherParameters.parse(
        {"hdf5": "/x.nxs", "expected-per-image-delay": "unknown"}
    )
    assert parameters.expected_per_image_delay is None


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ("/d/x_%05d.cbf:1:19", PatternTarget("/d/x_%05d.cbf", 1, 19)),
        ("/d/x_####.cbf.bz2:0:9", PatternTarget("/d/x_%04d.cbf.bz2", 0, 9)),
        ("/d/100%/x_##.cbf:1:2", PatternTarget("/d/100%%/x_%02d.cbf", 1, 2)),
        ("/d/one.cbf", PatternTarget("/d/one.cbf", 1, 1)),
        ("/d/x_master.h5", Hdf5Target("/d/x_master.h5")),
        ("/d/x.nxs:5:10", Hdf5Target("/d/x.nxs", 5, 10)),
        ("/d/a:b/x.nxs", Hdf5Target("/d/a:b/x.nxs")),
    ],
)
def test_images_are_named_in_one_parameter(images: str, expected: object) -> None:
    assert target(images=images) == expected


def test_files_may_be_listed() -> None:
    assert target(list=["/a", None]) == ListTarget(("/a", None))
    assert target(list='["/a", "/b"]') == ListTarget(("/a", "/b"))


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "one of pattern, list, hdf5 and images is needed, not none"),
        ({"hdf5": "/x.nxs", "list": ["/a"]}, "not list and hdf5"),
        ({"pattern": "/x_%d.cbf"}, "pattern-start"),
        ({"pattern": "/x.cbf", "pattern-start": 1, "pattern-end": 2}, "one number"),
        ({"pattern": "/%d_%d", "pattern-start": 1, "pattern-end": 2}, "one number"),
        ({"pattern": "/x_%d", "pattern-start": 3, "pattern-end": 2}, "not after"),
        ({"images": "/x_%d.cbf"}, "/x_%d.cbf:FIRST:LAST"),
        ({"images": "/x.nxs:0:3"}, "1 at least"),
        ({"hdf5": "/x.nxs", "timeout": "soon"}, "timeout 'soon'"),
        ({"hdf5": "/x.nxs", "burst-limit": 0}, "burst-limit 0"),
    ],
)
def test_what_cannot_be_watched_for_is_refused_in_one_line(
    parameters: dict[str, Any], told: str
) -> None:
    with pytest.raises(ParameterError) as refusal:
        FileWatcherParameters.parse(parameters)
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_last_run_of_hashes_is_the_number() -> None:
    assert as_template("/#1/x_###.cbf") % 7 == "/#1/x_007.cbf"
