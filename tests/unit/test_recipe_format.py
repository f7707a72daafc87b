import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.recipe_examples import GRID_SCAN, TWO_STARTS, zocalo_document
from zocelery.errors import InputFileError, RecipeError
from zocelery.recipe import DEFAULT_CHANNEL, Retry, Start
from zocelery.recipe_format import dump_recipe, load_recipe, parse_recipe, to_zocalo

NAMED = {
    "name": "everything",
    "description": "All keys of the form with named nodes.",
    "parameters": {
        "images": {"description": "has to be given"},
        "d_min": {"default": 1.5, "description": "in Å"},
        "plain": [1, 2],
        "odd": {"default": {"default": 1}},
    },
    "start": ["watch", ["split", {"values": [1, 2]}]],
    "error": ["tell", "split"],
    "nodes": {
        "watch": {
            "description": "waits",
            "task": "file_watcher",
            "parameters": {"images": "{images}"},
            "output": {"every": "look", "first": ["look", "tell"]},
            "error": "tell",
        },
        "look": {
            "task": "per_image_analysis",
            "retry": {"attempts": 3, "pause": 0.5},
            "timeout": 60,
            "output": "all",
        },
        "split": {"queue": "split", "transport-delay": 0.5, "output": ["each"]},
        "each": {"wrapper": "xia2", "foreach": "", "job_parameters": {"nproc": 4}},
        "all": {"task": "collect", "gather": True, "deadline": 90},
        "branch": {"task": "collect", "gather": "join"},
        "tell": {"topic": "news", "extra": {"gridinfo": {"steps_x": 3}}},
    },
}


def refusal(document: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(document, name="scan")
    return str(caught.value)


def zocalo(node: Any, **rest: Any) -> dict[str, Any]:
    return {"1": node, "start": [[1, []]], **rest}


@pytest.mark.parametrize("text", [GRID_SCAN, TWO_STARTS])
def test_zocalos_form_comes_out_as_it_went_in(text: str) -> None:
    document = zocalo_document(text)
    if "02" in document:
        document["2"] = document.pop("02")
    assert dump_recipe(parse_recipe(text)) == document


def test_zocalos_form_is_understood() -> None:
    recipe = parse_recipe(GRID_SCAN)
    watch, analyse, centre = (recipe.nodes[name] for name in "127")
    assert watch.queue == "filewatcher"
    assert watch.parameters["burst-limit"] == 40
    assert watch.outputs == {
        "every": ("2",),
        "select-250": ("3", "4"),
        "finally": ("5",),
        "timeout": ("6",),
    }
    assert analyse.outputs == {DEFAULT_CHANNEL: ("7", "8")}
    assert centre.outputs["abort"] == ("6", "8")
    assert centre.extra == {"gridinfo": "{$REPLACE:ispyb_dc_info[gridinfo]}"}
    assert recipe.nodes["4"].transport_delay == 5
    assert recipe.nodes["8"].wrapper is None
    assert recipe.nodes["8"].extra["wrapper"] == {
        "task_information": "{ispyb_beamline}"
    }
    assert recipe.nodes["8"].error == recipe.error == ("6",)


def test_numbers_may_be_text() -> None:
    recipe = parse_recipe(TWO_STARTS)
    assert list(recipe.nodes) == ["1", "2", "3"]
    assert recipe.nodes["2"].outputs == {"every": ("3",)}
    assert recipe.start == (
        Start(node="1", payload={"sweep": 1}),
        Start(node="2", payload=[]),
    )


def test_zocalos_own_recipe_objects_count_with_integers() -> None:
    recipe = parse_recipe({1: {"output": [2]}, 2: {}, "start": [(1, [])]})  # type: ignore[dict-item]  # as in python-workflows
    assert recipe.nodes["1"].outputs == {DEFAULT_CHANNEL: ("2",)}


def test_own_keys_work_in_zocalos_form_too() -> None:
    recipe = parse_recipe(zocalo({"task": "echo", "gather": True, "wrapper": "xia2"}))
    node = recipe.nodes["1"]
    assert (node.task, node.gather, node.wrapper, node.extra) == (
        "echo",
        True,
        "xia2",
        {},
    )


def test_named_form_is_understood() -> None:
    recipe = parse_recipe(NAMED)
    assert recipe.name == "everything"
    assert recipe.parameters == {"d_min": 1.5, "plain": [1, 2], "odd": {"default": 1}}
    assert recipe.placeholders == {
        "images": "has to be given",
        "d_min": "in Å",
        "odd": "",
    }
    assert recipe.start[1] == Start(node="split", payload={"values": [1, 2]})
    assert recipe.error == ("tell", "split")
    assert recipe.nodes["look"].retry == Retry(attempts=3, pause=0.5)
    assert recipe.nodes["each"].foreach == ""
    assert recipe.nodes["branch"].gather == "join"
    assert recipe.nodes["tell"].extra == {"gridinfo": {"steps_x": 3}}


def test_named_form_comes_out_as_it_went_in() -> None:
    assert dump_recipe(parse_recipe(NAMED)) == NAMED


@pytest.mark.parametrize("document", [GRID_SCAN, TWO_STARTS, NAMED])
def test_what_is_dumped_parses_to_the_same_recipe(document: Any) -> None:
    recipe = parse_recipe(document, name="scan")
    again = parse_recipe(json.dumps(dump_recipe(recipe)), name="scan")
    assert again == recipe


def test_a_recipe_that_was_changed_is_dumped_as_it_is_now() -> None:
    recipe = parse_recipe(zocalo({"output": [2]}, **{"2": {}}))
    node = recipe.nodes["1"].model_copy(update={"outputs": {"every": ("2",)}})
    changed = recipe.model_copy(update={"nodes": {**recipe.nodes, "1": node}})
    assert dump_recipe(changed)["1"] == {"output": {"every": 2}}


def test_named_nodes_are_numbered_for_zocalo() -> None:
    document, numbers = to_zocalo(parse_recipe(NAMED))
    assert numbers["watch"] == 1
    assert document["1"]["output"] == {"every": 2, "first": [2, numbers["tell"]]}
    assert document["start"] == [[1, None], [3, {"values": [1, 2]}]]
    assert document[str(numbers["tell"])]["gridinfo"] == {"steps_x": 3}
    assert {key for key in document if not key.isdecimal()} == {"start", "error"}


def test_the_callers_object_is_not_kept() -> None:
    document = zocalo({"parameters": {"list": [1]}})
    recipe = parse_recipe(document)
    document["1"]["parameters"]["list"].append(2)
    assert recipe.nodes["1"].parameters == {"list": [1]}


def test_a_file_gives_its_name_to_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "my-scan.json"
    file.write_bytes(b"\xef\xbb\xbf" + TWO_STARTS.encode())
    assert load_recipe(file).name == "my-scan"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"absent\.json: cannot be read: No such"):
        load_recipe(tmp_path / "absent.json")


def test_errors_of_a_file_begin_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text('{\n "1": {},\n "start": [[1, []]],,\n}')
    with pytest.raises(
        RecipeError, match=r"bad.json: is not JSON: .*line 3, column 21"
    ):
        load_recipe(file)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[1]", "must be a JSON object, not [1]"),
        ("", "is not JSON: expecting value (line 1, column 1)"),
        ('{"1": NaN}', "is not JSON: NaN is not JSON"),
        (b"\xff{}", "is not UTF-8 text (byte 0)"),
        ("[" * 100_000, "is nested more than 64 levels deep"),
        ('{"1": ' * 70 + "1" + "}" * 70, "is nested more than 64 levels deep"),
        (b" " * 10_000_001, "is larger than 10 MB"),
        ('{"1": {"a": "\\ud800"}}', "holds '\\ud800', which is not Unicode"),
        ('{"1": {"a": 1e999}}', "holds inf, which is not a JSON value"),
        ({"1": {"a": {1}}}, "holds {1}, which is not a JSON value"),
        ({None: 1}, "holds the key None, which is not a text"),
    ],
)
def test_what_is_no_json_object_is_refused(document: Any, message: str) -> None:
    assert refusal(document) == f"recipe 'scan': {message}"


def test_a_mapping_without_end_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["1"] = endless
    assert refusal(endless) == "recipe 'scan': is nested more than 64 levels deep"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"1": {}}, "there is no 'start'"),
        (
            {"start": [[1, []]]},
            "nodes must be an object of nodes, at least one, not {}",
        ),
        (zocalo([]), "node '1' must be an object, not []"),
        (zocalo({"queue": 3}), "node '1', queue must be a text, not 3"),
        (
            zocalo({"parameters": "{x}"}),
            "node '1', parameters must be an object, not '{x}'",
        ),
        (
            zocalo({"output": {"every": [2, "two"]}}),
            (
                "node '1', output.every[1] must be a node number, a list of such, "
                "or an object of such by channel, not 'two'"
            ),
        ),
        (
            zocalo({"output": True}),
            (
                "node '1', output must be a node number, a list of such, or an "
                "object of such by channel, not True"
            ),
        ),
        (
            zocalo({}, **{"01": {}}),
            "node 1 stands there twice, also as '01'",
        ),
        (
            zocalo({}, discription=""),
            "key 'discription' is not a node number; did you mean 'description'?",
        ),
        (
            zocalo({}, watch={}),
            "key 'watch' is not a node number; nodes with names stand under \"nodes\"",
        ),
        (
            {"1": {}, "start": [[1]]},
            (
                "start[0] must be a list of [node number, payload] pairs, at least "
                "one, not [1]"
            ),
        ),
    ],
)
def test_errors_in_zocalos_form_name_node_key_and_value(
    document: Any, message: str
) -> None:
    assert refusal(document) == f"recipe 'scan': {message}"


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"ouptut": "b"}, "node 'a': unknown key 'ouptut'; did you mean 'output'?"),
        (
            {"retry": {"atempts": 2}},
            "node 'a', retry: unknown key 'atempts'; did you mean 'attempts'?",
        ),
        (
            {"retry": {"attempts": 0}},
            "node 'a', retry.attempts must be a whole number from 1 to 100, not 0",
        ),
        (
            {"deadline": "90"},
            "node 'a', deadline must be a number of seconds above 0, not '90'",
        ),
        (
            {"gather": "yes"},
            "node 'a', gather must be true, false or \"join\", not 'yes'",
        ),
        (
            {"extra": {"queue": "x"}},
            "node 'a', extra: 'queue' is a key of the node itself",
        ),
        (
            {"output": {"each": 2}},
            (
                "node 'a', output.each must be a node's name, a list of names, or an "
                "object of such by channel, not 2"
            ),
        ),
    ],
)
def test_errors_in_the_named_form_name_node_key_and_value(
    node: dict[str, Any], message: str
) -> None:
    assert refusal({"nodes": {"a": node}, "start": "a"}) == f"recipe 'scan': {message}"


def test_all_errors_are_listed_at_once() -> None:
    document = {"nodes": {"a": {"tsk": "x", "timeout": 0}, "b/c": {}}, "start": []}
    summary, *problems = refusal(document).split("\n  ")
    assert summary == "recipe 'scan': 4 problems"
    assert {problem.split(" ")[0] for problem in problems} == {"start", "node", "'b/c'"}


def test_a_parameter_with_a_misspelt_key_is_refused() -> None:
    message = refusal(
        {
            "nodes": {"a": {}},
            "start": "a",
            "parameters": {"x": {"defalt": 1, "description": "y"}},
        }
    )
    assert "parameters.x must be a plain default" in message


def test_two_named_nodes_of_one_name_are_refused() -> None:
    text = '{"start": "a", "nodes": {"a": {"task": "echo"}, "a": {"task": "fail"}}}'
    assert (
        refusal(text) == "recipe 'scan': the same key stands twice in one object: 'a'"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["1", "2", "start", "error", "nodes", "output", "task", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
@settings(max_examples=100, deadline=None)
def test_no_document_raises_anything_but_a_recipe_error(document: Any) -> None:
    try:
        recipe = parse_recipe(document if isinstance(document, dict) else "null")
    except RecipeError:
        return
    assert parse_recipe(dump_recipe(recipe)) == recipe
