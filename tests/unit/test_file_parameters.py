"""Everything that names a file: none of it leads out of the allowed folders."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pydantic import BaseModel

from tests.unit.benches import run_wrapper
from tests.unit.test_hostile_files import NOT_BELOW, outside, step
from zocelery.errors import ImageError, ParameterError, ZoceleryError
from zocelery.lims.commands import COMMANDS
from zocelery.lims.refinement import Refinement, store_refinement
from zocelery.lims.request import Request
from zocelery.messages import Member, Step
from zocelery.registry import load_tasks, task_function
from zocelery.settings import current_settings
from zocelery_tasks.centring_answer import centre_members
from zocelery_tasks.file_watcher import watch_files
from zocelery_tasks.grid_info import GridInfo
from zocelery_tasks.images.frames import StoredFrames
from zocelery_tasks.images.hdf5_file import open_hdf5
from zocelery_tasks.images.hdf5_node import Node
from zocelery_tasks.strong_pixels import strong_pixels_file


def centre_document() -> dict[str, Any]:
    counts = {"1": 0, "2": 8}
    members = [
        Member(n, "watch/every", ok=True, value={"n_spots_total": c, "file-number": n})
        for n, c in counts.items()
    ]
    return centre_members(Step(parameters={"grid": "2x1"}, members=members))


def run_task(name: str, parameters: Mapping[str, Any], payload: Any = None) -> Any:
    return task_function(load_tasks()[name])(step(parameters, payload))


def watch(parameters: Mapping[str, Any]) -> Any:
    return next(watch_files(step(parameters), {}))


def wrap(name: str, parameters: Mapping[str, Any], payload: Any = None) -> Any:
    folder = Path(inside("x")).parent / "work"
    return run_wrapper(name, folder, parameters, payload=payload)


def inside(name: str) -> str:
    """Return a file in the allowed folder; it is there."""
    (root,) = current_settings().files.roots
    (root / name).touch()
    return str(root / name)


def command(**parameters: Any) -> Any:
    return wrap("command", {"command": ["true"], **parameters})


def ask_lims(name: str, path: str) -> Any:
    told = {"ispyb_command": name, "program_id": 1, "dcid": 1}
    place = {"file_name": Path(path).name, "file_path": str(Path(path).parent)}
    return COMMANDS[name](None, Request(({**told, **place}, {}), {}, "u"))  # type: ignore[arg-type]  # never reached


def refine(**files: Any) -> Any:
    fit = dict.fromkeys(("rwork_start", "rwork_end", "rfree_start", "rfree_end"), 0.2)
    program = {"command_line": "x", "programs": "dimple", "status": 1, "message": ""}
    times = dict.fromkeys(("start_time", "end_time"), "2026-01-01T00:00:00")
    told = {
        "mxmrrun": {"auto_proc_scaling_id": 1, **fit},
        "auto_proc_program": {**program, **times},
        **files,
    }
    return store_refinement(None, "key", Refinement.parse(told))  # type: ignore[arg-type]  # never reached


def attachment(path: str) -> dict[str, Any]:
    place = {"file_path": str(Path(path).parent), "file_name": Path(path).name}
    return {"file_type": "log", **place}


BLOB = {"xyz": (0, 0, 0), "height": 5, "map_type": "anomalous"}
NAMED: dict[str, Callable[[str], Any]] = {
    # what is watched and analysed
    "FileWatcherParameters.pattern": lambda path: watch(
        {"pattern": f"{path}_%d", "pattern-start": 1, "pattern-end": 2}
    ),
    "FileWatcherParameters.files": lambda path: watch({"list": [path]}),
    "FileWatcherParameters.hdf5": lambda path: watch({"hdf5": path}),
    "FileWatcherParameters.images": lambda path: watch({"images": f"{path}_#:1:2"}),
    "per_image_analysis, file of the message": lambda path: run_task(
        "per_image_analysis", {}, {"file": path}
    ),
    # what is written
    "PerImageAnalysisParameters.working_directory": lambda path: strong_pixels_file(
        path, current_settings().wrappers, "run", "node", "1"
    ),
    "XrayCenteringParameters.output": lambda path: centre_members(
        step({"grid": "2x1", "output": path})
    ),
    "XrayCenteringParameters.log": lambda path: centre_members(
        step({"grid": "2x1", "log": path})
    ),
    "CentreFileParameters.output": lambda path: run_task(
        "write_centre", {"output": path}, centre_document()
    ),
    "JsonLinesParameters.output_filename": lambda path: run_task(
        "json_lines", {"output_filename": path}, {"x": 1}
    ),
    # programs
    "WrapperParameters.working_directory": lambda path: command(working_directory=path),
    "WrapperParameters.results_directory": lambda path: command(results_directory=path),
    "CommandParameters.inputs": lambda path: command(inputs=[path]),
    "CommandParameters.arguments": lambda path: command(arguments=[{"path": path}]),
    "DialsParameters.images": lambda path: wrap("dials.import", {"images": path}),
    "DialsParameters.experiments": lambda path: wrap(
        "dials.index", {"experiments": path, "reflections": path}
    ),
    "DialsParameters.reflections": lambda path: wrap(
        "dials.index", {"reflections": path}, {"experiments": inside("x.expt")}
    ),
    "dials, experiments of the message": lambda path: wrap(
        "dials.refine", {}, {"experiments": path, "reflections": path}
    ),
    "DialsParameters.phil": lambda path: wrap(
        "dials.import", {"images": inside("x.cbf"), "phil": {"input.mask": path}}
    ),
    "Xia2Parameters.images": lambda path: wrap("xia2", {"images": f"{path}.nxs"}),
    "Xia2Parameters.xia2": lambda path: wrap("xia2", {"xia2": {"image": path}}),
    "Xia2Parameters.phil": lambda path: wrap(
        "xia2", {"images": inside("x.nxs"), "phil": {"reference": f"a,{path}"}}
    ),
    "Xia2Parameters.integrate_phil": lambda path: wrap(
        "xia2", {"dials.integrate.phil_file": path}
    ),
    "Xia2Parameters.ispyb_parameters": lambda path: wrap(
        "xia2", {"ispyb_parameters": {"reference_geometry": path}}
    ),
    "MultiplexParameters.data": lambda path: wrap(
        "xia2.multiplex", {"data": [{"experiments": path, "reflections": path}]}
    ),
    "multiplex, files of the message": lambda path: wrap(
        "xia2.multiplex", {}, {"experiments": path, "reflections": path}
    ),
    "MultiplexParameters.phil": lambda path: wrap(
        "xia2.multiplex",
        {"phil": {"filtering.x": path}},
        dict.fromkeys(("experiments", "reflections"), inside("x.expt")),
    ),
    "SsxParameters.images": lambda path: wrap("xia2.ssx", {"images": f"{path}.nxs"}),
    "SsxParameters.reference": lambda path: wrap(
        "xia2.ssx", {"images": inside("x.nxs"), "reference": path}
    ),
    "SsxParameters.phil": lambda path: wrap(
        "xia2.ssx", {"images": inside("x.nxs"), "phil": {"mask": path}}
    ),
    # the LIMS, whose readers are given what it names
    "add_program_attachment": lambda path: ask_lims("add_program_attachment", path),
    "add_datacollection_attachment": lambda path: ask_lims(
        "add_datacollection_attachment", path
    ),
    "refinement, attachments": lambda path: refine(attachments=[attachment(path)]),
    "refinement, blobs": lambda path: refine(
        blobs=[{**BLOB, "filepath": str(Path(path).parent), "view1": Path(path).name}]
    ),
}


@pytest.mark.parametrize("way", range(4))
@pytest.mark.parametrize("name", NAMED)
def test_nothing_that_names_a_file_leads_out_of_the_allowed_folders(
    root: Path, name: str, way: int
) -> None:
    path = outside(root, "x_1")[way]
    before = sorted((root.parent / "secret").rglob("*"))
    with pytest.raises(ZoceleryError, match=NOT_BELOW) as caught:
        NAMED[name](path)
    assert f"{path}" in str(caught.value)
    assert str(caught.value).isprintable()
    assert sorted((root.parent / "secret").rglob("*")) == before


SOUNDS_LIKE_A_FILE = re.compile(
    r"file|path|folder|director|image|hdf5|output|log$|reference|experiments|"
    r"reflections|pattern|inputs|arguments|link|phil|data$|mask|model|xia2$|ispyb"
)
NO_FILES = {
    "CommandParameters.outputs",  # patterns in the working folder
    "CentreFileParameters.results_symlink",  # a name; see above
    "XrayCenteringParameters.results_symlink",
}


def test_every_parameter_that_sounds_like_a_file_is_in_the_list() -> None:
    specs = load_tasks().values()
    models = {m for s in specs if s.parameters for m in s.parameters.__mro__}
    named = {
        f"{model.__name__}.{field}"
        for model in models
        if issubclass(model, BaseModel)
        for field, kind in model.__annotations__.items()
        if re.search("str|Any|Path|tuple|list", str(kind))
        and SOUNDS_LIKE_A_FILE.search(field)
    }
    assert named - NO_FILES <= NAMED.keys()


def masters(root: Path) -> Iterator[tuple[str, Path]]:
    """Make master files whose images lie in a file outside, each in another way."""
    secret = root.parent / "secret" / "data.h5"
    pixels = np.arange(8, dtype="u2").reshape(2, 2, 2)
    with h5py.File(secret, "w", libver="latest") as file:
        file["data"] = pixels
    for way in ("external link", "virtual", "soft link", "by name"):
        path = root / f"{way}.h5"
        with h5py.File(path, "w", libver="latest") as file:
            group = file.create_group("entry/data")
            if way == "virtual":
                layout = h5py.VirtualLayout((2, 2, 2), "u2")
                layout[:] = h5py.VirtualSource(str(secret), "data", (2, 2, 2))
                group.create_virtual_dataset("data", layout)
            elif way == "soft link":
                file["elsewhere"] = h5py.ExternalLink(str(secret), "/")
                group["data"] = h5py.SoftLink("/elsewhere/data")
            else:
                name = "link/data.h5" if way == "by name" else str(secret)
                group["data"] = h5py.ExternalLink(name, "/data")
        yield way, path


def test_images_are_neither_read_nor_watched_through_a_link_out(root: Path) -> None:
    for way, master in masters(root):
        with pytest.raises(ImageError, match=NOT_BELOW):
            frames_of(master)
        with pytest.raises(ParameterError, match=f"{way}.*linked file.*{NOT_BELOW}"):
            watch({"hdf5": str(master), "timeout": 5})


def frames_of(master: Path) -> Any:
    node = Node(open_hdf5(master), open_hdf5(master).handle)
    frames = StoredFrames(lambda: node.find("entry/data/data"), "data")
    return frames.frame(0).read()


def test_what_lies_in_a_file_that_is_no_hdf5_file_is_not_read(root: Path) -> None:
    master = root / "master.h5"
    raw = [(str(root.parent / "secret" / "x_1.cbf"), 0, 8)]
    with h5py.File(master, "w") as file:
        file.create_dataset("data", (8,), "u1", external=raw)
        layout = h5py.VirtualLayout((1,), "f8")
        layout[:] = h5py.VirtualSource(str(root.parent / "secret/y.h5"), "d", (1,))
        file.create_virtual_dataset("distance", layout)
    (root.parent / "secret" / "y.h5").touch()
    node = Node(open_hdf5(master), open_hdf5(master).handle)
    with pytest.raises(ImageError, match="lies in a file that is no HDF5 file"):
        node.find("data")
    with pytest.raises(ImageError, match=NOT_BELOW):
        node.number("distance")


@pytest.mark.parametrize("grid", ["99999x99999", "1000001x1", "1x" + "9" * 4000])
def test_a_grid_of_too_many_images_is_refused(grid: str) -> None:
    with pytest.raises(ParameterError, match="1000000 may be"):
        GridInfo.parse(grid)


@pytest.mark.parametrize(
    "parameters",
    [
        {"images": "/x_%d.cbf:1:999999999", "live": True},
        {"images": "/x.nxs:1:1000001"},
        {"pattern": "/x_%d.cbf", "pattern-start": 0, "pattern-end": 1_000_000},
    ],
)
def test_more_images_than_a_fan_out_may_have_are_refused(
    tmp_path: Path, parameters: dict[str, Any]
) -> None:
    with pytest.raises(ParameterError, match=r"1000000 may be \(run.most_members\)"):
        watch(parameters)
    if "images" in parameters:
        with pytest.raises(ParameterError, match=r"run.most_members"):
            run_wrapper("dials.import", tmp_path, parameters)


def test_a_watch_looks_for_so_many_at_once_and_no_more() -> None:
    with pytest.raises(ParameterError, match="burst"):
        watch({"images": "/x_%d.cbf:1:9", "burst-limit": 10**9})
