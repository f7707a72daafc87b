"""Whatever stands in a recipe or parameter: it works, or a UserError says why not."""

import copy
import json
import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zocelery.canvas_text import describe_canvas
from zocelery.catalogue import Catalogue
from zocelery.errors import ParameterError, RecipeError, UserError
from zocelery.parameters import fill_in, find_placeholders, parse_assignments
from zocelery.plan import Plan
from zocelery.recipe import Recipe
from zocelery.recipe_checks import check_recipe
from zocelery.recipe_drawing import draw_mermaid, draw_text
from zocelery.recipe_format import dump_recipe, parse_recipe
from zocelery.registry import load_catalogue, load_tasks
from zocelery.resources import resource_dir
from zocelery.settings import QueueSettings
from zocelery.submission import prepare
from zocelery_tasks.lenient_values import from_text

load_tasks()
CATALOGUE: Catalogue = load_catalogue(QueueSettings(tasks={}, foreign=()))
BUNDLED = [
    json.loads(file.read_text())
    for file in sorted(resource_dir("recipes").glob("*.json"))
]
ECHO = {"task": "echo"}
LONGEST_MESSAGE = 40_000
NASTY = [
    *("", "\0", "\n", "\x1b[2J", "\ud800", "../../etc/passwd", "x" * 10_000, "{", "{x"),
    *(
        "{x!z}",
        "{x:{x:{x}}}",
        "{$REPLACE:x}",
        "{x[0]}",
        "{x:99999999d}",
        "{0}",
        "{x:c}",
    ),
    *(None, True, False, 0, -1, 10**400, 2**63, 1e308, float("nan"), float("inf")),
    *([], {}, [[]], {"": {}}, [[["a"]]], {"a": "a"}),
]
TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
VALUES = st.recursive(
    st.sampled_from(NASTY) | st.integers() | st.floats() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
    ),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        "task",
        "output",
        "foreach",
        "gather",
        "parameters",
        "start",
        "error",
        "nodes",
        "1",
    ]
)
THOROUGH = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def use(document: Any, parameters: dict[str, Any] | None = None) -> str:
    """Do all that is done with a recipe; return what a person is told if it fails."""
    try:
        recipe = parse_recipe(document)
        find_placeholders(recipe)
        check_recipe(recipe)
        draw(fill_in(recipe, parameters or {}, allow_unfilled=True))
        check_recipe(recipe, CATALOGUE)
        prepare(recipe, parameters or {}, CATALOGUE)
    except UserError as error:
        said = str(error)
    else:
        return ""
    assert 0 < len(said) < LONGEST_MESSAGE
    return said


def draw(recipe: Recipe) -> None:
    assert parse_recipe(dump_recipe(recipe), name=recipe.name) is not None
    draw_text(recipe, CATALOGUE)
    draw_mermaid(recipe, CATALOGUE)
    Plan(recipe, CATALOGUE)
    describe_canvas(recipe, CATALOGUE)


@THOROUGH
@given(VALUES)
def test_any_json_is_a_recipe_or_refused(value: Any) -> None:
    document = value if isinstance(value, dict) else {"nodes": value, "start": "a"}
    use(document)
    use(json.dumps(value))


@THOROUGH
@given(st.binary(max_size=60) | st.text(string.printable, max_size=60))
def test_any_bytes_are_a_recipe_or_refused(content: bytes | str) -> None:
    assert use(content)


@THOROUGH
@given(st.data())
def test_a_bundled_recipe_with_something_changed_is_used_or_refused(
    data: st.DataObject,
) -> None:
    document = json.loads(json.dumps(data.draw(st.sampled_from(BUNDLED))))
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(document, data)
    use(document, {"images": "/nowhere/x_%05d.cbf:1:3", "grid": "3x1"})


def mutate(document: Any, data: st.DataObject) -> None:
    """Change, add or take away something at a random place."""
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or data.draw(st.booleans()):
            break
        place = inner
    how = data.draw(st.sampled_from(["change", "add", "remove", "copy"]))
    if how == "remove":
        del place[key]
    elif how == "change":
        place[key] = copy.deepcopy(data.draw(VALUES))
    elif how == "add" and isinstance(place, dict):
        place[data.draw(TEXTS | KEYS)] = copy.deepcopy(data.draw(VALUES))
    elif isinstance(place, dict):
        place[data.draw(TEXTS | KEYS)] = copy.deepcopy(place[key])


@THOROUGH
@given(VALUES, st.sampled_from([n for n in NASTY if isinstance(n, str)]))
def test_any_parameter_fills_a_recipe_or_is_refused(value: Any, text: str) -> None:
    node = {
        **ECHO,
        "parameters": {"a": "{x}", "b": "{$REPLACE:x}", "c": text, "{x}": 1},
    }
    use({"nodes": {"a": node}, "start": "a"}, {"x": value})


@THOROUGH
@given(TEXTS | st.sampled_from(["[" * 100_000, "1e999", "NaN", "9" * 5000, "\udcff"]))
def test_any_assignment_is_read_or_refused(text: str) -> None:
    try:
        found = parse_assignments([f"x={text}"])
    except ParameterError as error:
        said = str(error)
    else:
        json.dumps(found, allow_nan=False).encode()
        return
    assert said.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 50_000 + "]" * 50_000,
        "[" + "-" * 100_000 + "1]",
        "{[]}",
        "{{}}",
        "{1:{}:2}",
        "(" * 300 + ")" * 300,
    ],
)
def test_a_text_that_holds_no_list_stays_a_text(text: str) -> None:
    assert from_text(text) in (text, ())


def chain(count: int) -> dict[str, Any]:
    nodes = {f"n{i}": {**ECHO, "output": f"n{i + 1}"} for i in range(count - 1)}
    return {"nodes": {**nodes, f"n{count - 1}": ECHO}, "start": "n0"}


def ladder(task: str, channel: str, length: int) -> dict[str, Any]:
    """Return pairs of nodes, each of which feeds both of the next pair."""
    nodes: dict[str, Any] = {f"{side}{length}": ECHO for side in "ab"}
    for number in range(length):
        for side in "ab":
            targets = [f"{other}{number + 1}" for other in "ab"]
            nodes[f"{side}{number}"] = {"task": task, "output": {channel: targets}}
    return {"nodes": nodes, "start": ["a0", "b0"]}


def gathers(count: int) -> dict[str, Any]:
    names = [f"g{i}" for i in range(count)]
    nodes = {name: {"task": "collect"} for name in names}
    return {"nodes": {"a": {**ECHO, "output": names}, **nodes}, "start": "a"}


HUGE: dict[str, tuple[Any, str]] = {
    "deep objects": ('{"a":' * 100_000, "levels deep"),
    "deep lists": ("[" * 100_000 + "]" * 100_000, "levels deep"),
    "a key twice among many": (
        '{"nodes": {' + ",".join(f'"a{i}": {{}}' for i in range(9000)) + ', "a0": {}}}',
        "stands twice",
    ),
    "many faults": (
        {"nodes": {f"a{i}": {"tusk": 1, "task": 3} for i in range(5000)}, "start": "a"},
        "and 970 more",
    ),
    "many bad names": (
        {"nodes": {f"a {i}": ECHO for i in range(5000)}, "start": "a"},
        "and 970 more",
    ),
    "many lost targets": (
        {
            "nodes": {f"abcd{i}": {**ECHO, "output": f"abcz{i}"} for i in range(3000)},
            "start": "abcd0",
        },
        "and 970 more",
    ),
    "many nodes": (chain(10_001), "10001 nodes"),
    "a long chain": (chain(2000), ""),
    "long names": ({"nodes": {"a": {"task": "e" * 3_000_000}}, "start": "a"}, "known"),
    "fan-outs of fan-outs": (ladder("split", "each", 30), "ways through fan-outs"),
    "paths": (ladder("echo", "", 30), ""),
    "many gathers": (gathers(3000), "gathers are too many"),
    "a wide number": (
        {
            "nodes": {
                "a": {
                    "task": "file_watcher",
                    "parameters": {"images": "/x/%0999999999d.cbf:1:2"},
                }
            },
            "start": "a",
        },
        "99 digits",
    ),
    "formats in formats": (
        {
            "nodes": {"a": {**ECHO, "parameters": {"x": "{a:" * 3000 + "}" * 3000}}},
            "start": "a",
        },
        "formats within formats",
    ),
}


@pytest.mark.parametrize("name", HUGE)
@pytest.mark.timeout(60)  # what is not linear takes hours
def test_huge_recipes_are_judged_in_linear_time(name: str) -> None:
    document, expected = HUGE[name]
    said = use(document)
    assert expected in said
    assert bool(said) == bool(expected)


def test_a_small_recipe_cannot_fill_the_memory() -> None:
    document = {
        "nodes": {"a": {**ECHO, "parameters": {"x": ["{$REPLACE:x}"] * 5000}}},
        "start": "a",
    }
    assert "larger than 10 MB" in use(document, {"x": [1] * 10_000})
    document["nodes"]["a"]["parameters"] = {"x": "{x:>999}" * 20_000}  # type: ignore[index]
    assert "longer than 10 MB" in use(document, {"x": 1})


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nb", "x" * 1000])
def test_the_name_of_a_recipe_can_be_printed(name: str) -> None:
    with pytest.raises(RecipeError, match="name must be printable"):
        parse_recipe({"name": name, "nodes": {"a": ECHO}, "start": "a"})


def test_a_number_that_python_cannot_write_is_refused() -> None:
    node = {**ECHO, "parameters": {"x": 10**5000}}
    said = use({"nodes": {"a": node}, "start": "a"})
    assert "more than 4000 digits" in said
