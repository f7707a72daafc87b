"""Strong pixels of images, kept so that DIALS need not look for them again.

The spots of a rotation reach over several images, so that what is kept of an image are
not its spots but the pixels that these are made of. `dials.join_spots` joins them.
"""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zocelery.errors import TemporaryError
from zocelery.settings import WrapperSettings
from zocelery_tasks.spot_finding import StrongPixels
from zocelery_tasks.wrappers.folders import allowed_folder, safe_name

FOLDER = "strong_pixels"


def strong_pixels_file(
    working_directory: str | None, settings: WrapperSettings, *place: str
) -> Path:
    """Return the absolute path of the file of one image.

    Args:
        working_directory: as the recipe says; by default the configuration's.
        settings: the configuration.
        place: run, node and image; nothing else has the same.

    Raises:
        ParameterError: the folder is outside of the allowed ones.
    """
    base = settings.working_directory.absolute()
    if working_directory:
        base = allowed_folder(working_directory, "working_directory", settings.roots)
    run, node, item = map(safe_name, place)
    return base / run / FOLDER / node / f"{item}.npz"


def write_strong_pixels(file: Path, panels: Sequence[StrongPixels]) -> None:
    """Write the strong pixels of an image; the file appears whole or not at all.

    It holds for NumPy `shape`, (n_panels, 2), slow and fast; and for each pixel
    `panel`, `index` and `value`.

    Raises:
        TemporaryError: it cannot be written, now.
    """
    numbers = np.arange(len(panels), dtype=np.uint16)
    index = np.concatenate([panel.index for panel in panels])
    value = np.concatenate([panel.counts for panel in panels])
    columns: dict[str, npt.NDArray[Any]] = {
        "shape": np.array([panel.shape for panel in panels], np.int64),
        "panel": np.repeat(numbers, [len(panel.index) for panel in panels]),
        "index": index.astype(np.uint32),
        "value": value.astype(np.float64),
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(file, columns)
    except OSError as error:
        raise TemporaryError(f"{file}: cannot be written: {error.strerror}") from error


def _write(file: Path, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    fresh = file.with_name(f".{uuid.uuid4().hex}.npz")
    try:
        np.savez(fresh, allow_pickle=False, **columns)
        fresh.replace(file)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
