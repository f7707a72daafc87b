"""Spot finding as the tasks use it."""

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from pydantic import ValidationError

from zocelery.errors import ImageError
from zocelery_tasks.kernels.threshold import Algorithm
from zocelery_tasks.spot_finding import SpotFinder, SpotFindingSettings, warm_up

TRUSTED = (0, 60000)
SPOT = np.array([[12, 20, 12], [20, 90, 20], [12, 20, 12]])


def image_with_spots(*corners: tuple[int, int], dtype: Any = np.uint16) -> Any:
    y, x = np.indices((60, 70))
    image = ((x + y) % 3).astype(dtype)
    for j, i in corners:
        image[j : j + 3, i : i + 3] = SPOT
    return image


def find(image: Any, *, mask: Any = None, least: int = 3, **chosen: Any) -> Any:
    mask = np.ones(image.shape, np.bool_) if mask is None else mask
    finder = SpotFinder(SpotFindingSettings(**chosen))
    return finder.find(image, mask, TRUSTED, least)


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int32])
def test_spots_are_found_where_they_are(algorithm, dtype):
    table = find(image_with_spots((10, 20), (40, 50), dtype=dtype), algorithm=algorithm)
    assert table.x == pytest.approx([21.5, 51.5], abs=0.2)
    assert table.y == pytest.approx([11.5, 41.5], abs=0.2)
    assert table.peak.tolist() == [90, 90]


def test_the_defaults_are_those_of_dials():
    settings = SpotFinder().settings
    assert settings.model_dump() == {
        "algorithm": "dispersion_extended",
        "kernel_size": (3, 3),
        "sigma_background": 6,
        "sigma_strong": 3,
        "min_local": 2,
        "global_threshold": 0,
        "gain": None,
        "max_strong_pixel_fraction": 0.25,
        "min_spot_size": None,
        "max_spot_size": 1000,
        "max_separation": 2,
        "dials_rule": "3.12",
    }


def test_small_spots_go_unless_the_settings_say_otherwise():
    image = image_with_spots((10, 20))
    size = find(image).n_pixels[0]
    assert len(find(image, least=size + 1)) == 0
    assert len(find(image, least=size + 1, min_spot_size=2)) == 1
    assert len(find(image, min_spot_size=size + 1)) == 0
    assert len(find(image, max_spot_size=size - 1)) == 0


def test_settings_reach_the_threshold():
    image = image_with_spots((10, 20))
    assert len(find(image, global_threshold=90)) == 0
    assert len(find(image, sigma_background=1000)) == 0
    assert len(find(image, sigma_strong=100)) == 0
    assert len(find(image, gain=100)) == 0
    assert find(image, global_threshold=19, min_spot_size=1).n_pixels.tolist() == [5]


def test_a_spot_at_a_gap_is_whole_by_the_newer_rule():
    image, mask = image_with_spots((10, 20)), np.ones((60, 70), np.bool_)
    mask[:, 23:] = False
    assert find(image, mask=mask, dials_rule="3.12").n_pixels.tolist() == [3]
    assert find(image, mask=mask, dials_rule="3.24").n_pixels.tolist() == [9]


def test_overloads_do_not_count():
    image = image_with_spots((10, 20))
    image[11, 21] = 60001
    chosen = {"algorithm": "dispersion", "min_spot_size": 1}
    assert find(image, **chosen).peak.tolist() == [20]
    image[11, 21] = 60000
    assert find(image, **chosen).peak.tolist() == [60000]


def test_an_image_of_noise_without_end_is_refused():
    rng = np.random.default_rng(1)
    image = (rng.random((60, 70)) < 0.4).astype(np.uint16) * 1000
    with pytest.raises(ImageError, match=r"of 4200 pixels are strong, more than"):
        find(image, sigma_background=0, sigma_strong=0)
    assert find(
        image, sigma_background=0, sigma_strong=0, max_strong_pixel_fraction=1
    ).n_pixels.sum()


def test_a_quarter_of_strong_pixels_is_still_an_image():
    image = np.ones((8, 8), np.uint16)
    image[:2, :8] = 1000  # 16 of 64
    chosen = {
        "algorithm": "dispersion",
        "sigma_background": 0,
        "sigma_strong": 0.1,
        "global_threshold": 100,
        "max_separation": None,
    }
    assert find(image, **chosen).n_pixels.tolist() == [16]
    image[2, 0] = 1000
    with pytest.raises(ImageError, match="17 of 64"):
        find(image, **chosen)


@pytest.mark.parametrize(
    "image",
    [
        np.full((60, 70), np.nan),
        np.ones((60, 70), np.float32),
        np.ones((60, 70), np.uint64),
        np.ones((60, 71), np.uint16),
        np.ones((1, 60, 70), np.uint16),
    ],
    ids=["nan", "float", "64 bits", "shape", "3-d"],
)
def test_what_is_no_image_is_an_image_error(image):
    with pytest.raises(ImageError, match="spots cannot be found"):
        find(image, mask=np.ones((60, 70), np.bool_))


@pytest.mark.parametrize(
    "wrong",
    [
        {"algorithm": "radial_profile"},
        {"kernel_size": (0, 3)},
        {"sigma_strong": -1},
        {"sigma_background": float("inf")},
        {"min_local": 1},
        {"min_local": 50},
        {"gain": 0},
        {"min_spot_size": 0},
        {"max_strong_pixel_fraction": 0},
        {"dials_rule": "3.13"},
        {"no_such_setting": 1},
    ],
    ids=str,
)
def test_settings_without_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        SpotFindingSettings(**wrong)


def test_a_finder_forgets_the_image_before():
    finder = SpotFinder()
    mask = np.ones((60, 70), np.bool_)
    mask.flags.writeable = False
    assert len(finder.find(image_with_spots((10, 20), (40, 50)), mask, TRUSTED, 3)) == 2
    assert len(finder.find(image_with_spots(), mask, TRUSTED, 3)) == 0
    other = image_with_spots((10, 20))[:40, :50]
    assert len(finder.find(other, mask[:40, :50], TRUSTED, 3)) == 1
    assert len(finder.find(image_with_spots((40, 50)), mask, TRUSTED, 3)) == 1


def test_nothing_is_compiled_after_a_warm_up():
    from numba.core import event

    warm_up()
    with event.install_recorder("numba:compile") as recorder:
        for dtype in (np.uint8, np.uint16, np.uint32, np.int32, np.float64):
            for algorithm in Algorithm:
                image = image_with_spots((10, 20), dtype=dtype)
                assert len(find(image, algorithm=algorithm)) == 1
                assert len(find(image, algorithm=algorithm, gain=1.0)) == 1
                assert len(find(image, algorithm=algorithm, kernel_size=(2, 4))) == 1
    assert not recorder.buffer


def test_what_is_not_in_the_cache_is_compiled_by_a_process_of_its_own(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    chosen = [Algorithm.DISPERSION]
    with patch("zocelery_tasks.spot_finding.subprocess.run") as run:
        warm_up(chosen)
        assert run.call_args.args[0][-1] == "dispersion"
        (tmp_path / "kernels").mkdir()
        (tmp_path / "kernels" / "dispersion.find_dispersion-70.py311.nbi").touch()
        run.reset_mock()
        warm_up(chosen)
        run.assert_not_called()
