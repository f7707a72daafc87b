"""The HTML page of a run: whole, closed in itself, and safe whatever it tells of."""

from html.parser import HTMLParser
from typing import Any

import pytest

from zocelery.report_page import (
    LONGEST_TEXT,
    MOST_FAILURES,
    Report,
    draw_page,
    shorten_text,
)
from zocelery.run import NodeStatus, RunStatus

HOSTILE = "\"><script>alert('x')</script><img src=http://evil.example/x>&amp;"
CLOSED_BY_NOTHING = ("meta", "img", "!doctype")


class Page(HTMLParser):
    """What stands in a page: elements with attributes, and the texts between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in CLOSED_BY_NOTHING:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())


def report(**changes: Any) -> Report:
    nodes = (
        NodeStatus(node="watch", task="file_watcher", state="done", total=1, done=1),
        NodeStatus(
            node="analyse",
            state="failed",
            total=9,
            done=8,
            failed=1,
            started=1010.5,
            ended=1012.0,
            error="image 7: cannot be read",
        ),
    )
    status = RunStatus(
        run="3f2a-1",
        recipe="grid-scan",
        state="failed",
        submitted=1010.0,
        ended=1013.0,
        error="analyse failed",
        nodes=nodes,
    )
    told: dict[str, Any] = {
        "status": status,
        "parameters": {"images": "/data/x.nxs", "grid": [3, 3]},
        "graph": b"<svg/>",
        "answers": [("centre", "heat map")],
        "failures": [{"node": "analyse", "item": "7", "error": "cannot be read"}],
        "logs": [("reduce", "Sorry: no images")],
    }
    return Report(**{**told, **changes})


def test_a_page_tells_what_is_known_of_a_run():
    page = Page(draw_page(report()))
    assert not page.open
    texts = page.texts
    for told in ("3f2a-1", "3.0 s", "analyse failed", "heat map", "Sorry: no images"):
        assert told in texts
    assert texts[texts.index("file_watcher") + 1 :][:2] == ["done", "1/1"]
    row = ["8/9", "1", "+0.50 s", "1.50 s", "image 7: cannot be read"]
    assert texts[texts.index("8/9") :][:5] == row
    assert texts[texts.index("images") + 1] == '"/data/x.nxs"'


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": {HOSTILE: HOSTILE}},
        {"answers": [(HOSTILE, HOSTILE)]},
        {"failures": [{"node": HOSTILE, "item": HOSTILE, "error": HOSTILE}]},
        {"logs": [(HOSTILE, HOSTILE)]},
        {
            "status": RunStatus(
                run=HOSTILE,
                recipe=HOSTILE,
                state=HOSTILE,
                submitted=0,
                error=HOSTILE,
                rerun_of=HOSTILE,
                nodes=(NodeStatus(node=HOSTILE, task=HOSTILE, state=HOSTILE),),
            )
        },
    ],
)
def test_nothing_that_is_told_becomes_part_of_the_page(changes):
    page = Page(draw_page(report(**changes)))
    assert not page.open
    plain = Page(draw_page(report()))
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements}
    sources = [a["src"] or "" for tag, a in page.elements if tag == "img"]
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert any("<script>" in text for text in page.texts)


def test_a_page_loads_nothing_and_runs_nothing():
    head = draw_page(report()).partition("<body>")[0]
    assert "default-src 'none'" in head
    assert "script-src" not in head


def test_control_characters_are_spelt_out():
    assert r"\x1b[2J" in draw_page(report(logs=[("a", "\x1b[2J")]))


def test_of_long_answers_the_beginning_is_shown_and_of_long_logs_the_end():
    text = "a" + "x" * LONGEST_TEXT + "z"
    assert shorten_text(text).startswith("axx")
    assert shorten_text(text).endswith("[and 2 characters more]")
    assert shorten_text(text, keep_end=True).endswith("xxz")
    page = draw_page(report(answers=[("a", text)], logs=[("b", text)]))
    assert "[and 2 characters more]" in page
    assert "[2 characters before this]" in page


def test_of_many_failures_the_rest_is_counted():
    failure = {"node": "a", "item": "1", "error": "broken"}
    page = draw_page(report(failures=[failure] * (MOST_FAILURES + 3)))
    assert page.count("broken") == MOST_FAILURES
    assert "and 3 more" in page


def test_a_recipe_too_large_for_a_picture_has_none():
    assert "<img" not in draw_page(report(graph=None))


def test_a_run_that_goes_on_has_not_taken_any_time_yet():
    status = RunStatus(run="a", recipe="r", state="running", submitted=1.0)
    assert "took" not in Page(draw_page(report(status=status))).texts[:8]
