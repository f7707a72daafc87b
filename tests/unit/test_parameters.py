import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.recipe_examples import named
from zocelery.errors import ParameterError
from zocelery.parameters import (
    fill_in,
    find_placeholders,
    parse_assignments,
    unused_parameters,
    with_defaults,
)
from zocelery.recipe_format import dump_recipe, parse_recipe

VALUES = {
    "x": 1,
    "n": 7,
    "f": 1.23456,
    "a": "A",
    "d": {"key": {"sub": 5}, "l": [1, 2], "a b": 1},
    "l": [10, 20],
    "none": None,
    "k-1": "dash",
}

# What python-workflows 3.3 makes of the text with VALUES.
AS_IN_ZOCALO = [
    ("{x}", "1"),
    ("{x} of {n}", "1 of 7"),
    ("{d[key][sub]}", "5"),
    ("{d[l][1]}", "2"),
    ("{d[a b]}", "1"),
    ("{l[1]}", "20"),
    ("{d[key]}", "{'sub': 5}"),
    ("{l}", "[10, 20]"),
    ("{none}", "None"),
    ("{k-1}", "dash"),
    ("{n:03d}", "007"),
    ("{f:.2f}", "1.23"),
    ("{x:{n}}", "      1"),
    ("{a!r}", "'A'"),
    ("{{a}}", "{a}"),
    ("{{{x}}}", "{1}"),
    ("{{unknown}}", "{unknown}"),
    ("${HOME}", "${HOME}"),
    ("${x}", "$1"),
    ("$HOME {x}", "$HOME 1"),
    ("%05d", "%05d"),
    ("plain", "plain"),
    ("$REPLACE:x", "$REPLACE:x"),
    ("{$REPLACE:d}", VALUES["d"]),
    ("{$REPLACE:d[key]}", {"sub": 5}),
    ("{$REPLACE:d[key][sub]}", 5),
    ("{$REPLACE:l[0]}", 10),
    ("{$REPLACE:none}", None),
]

# What it leaves as it is, or makes None of, where a name is not known.
UNFILLED_IN_ZOCALO = [
    ("{unknown}", "{unknown}"),
    ("{unknown} {x}", "{unknown} 1"),
    ("{unknown[x]}", "{unknown[x]}"),
    ("{unknown!r}", "{unknown}"),
    (r"\d{3,5}", r"\d{3,5}"),
    ('{"a"}', '{"a"}'),
    ("{ x }", "{ x }"),
    ("{$REPLACE:unknown}", None),
    ("{$REPLACE:d[unknown]}", None),
]

# What raises IndexError, KeyError, TypeError, AttributeError or ValueError there.
CRASHES_IN_ZOCALO = [
    ("{}", "{} does not name a parameter"),
    ("{0}", "{0} does not name a parameter"),
    (r"\d{3}", "{3} does not name a parameter"),
    ('{"a": 1}', '{"a"} does not name a parameter'),
    ("{x.y}", "{x.y} is not a placeholder"),
    ("{unknown.y}", "{unknown.y} is not a placeholder"),
    ("{unknown:03d}", "parameter 'unknown' is not given"),
    ("{d[zz]}", "parameter 'd' has no part [zz] (it has key, l, a b)"),
    ("{l[5]}", "parameter 'l' has no part [5] (it is [10, 20])"),
    ("{l[x]}", "parameter 'l' has no part [x]"),
    ("{x[0]}", "parameter 'x' has no part [0] (it is 1)"),
    ("{a:d}", "the value 'A' cannot be written so"),
    ("{none:5}", "the value None cannot be written so"),
    ("{a!x}", "the value 'A' cannot be written so"),
    ("{", "write {{ and }} for literal braces"),
    ("}", "write {{ and }} for literal braces"),
    ("a{b", "write {{ and }} for literal braces"),
    ("{x}}", "write {{ and }} for literal braces"),
    ("{d[]}", "{d[]} is not a placeholder"),
    ("{d[key]sub}", "{d[key]sub} is not a placeholder"),
    ("see {$REPLACE:x}", "{$REPLACE:name} must be the whole text"),
    ("{$REPLACE:}", "{} does not name a parameter"),
]


@pytest.mark.parametrize(("text", "expected"), AS_IN_ZOCALO)
@pytest.mark.parametrize("allow_unfilled", [True, False])
def test_good_texts_are_filled_in_as_by_zocalo(
    text: str, expected: Any, allow_unfilled: bool
) -> None:
    assert fill_in(text, VALUES, allow_unfilled=allow_unfilled) == expected


@pytest.mark.parametrize(("text", "expected"), UNFILLED_IN_ZOCALO)
def test_unknown_names_are_left_in_place_only_if_allowed(
    text: str, expected: Any
) -> None:
    assert fill_in(text, VALUES, allow_unfilled=True) == expected
    with pytest.raises(ParameterError):
        fill_in(text, VALUES)


@pytest.mark.parametrize(("text", "reason"), CRASHES_IN_ZOCALO)
@pytest.mark.parametrize("allow_unfilled", [True, False])
def test_bad_texts_are_clear_errors(
    text: str, reason: str, allow_unfilled: bool
) -> None:
    with pytest.raises(ParameterError) as caught:
        fill_in(text, VALUES, allow_unfilled=allow_unfilled)
    assert reason in str(caught.value)
    assert repr(text) in str(caught.value)


def test_attributes_are_never_read() -> None:
    with pytest.raises(ParameterError, match="is not a placeholder"):
        fill_in("{x.__class__}", VALUES)


def test_a_format_cannot_fill_the_memory() -> None:
    with pytest.raises(ParameterError, match="too wide"):
        fill_in("{x:>999999999999}", VALUES)


@given(st.text(alphabet="{}[]$:!.x0 R", max_size=12))
@settings(max_examples=150, deadline=None)
def test_no_text_raises_anything_but_a_parameter_error(text: str) -> None:
    try:
        filled = fill_in(text, {"x": {"x": 1}, "R": [1]})
    except ParameterError:
        return
    if "{" not in text and "}" not in text:
        assert filled == text


def test_keys_lists_and_tuples_are_filled_in() -> None:
    value = {"{a}": ["{x}", {"{x}": "{a}"}, 3, None, ("{n}",)], "{$REPLACE:n}": True}
    filled = {"A": ["1", {"1": "A"}, 3, None, ("7",)], "7": True}
    assert fill_in(value, VALUES) == filled


def test_a_key_cannot_become_a_structure() -> None:
    with pytest.raises(ParameterError, match="a key must become a text"):
        fill_in({"{$REPLACE:d}": 1}, VALUES)


def test_a_replaced_structure_is_a_copy() -> None:
    filled = fill_in({"a": "{$REPLACE:l}"}, VALUES)
    filled["a"].append(30)  # type: ignore[attr-defined]  # it is a list now
    assert VALUES["l"] == [10, 20]


def test_a_recipe_is_filled_in_everywhere() -> None:
    recipe = parse_recipe(
        {
            "1": {
                "queue": "{q}",
                "service": "for {q}",
                "parameters": {"p-{q}": ["{$REPLACE:d}"]},
                "job_parameters": {"nproc": "{n}"},
                "gridinfo": "{$REPLACE:d}",
                "wrapper": {"task_information": "{q}"},
                "output": {"select-{n}": 2},
            },
            "2": {},
            "start": [[1, {"first": "{n}"}]],
        }
    )
    before = dump_recipe(recipe)
    filled = dump_recipe(fill_in(recipe, {"q": "Q", "n": 5, "d": {"steps": 3}}))
    assert filled == {
        "1": {
            "queue": "Q",
            "service": "for Q",
            "parameters": {"p-Q": [{"steps": 3}]},
            "job_parameters": {"nproc": "5"},
            "gridinfo": {"steps": 3},
            "wrapper": {"task_information": "Q"},
            "output": {"select-5": 2},
        },
        "2": {},
        "start": [[1, {"first": "5"}]],
    }
    assert dump_recipe(recipe) == before


def test_descriptions_are_left_alone() -> None:
    recipe = named({"a": {"task": "echo", "description": "write {} or {x}"}})
    assert fill_in(recipe, {}).nodes["a"].description == "write {} or {x}"


def test_the_place_of_a_bad_text_is_named() -> None:
    recipe = named({"a": {"parameters": {"list": [1, {"deep": "{x.y}"}]}}}, name="scan")
    with pytest.raises(ParameterError) as caught:
        fill_in(recipe, {"x": 1})
    place = "recipe 'scan', node 'a', parameters.list[1].deep: '{x.y}': "
    assert str(caught.value).startswith(place)


def test_a_missing_parameter_is_explained() -> None:
    recipe = named(
        {"a": {"parameters": {"file": "{images}"}}},
        parameters={"images": {"description": "which images"}},
    )
    with pytest.raises(ParameterError) as caught:
        fill_in(recipe, {})
    assert str(caught.value) == (
        "recipe 'recipe': parameter 'images' is not given "
        "(node 'a', parameters.file): which images"
    )


def test_all_missing_parameters_are_listed() -> None:
    recipe = named({"a": {"queue": "{q}", "parameters": {"x": "{x[y]} {z} ${HOME}"}}})
    with pytest.raises(ParameterError) as caught:
        fill_in(recipe, {"z": 1})
    assert str(caught.value).split("\n  ") == [
        "recipe 'recipe': 2 parameters are not given",
        "parameter 'q' is not given (node 'a', queue)",
        "parameter 'x' is not given (node 'a', parameters.x)",
    ]


def test_defaults_hold_where_nothing_is_given() -> None:
    recipe = named(
        {"a": {"parameters": {"d_min": "{$REPLACE:d_min}", "n": "{n}"}}},
        parameters={"d_min": {"default": None}, "n": 3},
    )
    assert fill_in(recipe, {}).nodes["a"].parameters == {"d_min": None, "n": "3"}
    assert fill_in(recipe, {"d_min": 2}).nodes["a"].parameters["d_min"] == 2


def test_a_default_may_use_what_the_lims_gives() -> None:
    recipe = named(
        {"a": {}},
        parameters={
            "images": "{ispyb_image_pattern}:{ispyb_image_first}:9",
            "grid": "{$REPLACE:ispyb_dc_info[gridinfo]}",
        },
    )
    assert with_defaults(recipe, {}) == {"grid": None}
    lims = {"ispyb_image_pattern": "x_%05d.cbf", "ispyb_image_first": 1}
    assert with_defaults(recipe, lims)["images"] == "x_%05d.cbf:1:9"
    info = {"ispyb_dc_info": {"gridinfo": {"steps_x": 3}}}
    assert with_defaults(recipe, info)["grid"] == {"steps_x": 3}


def test_a_default_that_lacks_something_counts_as_not_given() -> None:
    recipe = named({"a": {"queue": "{images}"}}, parameters={"images": "{unknown}"})
    with pytest.raises(ParameterError, match="'images' is not given"):
        fill_in(recipe, {})


def test_placeholders_are_found_with_their_places() -> None:
    recipe = named(
        {
            "a": {"queue": "{q}", "parameters": {"{k}": ["{q:>{width}}"]}},
            "b": {"task": "echo ${HOME}", "output": {"select-{n}": "a"}},
        },
        start=[["a", "{$REPLACE:payload[x]}"]],
    )
    assert find_placeholders(recipe) == {
        "payload": ("start at 'a', payload",),
        "q": ("node 'a', queue", "node 'a', parameters.{k}[0]"),
        "k": ("node 'a', parameters.{k}",),
        "width": ("node 'a', parameters.{k}[0]",),
        "n": ("node 'b', output",),
    }


def test_a_bad_default_is_found_too() -> None:
    recipe = named({"a": {}}, parameters={"x": "{}"})
    with pytest.raises(ParameterError, match=r"default of 'x': '{}'"):
        find_placeholders(recipe)


def test_a_misspelt_parameter_is_noticed() -> None:
    recipe = named(
        {"a": {"queue": "{images}"}}, parameters={"x": "{ispyb_dcid}", "images": "y"}
    )
    given = ("imgaes", "images", "x", "ispyb_dcid", "zzz")
    assert unused_parameters(recipe, given) == {"imgaes": "images", "zzz": ""}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("19x1", "19x1"),
        ("/path/x_%05d.cbf:1:19", "/path/x_%05d.cbf:1:19"),
        ("5", 5),
        ("007", "007"),
        ("true", True),
        ("null", None),
        ('"5"', "5"),
        ('{"steps_x": 3}', {"steps_x": 3}),
        ("{not json}", "{not json}"),
        ("NaN", "NaN"),
        ("", ""),
        ("a=b", "a=b"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_an_assigned_value_is_json_if_it_parses(text: str, value: Any) -> None:
    assert parse_assignments([f"key={text}"]) == {"key": value}


def test_the_last_assignment_counts() -> None:
    assert parse_assignments(["a=1", "b=2", "a=3"]) == {"a": 3, "b": 2}


@pytest.mark.parametrize("text", ["images", "=5", " =5", ""])
def test_an_assignment_without_key_or_sign_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="KEY=VALUE"):
        parse_assignments([text])


def test_a_structure_too_deep_to_copy_is_refused() -> None:
    deep: Any = json.loads("[" * 900 + "]" * 900)
    with pytest.raises(ParameterError, match="nested too deeply"):
        fill_in("{$REPLACE:deep}", {"deep": deep})
