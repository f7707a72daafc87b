"""With `files.roots` set nothing that a message names is opened elsewhere."""

from pathlib import Path
from typing import Any

import h5py
import pytest

from tests.unit.benches import Heard, run_wrapper
from zocelery.allowed_files import allowed_path
from zocelery.errors import ImageError, ParameterError, PermanentError, ZoceleryError
from zocelery.messages import Step
from zocelery.registry import load_catalogue, load_tasks
from zocelery.settings import QueueSettings
from zocelery.submission import prepare
from zocelery_tasks.centring_answer import centre_members
from zocelery_tasks.doorways import per_image_analysis
from zocelery_tasks.file_watcher import watch_files
from zocelery_tasks.images.hdf5_file import Hdf5File
from zocelery_tasks.trigger import trigger

NOT_BELOW = "is not below an allowed folder"


def outside(root: Path, name: str) -> list[str]:
    """Four ways to name a file outside of `root`."""
    return [
        str(root.parent / "secret" / name),
        str(root / ".." / "secret" / name),
        str(root / "link" / name),
        f"{root}2/{name}",
    ]


def step(parameters: Any, payload: Any = None) -> Step:
    heard = Heard()
    return Step(parameters, payload, run_id="r", node="n", outlet=heard)  # type: ignore[arg-type]  # keeps lists


def test_paths_below_the_roots_are_returned_free_of_links(root: Path) -> None:
    (root / "b").mkdir()
    (root / "a").symlink_to(root / "b")
    assert allowed_path(root / "a" / "x", "file") == root / "b" / "x"
    assert allowed_path(root, "file") == root


def test_without_roots_a_path_is_left_as_it_is() -> None:
    assert allowed_path("../x", "file", ()) == Path("../x")


@pytest.mark.parametrize("text", ["", "a\0b", "a\ud800b"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match=r"file: .* is not a path") as caught:
        allowed_path(text, "file", ())
    assert str(caught.value).isprintable()


def test_the_refusal_is_one_line_that_can_be_printed(root: Path) -> None:
    with pytest.raises(ParameterError, match=NOT_BELOW) as caught:
        allowed_path("/etc/\n\x1b[2J" + "x" * 9999, "file")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_the_watcher_watches_below_the_roots_only(root: Path) -> None:
    for path in outside(root, "x_%d.cbf"):
        for parameters in (
            {"pattern": path, "pattern-start": 1, "pattern-end": 2},
            {"list": [str(root / "x"), path % 1]},
            {"hdf5": path.replace("%d.cbf", "master.h5")},
            {"images": f"{path}:1:2", "live": True},
            {"images": path.replace("%d.cbf", "master.h5:1:3")},
        ):
            with pytest.raises(ParameterError, match=NOT_BELOW):
                next(watch_files(step(parameters), {}))
            document = {
                "nodes": {"w": {"task": "file_watcher", "parameters": parameters}},
                "start": "w",
            }
            assert NOT_BELOW in refused(document)


def refused(document: dict[str, Any]) -> str:
    """Return what the submitter of a recipe is told."""
    from zocelery.recipe_format import parse_recipe

    load_tasks()
    catalogue = load_catalogue(QueueSettings(tasks={}, foreign=()))
    with pytest.raises(ParameterError) as caught:
        prepare(parse_recipe(document), {}, catalogue)
    return str(caught.value)


def test_a_message_names_images_below_the_roots_only(root: Path) -> None:
    for path in outside(root, "x_1.cbf"):
        with pytest.raises(ImageError, match=f"file: .* {NOT_BELOW}"):
            per_image_analysis(step({}, {"file": path}))
    with pytest.raises(ImageError, match=r"No such file|does not exist|not there"):
        per_image_analysis(step({}, {"file": str(root / "x_1.cbf")}))


def test_a_master_file_leads_to_data_below_the_roots_only(root: Path) -> None:
    data, master = root.parent / "secret" / "data.h5", root / "master.h5"
    with h5py.File(data, "w"), h5py.File(master, "w"):
        pass
    (root / "inside.h5").write_bytes(data.read_bytes())
    file = Hdf5File(master)
    assert file.sibling("inside.h5") == root / "inside.h5"
    for name in (str(data), "../secret/data.h5", "link/data.h5"):
        with pytest.raises(ImageError, match=f"linked file: .* {NOT_BELOW}"):
            file.sibling(name)


@pytest.mark.parametrize("key", ["output", "log"])
def test_centring_writes_below_the_roots_only(root: Path, key: str) -> None:
    for path in outside(root, "new/xrc.json"):
        parameters = {key: path, "grid": "2x1"}
        with pytest.raises(ParameterError, match=f"{key}: .* {NOT_BELOW}"):
            centre_members(step(parameters))
        document = {
            "nodes": {
                "a": {"task": "echo", "output": "c"},
                "c": {"task": "xray_centering", "parameters": parameters},
            },
            "start": "a",
        }
        assert NOT_BELOW in refused(document)
    assert not (root.parent / "secret" / "new").exists()


def test_the_link_to_results_is_not_made_above_the_roots(root: Path) -> None:
    parameters = {"output": str(root / "xrc.json"), "results_symlink": "latest"}
    with pytest.raises(ParameterError, match=f"results_symlink: .* {NOT_BELOW}"):
        centre_members(step({**parameters, "grid": "2x1"}))
    assert not (root.parent / "latest").is_symlink()
    deeper = {**parameters, "output": str(root / "a" / "xrc.json"), "grid": "2x1"}
    centre_members(step(deeper))
    assert (root / "latest").resolve() == root / "a"


def test_programs_are_given_files_below_the_roots_only(root: Path) -> None:
    for path in outside(root, "x_1.cbf"):
        for parameters in (
            {"command": ["true"], "inputs": [path]},
            {"command": ["true", {"path": path, "must_exist": False}]},
            {"command": ["true"], "working_directory": path},
            {"command": ["true"], "results_directory": path},
        ):
            with pytest.raises(ZoceleryError, match=NOT_BELOW):
                run_wrapper("command", root / "work", parameters)


@pytest.mark.parametrize("bad", ["../x", "/etc/passwd", "a/../../x", "", "a\0"])
def test_what_a_program_leaves_is_looked_for_in_its_folder(
    tmp_path: Path, bad: str
) -> None:
    for parameters in (
        {"outputs": [{"pattern": bad}]},
        {"success": {"files": [bad]}},
        {"read_json": bad or ".."},
    ):
        with pytest.raises(ZoceleryError, match="inside the working folder"):
            run_wrapper("command", tmp_path, {"command": ["true"], **parameters})


@pytest.mark.parametrize("name", ["/etc/x.json", "../x", "x.json/", "a\nb", ""])
def test_a_message_starts_recipes_by_name_never_by_path(name: str) -> None:
    with pytest.raises(PermanentError, match="is no recipe name"):
        trigger(step({"recipe": name}))
