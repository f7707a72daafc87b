"""Wrappers named as Zocalo's recipes do."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.benches import Heard, run_wrapper
from zocelery.catalogue import Catalogue, ChannelKind, TaskSpec
from zocelery.errors import ParameterError, PermanentError
from zocelery.recipe_format import parse_recipe
from zocelery.registry import load_tasks
from zocelery_tasks.wrappers.zocalo_form import wrapper_name

NODE = {
    "service": "DLS Cluster Service",
    "queue": "cluster.submission",
    "wrapper": {"task_information": "greet"},
    "parameters": {
        "cluster": {
            "partition": "cs05r",
            "commands": "zocalo.wrap -e x --wrap command --recipewrapper=$RECIPEWRAP",
        }
    },
    "job_parameters": {"command": ["sh", "-c", "echo hi > out"], "outputs": ["out"]},
}


def test_a_cluster_job_of_zocalo_runs_the_wrapper_that_it_names(tmp_path: Path) -> None:
    recipe = parse_recipe({"1": NODE, "start": [[1, {}]]}, name="r")
    node = recipe.nodes["1"]
    assert Catalogue(load_tasks()).find(node).name == "zocalo_wrapper"
    heard = Heard()
    answer = run_wrapper(
        "zocalo_wrapper",
        tmp_path,
        node.parameters,
        job_parameters=node.job_parameters,
        heard=heard,
    )
    assert answer["files"][0]["file_name"] == "out"
    assert heard.on("job_submitted")


def test_a_node_has_the_channels_of_the_wrapper_that_it_names() -> None:
    own = TaskSpec("ours", queue="wrappers", once=("feedback",), stream=(r"file-\d+",))
    tasks = Catalogue({**load_tasks(), "ours": own})

    def kinds(name: str) -> list[ChannelKind | None]:
        commands = {"commands": f"zocalo.wrap --wrap {name}"}
        node = {**NODE, "parameters": {"cluster": commands}}
        recipe = parse_recipe({"1": node, "start": [[1, {}]]}, name="r")
        spec = tasks.find(recipe.nodes["1"])
        return [spec.channel_kind(c) for c in ("feedback", "file-1", "job_submitted")]

    assert kinds("ours") == [ChannelKind.ONCE, ChannelKind.STREAM, ChannelKind.ONCE]
    assert kinds("command") == [None, None, ChannelKind.ONCE]
    assert kinds("{wrapper}") == [None, None, ChannelKind.ONCE]


@pytest.mark.parametrize(
    "commands",
    [["module load dials", "zocalo.wrap --wrap=xia2"], "zocalo.wrap --wrap xia2  # x"],
)
def test_the_name_stands_behind_an_option(commands: Any) -> None:
    assert wrapper_name({"cluster": {"commands": commands}}) == "xia2"
    assert wrapper_name({"commands": commands}) == "xia2"


def test_other_cluster_jobs_are_refused(tmp_path: Path) -> None:
    for commands in ("sleep 5", "zocalo.wrap 'x", []):
        with pytest.raises(ParameterError, match=r"cluster\.commands"):
            wrapper_name({"cluster": {"commands": commands}})
    other = {"commands": "zocalo.wrap --wrap echo"}
    with pytest.raises(PermanentError, match="wrapper 'echo' is not installed"):
        run_wrapper("zocalo_wrapper", tmp_path, other)
