"""Hit rates of serial crystallography, from what each image gave."""

from typing import Any

import pytest

from zocelery.errors import PermanentError
from zocelery.messages import Member
from zocelery.records import SHED
from zocelery_tasks.hit_rates import (
    HitParameters,
    describe,
    in_words,
    is_hit,
    summarise,
)


def member(item: int, spots: int | None, **more: Any) -> Member:
    value = {"n_spots_total": spots, **more}
    if spots is None:
        return Member(str(item), "watch/every", ok=False, error=more["error"])
    return Member(str(item), "watch/every", ok=True, value=value)


@pytest.mark.parametrize(("spots", "hit"), [(0, False), (14, False), (15, True)])
def test_an_image_with_enough_spots_is_a_hit(spots: int, hit: bool):
    assert is_hit({"n_spots_total": spots}, HitParameters()) is hit


def test_another_count_may_tell_hits():
    given = HitParameters(least_spots=2, spots="n_spots_no_ice")
    assert is_hit({"n_spots_total": 0, "n_spots_no_ice": 2}, given)


@pytest.mark.parametrize("value", [None, {}, {"n_spots_total": "many"}])
def test_what_has_no_count_is_no_image(value: Any):
    with pytest.raises(PermanentError, match="no number 'n_spots_total'"):
        is_hit(value, HitParameters())


def test_dropped_images_are_counted_and_unreadable_ones_named():
    members = [
        member(1, 20, n_lattices=1),
        member(2, 3),
        member(3, None, error=SHED),
        member(4, None, error="x_4.cbf: truncated"),
        member(5, 15),
        member(6, 0),
    ]
    report = summarise(members, HitParameters())
    assert report.pop("time")
    assert report == {
        "images": 4,
        "hits": 2,
        "indexed": 1,
        "hit_rate": 50.0,
        "shed": 1,
        "failed": [{"item": "4", "error": "x_4.cbf: truncated"}],
    }
    assert in_words(report) == (
        "2 hits in 4 images (50.0 %), 1 indexed, 1 images not analysed, 1 not readable"
    )


def test_nothing_analysed_is_a_rate_of_nothing():
    assert describe(0, 0)["hit_rate"] == 0.0
    assert in_words(describe(3, 1)) == "1 hits in 3 images (33.3 %)"
