"""Images by way of DIALS: what a child may do, with children of our own and its own."""

import functools
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.unit.small_images import mini_header, write_cbf, write_nxmx, write_smv
from zocelery.errors import ConfigurationError, ImageError
from zocelery_tasks.commands.find_spots import find_spots
from zocelery_tasks.dials import backend
from zocelery_tasks.dials.backend import count_images_by_dials, open_image_by_dials
from zocelery_tasks.dials.process import DialsMissingError, DialsProcess
from zocelery_tasks.image_backends import Backend
from zocelery_tasks.images.detector import SensorType
from zocelery_tasks.images.image import PixelBuffers
from zocelery_tasks.images.open import open_image
from zocelery_tasks.per_image_analysis import analyse_image
from zocelery_tasks.per_image_parameters import PerImageAnalysisParameters

DIALS_PYTHON = "/usr/bin/python3"
"""Debian's package `dials` is seen by the system's Python only."""

CHILD = """
import json, os, sys, time
def send(said, *arrays):
    line = json.dumps(said).encode()
    sys.stdout.buffer.write(b"%012d" % len(line) + line + b"".join(arrays))
    sys.stdout.buffer.flush()
image = {
    "shape": [2, 3], "dtype": "<i4", "lowest": 0, "wavelength": 0.9,
    "source_direction": [0, 0, 1],
    "sensor": {"kind": "SENSOR_PAD", "attenuation": 3.0, "thickness": 0.45},
    "panels": [
        {"fast_axis": [1, 0, 0], "slow_axis": [0, -1, 0], "origin": [-3, 2, -100 - k],
         "pixel_size": [0.1, 0.2], "first": [k, 0], "size": [1, 3]} for k in (0, 1)],
}
pixels, mask = bytes(range(24)), b"\\1\\1\\0\\1\\1\\1"
for line in sys.stdin:
    request = json.loads(line)
    name = os.path.basename(request.get("file", ""))
    if name == "hang":
        time.sleep(60)
    if name == "die":
        print("out of luck", file=sys.stderr)
        os._exit(3)
    if name == "crash":
        os.kill(os.getpid(), 11)
    if name == "half":
        send(image, pixels)
        os._exit(0)
    if name == "nonsense":
        sys.stdout.write("Hello, I am not the one you think\\n")
        sys.stdout.flush()
    elif name == "wide":
        send({**image, "dtype": "<i8"}, pixels)
    elif name == "beyond":
        send({**image, "shape": [1, 6]}, pixels, mask)
    elif name == "nowhere":
        send({**image, "source_direction": [0, float("nan"), 1]}, pixels, mask)
    elif name == "dark":
        send({**image, "wavelength": -1}, pixels, mask)
    elif name == "pid":
        send({"count": os.getpid()})
    elif name == "bad":
        send({"error": "it is bad"})
    elif "index" in request:
        send(image, pixels, mask)
    else:
        send({"count": 7})
"""


@functools.cache
def dials_is_there() -> bool:
    try:
        found = subprocess.run(
            [DIALS_PYTHON, "-c", "import dials"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return found.returncode == 0


@pytest.fixture
def child(tmp_path):
    """A child of our own, with so many seconds for an answer."""
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    made = []

    def start(timeout=20.0):
        made.append(DialsProcess((sys.executable,), timeout, script))
        return made[-1]

    yield start
    for one in made:
        one.close()


def pid_of(child):
    return count_images_by_dials(Path("pid"), child)


def test_an_image_has_what_the_child_says(child):
    buffers = PixelBuffers()
    image = open_image_by_dials(Path("x_1.mar"), 4, buffers, child())
    assert (image.file, image.image_number) == (Path("x_1.mar"), 4)
    assert image.pixels.tobytes() == bytes(range(24))
    assert image.pixels.shape == image.detector.shape == (2, 3)
    assert image.detector.mask.tolist() == [[True, True, False], [True] * 3]
    assert [panel.first for panel in image.detector.panels] == [(0, 0), (1, 0)]
    assert [p.distance for p in image.detector.panels] == pytest.approx([100, 101])
    assert image.detector.sensor is SensorType.PAD
    assert image.detector.sensor_attenuation == 3
    assert image.detector.trusted.limits() == (0, 2**31 - 1)
    assert image.beam.wavelength == 0.9


def test_one_child_serves_one_image_after_the_other(child):
    one = child()
    first = pid_of(one)
    open_image_by_dials(Path("x_1.mar"), 1, None, one)
    with pytest.raises(ImageError, match="bad: image 2: DIALS: it is bad"):
        open_image_by_dials(Path("bad"), 2, None, one)
    assert count_images_by_dials(Path("x_1.mar"), one) == 7
    assert pid_of(one) == first


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("die", r"DIALS's process has died \(exit code 3\): out of luck"),
        ("crash", r"DIALS's process has died \(signal 11\)"),
        ("half", r"DIALS's process has died \(exit code 0\)"),
        ("nonsense", "DIALS's process answers b'Hello, I am"),
        ("wide", "DIALS's process sends pixels of type <i8"),
    ],
)
def test_a_child_that_fails_is_said_and_another_takes_its_place(child, name, complaint):
    one = child()
    first = pid_of(one)
    with pytest.raises(ImageError, match=f"{name}: image 1: {complaint}") as caught:
        open_image_by_dials(Path(name), 1, None, one)
    assert "\n" not in str(caught.value)
    assert pid_of(one) != first
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_panels_beyond_the_image_are_refused(child):
    with pytest.raises(ImageError, match=r"beyond: image 1: DIALS: .*do not hold"):
        open_image_by_dials(Path("beyond"), 1, None, child())


def test_geometry_that_is_no_number_is_refused(child):
    for name in ("nowhere", "dark"):
        with pytest.raises(ImageError, match=rf"{name}: image 1: .*no sense.*(nan|-1)"):
            open_image_by_dials(Path(name), 1, None, child())


def test_a_child_that_hangs_is_ended(child):
    one = child(timeout=1.0)
    first = pid_of(one)
    began = time.monotonic()
    with pytest.raises(ImageError, match="hang: image 1: DIALS has not answered with"):
        open_image_by_dials(Path("hang"), 1, None, one)
    assert time.monotonic() - began < 30
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert pid_of(one) != first


def test_a_child_that_was_killed_meanwhile_costs_no_image(child):
    one = child()
    os.kill(pid_of(one), 9)
    time.sleep(0.1)
    assert count_images_by_dials(Path("x_1.mar"), one) == 7


def test_a_child_ends_with_its_owner(child, tmp_path):
    owner = DialsProcess((sys.executable,), 20.0, tmp_path / "child.py")
    child()
    pid = pid_of(owner)
    del owner
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_forked_process_starts_a_child_of_its_own(child):
    one = child()
    parents = pid_of(one)
    reader, writer = os.pipe()
    forked = os.fork()
    if forked == 0:
        try:
            os.write(writer, str(pid_of(one)).encode())
            one.close()
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        assert int(stream.read()) != parents
    os.waitpid(forked, 0)
    assert pid_of(one) == parents


def test_the_child_gets_none_of_our_python(child, monkeypatch, tmp_path):
    script = tmp_path / "environment.py"
    script.write_text(
        "import json, os, sys\n"
        "sys.stdin.readline()\n"
        "line = json.dumps({'count': 1, **os.environ}).encode()\n"
        "sys.stdout.buffer.write(b'%012d' % len(line) + line)\n"
    )
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    one = DialsProcess((sys.executable,), 20.0, script)
    said = one.ask({}, lambda _: [])
    one.close()
    assert not {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"} & set(said)
    assert Path(said["HDF5_PLUGIN_PATH"]).is_dir()


# Without DIALS


def test_what_to_install_is_said_where_there_is_no_python(child):
    one = DialsProcess(("no-such-dials.python",))
    with pytest.raises(DialsMissingError, match=r"x_1.mar: .*apt-get install dials"):
        count_images_by_dials(Path("x_1.mar"), one)


def test_what_to_install_is_said_where_python_has_no_dxtbx():
    one = DialsProcess((sys.executable,))
    with pytest.raises(DialsMissingError, match=r"conda install.*No module named"):
        open_image_by_dials(Path("x_1.mar"), 1, None, one)


def test_find_spots_does_not_begin_without_dials(tmp_path, monkeypatch):
    file = write_cbf(tmp_path / "x_1.cbf", np.zeros((3, 4), int))
    missing = DialsProcess(("no-such-dials.python",))
    monkeypatch.setattr(backend._memory, "process", missing)
    result = CliRunner().invoke(find_spots, [str(file), "--backend", "dials"])
    assert isinstance(result.exception, ConfigurationError)
    assert "apt-get install dials" in str(result.exception)
    assert result.exception.exit_code == 2


def test_find_spots_takes_images_from_the_child(child, tmp_path, monkeypatch):
    for name in ("x_1.mar", "die"):
        (tmp_path / name).touch()
    monkeypatch.setattr(backend._memory, "process", child())
    arguments = [f"{tmp_path}/x_1.mar:2:3", f"{tmp_path}/die", "--backend", "dials"]
    result = CliRunner().invoke(find_spots, [*arguments, "--json"])
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["image_number"] for record in records] == [2, 3, 1]
    assert [record.get("n_spots_found") for record in records] == [0, 0, None]
    assert "out of luck" in records[2]["error"]
    assert result.exit_code == 1


def test_the_backend_is_a_parameter_of_the_analysis():
    assert PerImageAnalysisParameters.parse({}).backend is Backend.NATIVE
    parsed = PerImageAnalysisParameters.parse({"backend": "dials"})
    assert parsed.backend is Backend.DIALS


# DIALS itself


@pytest.fixture(scope="module")
def dials():
    """A child with DIALS in it."""
    if not dials_is_there():
        pytest.skip(f"{DIALS_PYTHON} has no dials")
    one = DialsProcess((DIALS_PYTHON,))
    yield one
    one.close()


def spotty(seed=1, shape=(195, 487)):
    rng = np.random.default_rng(seed)
    pixels = rng.poisson(2, shape)
    for slow, fast in rng.integers(4, [shape[0] - 4, shape[1] - 4], (20, 2)):
        pixels[slow - 1 : slow + 2, fast - 1 : fast + 2] += 54
    return pixels


@pytest.mark.dials
def test_images_are_the_same_by_dials(dials, tmp_path):
    header = mini_header(
        Exposure_period="0.02 s",
        Start_angle="0.0 deg.",
        Angle_increment="0.1 deg.",
        Count_cutoff="64 counts",
    )
    cbf = write_cbf(tmp_path / "x_00001.cbf", spotty(), header)
    smv = write_smv(tmp_path / "x_001.img", spotty().astype("<u2"), GAIN="1.7")
    for file in (cbf, smv):
        assert count_images_by_dials(file, dials) == 1
        theirs, ours = open_image_by_dials(file, 1, None, dials), open_image(file)
        for place, expected in zip(
            theirs.detector.panel.plane, ours.detector.panel.plane, strict=True
        ):
            assert place == pytest.approx(expected)
        assert theirs.detector.min_spot_size == ours.detector.min_spot_size
        found, own = analyse_image(theirs), analyse_image(ours)
        assert found.counts() == pytest.approx(own.counts())
        assert found.n_spots_found > 10
        assert found.d == pytest.approx(own.d, rel=1e-9)


@pytest.mark.dials
def test_dials_says_what_it_does_not_know(dials, tmp_path):
    file = tmp_path / "x_1.txt"
    file.write_text("no image")
    with pytest.raises(ImageError, match=r"x_1.txt: image 1: DIALS: dxtbx does not kn"):
        open_image_by_dials(file, 1, None, dials)
    with pytest.raises(ImageError, match=r"gone.cbf: DIALS: FileNotFoundError"):
        count_images_by_dials(tmp_path / "gone.cbf", dials)
    smv = write_smv(tmp_path / "x_001.img", spotty().astype("<u2"))
    with pytest.raises(ImageError, match="image 2: DIALS: there are 1 images: no"):
        open_image_by_dials(smv, 2, None, dials)


@pytest.mark.dials
def test_a_file_that_was_replaced_is_read_anew_by_dials(dials, tmp_path):
    file = tmp_path / "x_001.img"
    for seed in (1, 2):
        pixels = spotty(seed).astype("<u2")
        write_smv(file, pixels)
        image = open_image_by_dials(file, 1, None, dials)
        assert np.array_equal(image.pixels, pixels)


@pytest.mark.dials
def test_compressions_of_detectors_are_known_to_dials(dials, tmp_path):
    import h5py
    import hdf5plugin

    from tests.unit.small_images import nexus_group

    pixels = np.stack([spotty(seed) for seed in (1, 2)]).astype(np.uint16)
    file = write_nxmx(tmp_path / "x_1.nxs", pixels)
    with h5py.File(file, "r+") as root:
        del root["entry/data/data"]
        root["entry/data"].create_dataset(
            "data", data=pixels, chunks=(1, 195, 487), **hdf5plugin.Bitshuffle()
        )
        nexus_group(root["entry"], "sample", "NXsample")
        detector = root["entry/instrument/detector"]
        detector["depends_on"] = "/entry/instrument/detector/axes/distance"
        for key in ("fast", "slow"):
            node = detector[f"module/{key}_pixel_direction"]
            node.attrs["depends_on"] = f"{detector.name}/module/module_offset"
    assert count_images_by_dials(file, dials) == 2
    image = open_image_by_dials(file, 2, None, dials)
    assert np.array_equal(image.pixels, pixels[1])
