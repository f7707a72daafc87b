"""Recipes and a catalogue that several tests of recipes share."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from zocelery.catalogue import Catalogue, TaskKind, TaskSpec
from zocelery.recipe import Recipe
from zocelery.recipe_format import parse_recipe

GRID_SCAN = """
{
  "1": ["Waits for the images of a grid scan, hands every image on, and centres.",
        "A comment: the key stands twice, the last one counts."],
  "1": {"service": "DLS Filewatcher", "queue": "filewatcher",
        "parameters": {"pattern": "{ispyb_image_pattern}",
                       "pattern-start": "{ispyb_image_first}",
                       "pattern-end": "{ispyb_image_last}",
                       "burst-limit": 40, "timeout": 120, "timeout-first": 3600,
                       "expected-per-image-delay": "0.1"},
        "output": {"every": 2, "select-250": [3, 4], "finally": 5, "timeout": 6}},
  "2": {"service": "Per-Image-Analysis", "queue": "per_image_analysis",
        "output": [7, 8]},
  "3": {"topic": "some.broadcast"},
  "4": {"queue": "images.preview", "exchange": "results", "transport-delay": 5},
  "5": {"queue": "ispyb_connector", "output": null},
  "6": {"queue": "mailnotification", "parameters": {}},
  "7": {"service": "DLS X-Ray Centering", "queue": "reduce.xray_centering",
        "gridinfo": "{$REPLACE:ispyb_dc_info[gridinfo]}",
        "parameters": {"dcid": "{ispyb_dcid}"},
        "output": {"success": 5, "abort": {"mail": 6, "log": [8]}}},
  "8": {"service": "DLS cluster submission", "queue": "cluster.submission",
        "parameters": {"cluster": {"queue": "high"}},
        "wrapper": {"task_information": "{ispyb_beamline}"},
        "job_parameters": {"timeout": null, "nproc": 20},
        "error": [6]},
  "start": [[1, []]],
  "error": [6]
}
"""
"""In Zocalo's form, with all that the form has."""

TWO_STARTS = """
{
  "1": {"queue": "filewatcher", "output": {"every": [3]}},
  "02": {"queue": "filewatcher", "output": {"every": "3"}},
  "3": {"queue": "per_image_analysis", "comment": ["kept", {"as": "it is"}]},
  "start": [[1, {"sweep": 1}], ["2", []]]
}
"""
"""In Zocalo's form, with numbers as text."""


class AnalysisParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    d_min: float | None = None
    d_max: float = 40


CATALOGUE = Catalogue(
    {
        spec.name: spec
        for spec in (
            TaskSpec(
                "file_watcher",
                "watch",
                TaskKind.WATCH,
                once=("first", "last", "any", "timeout", "finally", "error", r"\d+"),
                stream=("every", r"every-\d+", r"select-\d+"),
                aliases=("filewatcher", "DLS Filewatcher"),
            ),
            TaskSpec(
                "per_image_analysis",
                "images",
                parameters=AnalysisParameters,
                aliases=("Per-Image-Analysis",),
            ),
            TaskSpec(
                "xray_centering",
                "control",
                TaskKind.GATHER,
                once=("abort",),
                default_channel="success",
                aliases=("reduce.xray_centering", "DLS X-Ray Centering"),
            ),
            TaskSpec("collect", "control", TaskKind.GATHER),
            TaskSpec("split", "control", stream=("each",)),
            TaskSpec("choose", "control", once=(".+",)),
            TaskSpec("echo", "control"),
            TaskSpec("fail", "control"),
            TaskSpec("sleep", "wrappers"),
            TaskSpec("xia2", "wrappers", TaskKind.WRAPPER, once=("failure",)),
        )
    },
    foreign_queues=frozenset({"elsewhere"}),
)
"""Stands for the tasks that are installed."""


def named(nodes: dict[str, Any], start: Any = "a", **rest: Any) -> Recipe:
    """Return a recipe of named nodes."""
    return parse_recipe({"nodes": nodes, "start": start, **rest})


def zocalo_document(text: str) -> dict[str, Any]:
    """Return what Zocalo itself would read: the last of repeated keys."""
    document: dict[str, Any] = json.loads(text)
    return document
