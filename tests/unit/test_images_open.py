"""Opening images of any kind."""

import bz2
import gzip
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.unit.small_images import cbf_bytes, mini_header, write_cbf, write_nxmx
from zocelery.errors import ImageError, TemporaryError
from zocelery_tasks.images import files
from zocelery_tasks.images.open import count_images, is_hdf5, open_image

PIXELS = np.arange(12).reshape(3, 4)
NOBODY = 65534


def test_the_kind_of_a_file_is_told_by_its_content(tmp_path):
    cbf = write_cbf(tmp_path / "x.h5", PIXELS)
    nexus = write_nxmx(tmp_path / "x.cbf", PIXELS[None].astype(np.uint16))
    assert (is_hdf5(cbf), is_hdf5(nexus)) == (False, True)
    assert (count_images(cbf), count_images(nexus)) == (1, 1)
    assert open_image(cbf).pixels.tolist() == PIXELS.tolist()
    assert open_image(nexus).pixels.tolist() == PIXELS.tolist()


def test_a_cbf_file_has_image_1_only(tmp_path):
    file = write_cbf(tmp_path / "x_00007.cbf", PIXELS)
    image = open_image(file)
    assert (image.file, image.image_number) == (file, 1)
    with pytest.raises(
        ImageError, match=r"x_00007.cbf: image 7: there is only image 1"
    ):
        open_image(file, 7)


def test_full_headers_win_over_mini_headers(tmp_path):
    file = tmp_path / "x.cbf"
    file.write_bytes(cbf_bytes(PIXELS, mini_header() + "_diffrn.id DS1\n"))
    with pytest.raises(ImageError, match="lacks displacement_increment"):
        open_image(file)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"", "empty"), (b"II*\0 a TIFF", "neither a CBF, SMV nor HDF5 image")],
)
def test_other_files_are_no_images(tmp_path, content, complaint):
    file = tmp_path / "x.tif"
    file.write_bytes(content)
    for look in (open_image, count_images):
        with pytest.raises(ImageError, match=f"x.tif: .*{complaint}"):
            look(file)


def test_what_is_compressed_but_no_image_is_said_to_be_none(tmp_path):
    file = tmp_path / "x.dm4.gz"
    file.write_bytes(gzip.compress(b"\0\0\0\4 a Gatan image"))
    with pytest.raises(ImageError, match=r"neither a CBF.*the backend dials opens"):
        open_image(file)


def test_folders_and_missing_files_are_no_images(tmp_path):
    with pytest.raises(ImageError, match="image 1: Is a directory"):
        open_image(tmp_path)
    with pytest.raises(ImageError, match=r"x.cbf: image 3: No such file"):
        open_image(tmp_path / "x.cbf", 3)


def test_a_pipe_is_no_image_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "x.cbf")
    for look in (open_image, count_images):
        with pytest.raises(ImageError, match=r"x.cbf: .*a pipe, not a file"):
            look(tmp_path / "x.cbf")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_compressed_files_may_have_several_streams(tmp_path, compress):
    content = cbf_bytes(PIXELS)
    file = tmp_path / "x_1.cbf.z"
    streams = compress(content[:700]) + compress(content[700:])
    file.write_bytes(streams)
    assert open_image(file).pixels.tolist() == PIXELS.tolist()
    file.write_bytes(streams + b"\0\0")
    assert open_image(file).pixels.tolist() == PIXELS.tolist()
    file.write_bytes(streams[:-9])
    with pytest.raises(ImageError, match="cannot be decompressed: it is truncated"):
        open_image(file)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_compressed_files_do_not_fill_the_memory(tmp_path, monkeypatch, compress):
    monkeypatch.setattr(files, "_MOST", 10_000)
    file = tmp_path / "x_1.cbf.z"
    for content in (compress(bytes(10_001)), compress(bytes(6000)) * 2):
        file.write_bytes(content)
        with pytest.raises(ImageError, match="it holds more than 10000 bytes"):
            open_image(file)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read every file: drop the user id meanwhile."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_without_permission_is_named():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = write_cbf(Path(folder) / "x_00001.cbf", PIXELS)
        file.chmod(0)
        with (
            as_nobody(),
            pytest.raises(
                ImageError, match=r"x_00001\.cbf: image 1: Permission denied"
            ),
        ):
            open_image(file)


def test_a_failing_file_server_is_worth_another_try(tmp_path):
    stale = OSError(116, "Stale file handle")
    assert isinstance(files.file_error(tmp_path, stale), TemporaryError)
    denied = files.file_error(tmp_path / "x.cbf", OSError(13, "Permission denied"))
    assert isinstance(denied, ImageError)
    assert str(denied) == f"{tmp_path}/x.cbf: Permission denied"


def problem_with(file):
    try:
        open_image(file)
    except ImageError as error:
        return str(error)
    return None


@pytest.mark.parametrize("seed", range(40))
def test_no_damage_ends_in_anything_but_an_image_error(tmp_path, seed):
    rng = np.random.default_rng(seed)
    content = bytearray(cbf_bytes(PIXELS))
    for at in rng.integers(0, len(content), 20):
        content[at] = rng.integers(256)
    file = tmp_path / "x_1.cbf"
    file.write_bytes(content)
    problem = problem_with(file) or f"{file}: none"
    assert problem.startswith(f"{file}: ")
    assert "\n" not in problem


def test_no_truncation_goes_unnoticed(tmp_path):
    nexus = write_nxmx(tmp_path / "ok.nxs", PIXELS[None].astype(np.uint16))
    for whole in (nexus.read_bytes(), cbf_bytes(PIXELS).partition(bytes(128))[0]):
        for part, kept in enumerate(range(0, len(whole), len(whole) // 30)):
            file = tmp_path / f"{len(whole)}_{part}"
            file.write_bytes(whole[:kept])
            assert (problem_with(file) or "none").startswith(f"{file}: ")
