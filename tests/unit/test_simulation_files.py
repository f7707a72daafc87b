"""Files: other programs read back what was simulated, also while it is written."""

import json
import shutil
import subprocess
import sys
import zlib

import fabio
import h5py
import hdf5plugin
import numpy as np
import pytest

from tests.unit.small_images import encode_byte_offset
from zocelery.errors import InputFileError, ParameterError
from zocelery_tasks.simulation.bslz4 import ChunkCompressor
from zocelery_tasks.simulation.cbf_writer import compress_byte_offset
from zocelery_tasks.simulation.scans import simulate_grid, simulate_rotation

SMALL = {"detector": "test_128k", "d_min": 3.0, "seed": 3}


def rotation(folder, **options):
    return simulate_rotation(folder, **{"images": 3} | SMALL | options)


def grid(folder, **options):
    return simulate_grid(folder, **{"steps": (3, 2)} | SMALL | options)


def pixels(master):
    assert hdf5plugin.FILTERS
    with h5py.File(master) as file:
        return file["entry/data/data"][()]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# NXmx


def test_a_rotation_is_described_as_nxmx(tmp_path):
    master = rotation(tmp_path, start=5.0, width=0.5).master
    with h5py.File(master) as file:
        entry = file["entry"]
        assert entry["definition"].asstr()[()] == "NXmx"
        assert entry["data/data"].shape == (3, 256, 512)
        assert entry["data/omega"][()].tolist() == [5.0, 5.5, 6.0]
        detector = entry["instrument/detector"]
        assert detector["pixel_mask"].shape == (256, 512)
        assert detector["module/data_size"][()].tolist() == [256, 512]
        assert entry["instrument/beam/incident_wavelength"][()] == 0.9795
    assert names(tmp_path) == ["lyso_1.nxs", "lyso_1_000001.h5", "lyso_1_meta.h5"]


def test_the_data_are_one_bitshuffle_lz4_chunk_for_each_image(tmp_path):
    rotation(tmp_path)
    with h5py.File(tmp_path / "lyso_1_000001.h5") as file:
        dataset = file["data"]
        assert dataset.chunks == (1, 256, 512)
        assert dataset.id.get_create_plist().get_filter(0)[0] == 32008
        assert dataset.id.get_num_chunks() == 3


def test_images_in_many_files_are_the_same_images(tmp_path):
    whole = rotation(tmp_path / "a", images=5)
    parts = rotation(tmp_path / "b", images=5, images_per_file=2)
    assert (pixels(whole.master) == pixels(parts.master)).all()
    with h5py.File(parts.master) as file:
        shapes = [file[f"entry/data/data_{n:06d}"].shape[0] for n in (1, 2, 3)]
    assert shapes == [2, 2, 1]


def test_a_set_of_files_can_be_moved(tmp_path):
    master = rotation(tmp_path / "a", images_per_file=2).master
    before = pixels(master)
    moved = (tmp_path / "a").rename(tmp_path / "b")
    assert (pixels(moved / "lyso_1.nxs") == before).all()


def test_the_stills_of_a_grid_say_where_the_sample_was(tmp_path):
    master = grid(tmp_path, start=30.0, snaked=True, box_size_um=10).master
    with h5py.File(master) as file:
        data = file["entry/data"]
        assert set(data["omega"][()]) == {30.0}
        assert data["sam_x"][()] == pytest.approx([0, 0.01, 0.02, 0.02, 0.01, 0])
        assert data["sam_y"][()] == pytest.approx([0, 0, 0, 0.01, 0.01, 0.01])
        axes = file["entry/sample/transformations"]
        assert axes["omega_increment_set"][()] == 0


def test_a_plugin_path_in_the_environment_does_no_harm(tmp_path):
    script = (
        "import sys, pathlib; from zocelery_tasks.simulation.scans import *;"
        "simulate_rotation(pathlib.Path(sys.argv[1]), images=2,"
        " detector='test_128k', d_min=5.0)"
    )
    environment = {"HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH}
    command = [sys.executable, "-c", script, str(tmp_path)]
    subprocess.run(command, env=environment, check=True)
    assert pixels(tmp_path / "lyso_1.nxs").any()


def test_a_chunk_is_what_hdf5_itself_would_write(tmp_path):
    frame = np.random.default_rng(1).poisson(3, (40, 50)).astype(np.uint16)
    with ChunkCompressor((40, 50)) as compressor:
        compressor.compress(np.zeros((40, 50), np.uint16))
        chunk = compressor.compress(frame)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        options = hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
        dataset = file.create_dataset("x", data=frame, chunks=frame.shape, **options)
        assert dataset.id.read_direct_chunk((0, 0))[1] == chunk


# CBF


def test_cbf_and_nxmx_hold_the_same_pixels(tmp_path):
    master = rotation(tmp_path, format="both").master
    for number, expected in enumerate(pixels(master), start=1):
        with fabio.open(tmp_path / f"lyso_1_{number:05d}.cbf") as image:
            counts = image.data
        assert counts[expected == 65535].max() == -1
        assert (counts[expected < 65535] == expected[expected < 65535]).all()


@pytest.mark.parametrize(
    ("detector", "convention", "name"),
    [
        ("pilatus3_1m", "PILATUS_1.2", "PILATUS3 1M, S/N"),
        ("eiger2_1m", "PILATUS_1.2", "EIGER2 1M, S/N"),
        ("test_128k", "GENERIC_MINI", "GENERIC 128k, S/N"),
    ],
)
def test_the_header_of_a_cbf_names_the_detector(tmp_path, detector, convention, name):
    rotation(tmp_path, images=1, start=7.5, format="cbf", detector=detector)
    header = (tmp_path / "lyso_1_00001.cbf").read_bytes()[:1500].decode("latin1")
    assert f'header_convention "{convention}"' in header
    assert f"# Detector: {name}" in header
    assert "# Start_angle 7.5000 deg." in header
    assert "# Wavelength 0.97950 A" in header


def test_differences_of_every_size_are_compressed_as_defined():
    edges = [0, 1, 126, 127, 128, 129, 255, 32766, 32767, 32768, 32769, 65533, 65535]
    rng = np.random.default_rng(2)
    for _ in range(50):
        frame = rng.choice(edges, (5, 7)).astype(np.uint16)
        expected = frame.astype(np.int64)
        expected[frame == 65535] = -1
        assert compress_byte_offset(frame) == encode_byte_offset(expected)


def test_each_cbf_appears_whole(tmp_path):
    seen = []

    def look(doing, done, total):
        if doing == "writing":
            for path in tmp_path.glob("*"):
                with fabio.open(path) as image:
                    assert image.data.shape == (256, 512)
            seen.append(len(names(tmp_path)))

    simulate_rotation(
        tmp_path, look, images=3, format="cbf", frame_rate=1000.0, **SMALL
    )
    assert seen == [1, 2, 3]


# Live

READER = """
import sys, time, h5py, hdf5plugin
with h5py.File(sys.argv[1], swmr=True) as file:
    dataset = file["entry/data/data"]
    mask = file["entry/instrument/detector/pixel_mask"][()]
    def is_there(index):
        return bool(dataset.id.get_chunk_info_by_coord((index, 0, 0)).size)
    print("open", dataset.shape, flush=True)
    for index in range(len(dataset)):
        while not is_there(index):
            dataset.id.refresh()
            time.sleep(0.001)
        print(index, int(dataset[index][mask == 0].sum()), flush=True)
"""


def test_another_process_sees_each_image_while_later_ones_are_missing(tmp_path):
    readers = []
    lines = []

    def read_along(doing, done, total):
        if doing != "writing":
            assert not list(tmp_path.iterdir())
            return
        if done == 1:
            command = [sys.executable, "-c", READER, str(tmp_path / "lyso_1.nxs")]
            readers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            lines.append(readers[0].stdout.readline())
        lines.append(readers[0].stdout.readline())

    simulate_rotation(tmp_path, read_along, images=4, frame_rate=1000.0, **SMALL)
    with readers[0] as reader:
        assert reader.stdout.read() == ""
    assert reader.returncode == 0
    assert lines[0] == "open (4, 256, 512)\n"
    stored = pixels(tmp_path / "lyso_1.nxs")
    sums = [int(image[image < 65535].sum()) for image in stored]
    assert lines[1:] == [f"{n} {total}\n" for n, total in enumerate(sums)]


def test_live_images_are_the_same_images(tmp_path):
    options = {"steps": (3, 2), "distinct": 2, "format": "both"}
    at_once = grid(tmp_path / "a", **options)
    live = grid(tmp_path / "b", frame_rate=2000.0, **options)
    assert (pixels(at_once.master) == pixels(live.master)).all()
    for number in range(1, 7):
        name = f"grid_1_{number:05d}.cbf"
        sums = [fabio.open(tmp_path / f / name).data.sum() for f in ("a", "b")]
        assert sums[0] == sums[1]
    assert live.written[0].pace.asked_hz == 2000
    assert at_once.written[0].pace.asked_hz is None


def test_the_headers_of_a_live_scan_tell_its_exposure_time(tmp_path):
    master = rotation(tmp_path, images=2, frame_rate=500.0).master
    with h5py.File(master) as file:
        assert file["entry/instrument/detector/count_time"][()] == 0.002


# Truth


def test_the_truth_of_a_grid_tells_centre_and_factors(tmp_path):
    result = grid(tmp_path, truth=True, centre=(1.5, 0.5), crystal_size=(2, 1))
    truth = json.loads((tmp_path / "grid_1_truth.json").read_text())
    assert truth["centre"] == [1.5, 0.5] == list(result.centre)
    assert truth["boxes"] == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]
    assert truth["factors"] == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    # And the images show it.
    counts = pixels(result.master)
    bright = [(image[image < 65535] > 10).sum() for image in counts]
    assert [n > 5 for n in bright] == [False, True, False, False, False, False]


def test_the_truth_of_a_rotation_tells_where_spots_are(tmp_path):
    master = rotation(tmp_path, truth=True, images=5, wobble=0.0).master
    truth = np.load(tmp_path / "lyso_1_truth.npz")
    assert ((truth["phi"] >= 0) & (truth["phi"] < 2)).all()
    brightest = truth["counts"].argmax()
    summed = np.where(pixels(master) < 65535, pixels(master), 0).sum(axis=0)
    x, y = int(truth["x"][brightest]), int(truth["y"][brightest])
    around = summed[y - 3 : y + 4, x - 3 : x + 4]
    assert around.sum() > 0.5 * truth["counts"][brightest]
    described = json.loads((tmp_path / "lyso_1_truth.json").read_text())
    assert described["cell"] == [78.9, 78.9, 37.1, 90, 90, 90]
    assert described["reflections"] == len(truth["phi"])


def test_two_scans_at_right_angles_show_one_crystal(tmp_path):
    result = grid(
        tmp_path,
        third_axis=4,
        truth=True,
        centre=(1.5, 0.5, 2.5),
        crystal_size=(2, 1, 2),
    )
    assert result.centre == (1.5, 0.5, 2.5)
    factors = [
        json.loads((tmp_path / f"grid_1_{plane}_truth.json").read_text())["factors"]
        for plane in ("xy", "xz")
    ]
    assert [np.argmax(each) for each in factors] == [1, 7]
    assert [len(pixels(scan.master)) for scan in result.written] == [6, 12]


# Mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_rate": 0}, "frame-rate: .* greater than 0 .got 0"),
        ({"images": 0}, "images: .* greater than or equal to 1"),
        ({"wavelength": float("nan")}, "wavelength: .* finite"),
        ({"stem": "../lyso"}, "stem: '../lyso' is not a plain name"),
        ({"images": 5000, "width": 1.0}, "is 5000 degrees"),
        ({"images": 500, "images_per_file": 1}, "at least 3 are needed"),
        ({"colour": "red"}, "colour: Extra inputs"),
    ],
)
def test_options_of_a_rotation_that_make_no_sense_are_named(tmp_path, options, message):
    with pytest.raises(ParameterError, match=message):
        rotation(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": (0, 5)}, "a scan of 0x5 "),
        ({"steps": (1000, 1000)}, "a scan of 1000x1000 "),
        ({"centre": (1, 2, 3)}, "centre .* needs 2 numbers"),
        ({"third_axis": 3, "crystal_size": (1, 2)}, "crystal_size .* needs 3 numbers"),
        ({"crystal_size": (0, 1)}, "crystal_size .* is not positive"),
    ],
)
def test_grids_that_make_no_sense_are_named(tmp_path, options, message):
    with pytest.raises(ParameterError, match=message):
        grid(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_files_are_overwritten_only_if_that_is_asked_for(tmp_path):
    first = rotation(tmp_path, images=3, format="both")
    old = zlib.crc32(pixels(first.master).tobytes())
    with pytest.raises(InputFileError, match=r"lyso_1.nxs exists already"):
        rotation(tmp_path, images=1)
    other = rotation(tmp_path, images=1, stem="lyso_2", format="cbf")
    again = rotation(tmp_path, images=3, seed=4, overwrite=True)
    assert zlib.crc32(pixels(again.master).tobytes()) != old
    assert not list(tmp_path.glob("lyso_1_*.cbf"))
    assert len(other.written.files) == 1


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputFileError, match=r"cannot write to .*out"):
        rotation(tmp_path / "out")


def test_too_small_a_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    nearly_full = shutil._ntuple_diskusage(10**9, 10**9 - 10**5, 10**5)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: nearly_full)
    with pytest.raises(InputFileError, match=r"not enough disk space .* GB are free"):
        rotation(tmp_path)
    assert not list(tmp_path.iterdir())
