import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from tests.unit.recipe_examples import CATALOGUE, named
from zocelery.errors import RecipeError
from zocelery.recipe_drawing import (
    EdgeKind,
    Role,
    draw_mermaid,
    draw_text,
    make_drawing,
)
from zocelery.recipe_layout import StandIn, lay_out
from zocelery.recipe_picture import MOST_NODES, draw_picture

NODES = {
    "watch": {
        "task": "file_watcher",
        "output": {"every": "look", "first": ["look", "tell"]},
        "error": "tell",
    },
    "look": {"task": "per_image_analysis", "output": "centre"},
    "centre": {"queue": "reduce.xray_centering", "output": {"success": "index"}},
    "index": {"wrapper": "xia2", "output": "elsewhere"},
    "elsewhere": {"queue": "elsewhere"},
    "tell": {"task": "echo", "foreach": "names"},
    "alarm": {"task": "echo"},
}
RECIPE = named(NODES, start="watch", error="alarm", name="scan")


def test_watches_gathers_programs_and_others_queues_are_told_apart() -> None:
    boxes = make_drawing(RECIPE, CATALOGUE).boxes
    assert {name: box.role for name, box in boxes.items()} == {
        "watch": Role.WATCH,
        "look": Role.PLAIN,
        "centre": Role.GATHER,
        "index": Role.WRAPPER,
        "elsewhere": Role.FOREIGN,
        "tell": Role.PLAIN,
        "alarm": Role.PLAIN,
    }


def test_edges_say_when_something_goes_along_them() -> None:
    edges = make_drawing(RECIPE, CATALOGUE).edges
    kinds = {(e.source, e.channel, e.target): e.kind for e in edges}
    assert kinds["watch", "every", "look"] is EdgeKind.STREAM
    assert kinds["watch", "first", "look"] is EdgeKind.ONCE
    assert kinds["watch", "", "tell"] is EdgeKind.ERROR


def test_an_unknown_task_is_drawn_all_the_same() -> None:
    recipe = named({"a": {"task": "what", "output": {"every": "b"}}, "b": {}})
    drawing = make_drawing(recipe, CATALOGUE)
    assert drawing.boxes["a"].role is Role.PLAIN
    assert drawing.edges[0].kind is EdgeKind.ONCE


def test_the_text_is_a_tree() -> None:
    assert draw_text(RECIPE, CATALOGUE).splitlines() == [
        "start ─> watch (file_watcher, watch)",
        "├─ every ═> look (per_image_analysis)",
        "│  └─> centre (reduce.xray_centering, gather)",
        "│     └─ success ─> index (xia2, program)",
        "│        └─> elsewhere (served by others)",
        "├─ first ─> look (see above)",
        "├─ first ─> tell (echo, for each of names)",
        "└─ on failure ┄> tell (see above)",
        "any failure ─> alarm (echo)",
    ]


def test_a_deep_recipe_is_drawn_without_recursion() -> None:
    nodes = {f"n{i}": {"output": f"n{i + 1}"} for i in range(3000)}
    text = draw_text(named({**nodes, "n3000": {}}, start="n0"))
    assert len(text.splitlines()) == 3001


def test_what_could_steer_a_terminal_is_not_printed() -> None:
    text = draw_text(
        named({"a": {"task": "x\x1b[31m\ny", "output": {"c\r": "b"}}, "b": {}})
    )
    assert text.splitlines()[0] == "start ─> a (x?[31m?y)"
    assert "\r" not in text


def test_mermaid_has_a_line_for_each_box_and_edge() -> None:
    lines = [line.strip() for line in draw_mermaid(RECIPE, CATALOGUE).splitlines()]
    assert lines[0] == "flowchart LR"
    assert 'n1(["watch<br/>file_watcher"])' in lines
    assert 'n3[/"centre<br/>reduce.xray_centering"\\]' in lines
    assert 'n1 ==>|"every"| n2' in lines
    assert 'n1 -.->|"on failure"| n6' in lines
    assert "n2 --> n3" in lines
    assert 'failure(("any failure")) -.-> n7' in lines


def test_mermaid_labels_cannot_break_out() -> None:
    text = draw_mermaid(
        named({"a": {"task": 'x"]; <b>#&', "output": {'"|': "a2"}}, "a2": {}})
    )
    assert 'n1("a<br/>x#quot;]; #lt;b#gt;#35;#amp;")' in text
    assert 'n1 -->|"#quot;|"| n2' in text


def test_a_png_is_a_png() -> None:
    assert draw_picture(RECIPE, CATALOGUE, file_format="png").startswith(b"\x89PNG")


def test_an_svg_is_xml_and_the_same_every_time() -> None:
    picture = draw_picture(RECIPE, CATALOGUE)
    assert ET.fromstring(picture).tag.endswith("svg")
    assert draw_picture(RECIPE, CATALOGUE) == picture


def test_names_with_dollars_are_no_formulas() -> None:
    recipe = named({"a": {"task": "$x_{", "output": {"$\\frac$": "b"}}, "b": {}})
    assert draw_picture(recipe).startswith(b"<?xml")


def test_a_recipe_too_large_for_a_picture_is_refused() -> None:
    nodes = {f"n{i}": {} for i in range(MOST_NODES + 1)}
    with pytest.raises(RecipeError, match="301 nodes are too many"):
        draw_picture(named(nodes, start=list(nodes)))


def test_layers_follow_the_longest_path() -> None:
    edges = [("a", "b"), ("b", "c"), ("a", "c")]
    layout = lay_out(dict.fromkeys("abc", 1.0), edges, gap=0.5)
    assert layout.layers == [["a"], ["b", StandIn(2, 1)], ["c"]]
    assert layout.routes[2] == ["a", StandIn(2, 1), "c"]


def test_crossings_are_avoided() -> None:
    edges = [("a", "d"), ("b", "c")]
    layout = lay_out(dict.fromkeys("abcd", 1.0), edges, gap=0.5)
    (first, second) = layout.layers
    assert [dict(edges)[name] for name in first] == second


def test_boxes_of_a_layer_do_not_overlap() -> None:
    sizes = {"a": 1.0, "b": 2.0, "c": 0.5, "d": 1.0}
    layout = lay_out(sizes, [("a", name) for name in "bcd"], gap=0.5)
    order = layout.layers[1]
    for upper, lower in pairwise(order):
        distance = layout.heights[lower] - layout.heights[upper]
        assert distance >= (sizes[upper] + sizes[lower]) / 2 + 0.5 - 1e-9


def test_a_box_stands_in_the_middle_of_what_it_feeds() -> None:
    layout = lay_out(dict.fromkeys("abc", 1.0), [("a", "b"), ("a", "c")], gap=0.5)
    middle = (layout.heights["b"] + layout.heights["c"]) / 2
    assert layout.heights["a"] == pytest.approx(middle)
