"""Join strong pixels of images to DIALS's spots: run by DIALS's Python, not by ours.

Usage: PYTHON join_spots.py PIXELS.json EXPERIMENTS [name=value ...]

PIXELS.json is an object: for the number of an image, from 1, the file with its strong
pixels, as `zocelery_tasks.strong_pixels` writes it; an image that is not in it has
none. All else is `dials.find_spots` itself: it takes the pixels from these files where
it would read and threshold the images. Needs nothing but DIALS and numpy.
"""

import json
import logging
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

logger = logging.getLogger("dials.join_spots")


class KnownPixels:
    """Stands for DIALS's `ExtractPixelsFromImage`."""

    files: "dict[str, str]"
    """File names by the numbers of images; set before DIALS makes one of these."""

    def __init__(self, imageset: Any, mask: Any = None, **others: Any) -> None:
        """Take what DIALS says; thresholds have been applied already."""
        del others
        self._imageset, self._mask = imageset, mask
        self._panels = [panel.get_image_size() for panel in imageset.get_detector()]
        self._first = imageset.get_array_range()[0]
        self._pixel_list = import_module("dials.model.data").PixelList
        self._flex = import_module("dials.array_family").flex

    def __call__(self, index: int) -> "list[Any]":
        """Return a list of strong pixels for each panel of an image."""
        frame = self._first + index
        shapes, found = self._read(index)
        panels = [self._panel(frame, *each) for each in zip(shapes, found, strict=True)]
        count = sum(len(panel) for panel in panels)
        logger.info("Found %d strong pixels on image %d", count, frame + 1)
        return panels

    def _read(self, index: int) -> "tuple[Any, Any]":
        """Return the shapes of panels, and indices and values of their pixels."""
        shapes = [(slow, fast) for fast, slow in self._panels]
        file = self.files.get(str(index + 1))
        if file is None:
            return shapes, [(np.empty(0, np.uint32), np.empty(0))] * len(shapes)
        with np.load(file, allow_pickle=False) as columns:
            known = [tuple(shape) for shape in columns["shape"].tolist()]
            panel, pixel, value = (columns[k] for k in ("panel", "index", "value"))
        if known != shapes:
            sys.exit(f"Sorry: {file}: has panels of {known}, the experiments {shapes}")
        chosen = [panel == number for number in range(len(shapes))]
        found = [(pixel[c], value[c]) for c in chosen]
        if self._mask is not None:
            found = [self._unmasked(n, *pixels) for n, pixels in enumerate(found)]
        return shapes, found

    def _unmasked(self, panel: int, index: Any, value: Any) -> "tuple[Any, Any]":
        usable = self._mask[panel].as_numpy_array().reshape(-1)[index]
        return index[usable], value[usable]

    def _panel(self, frame: int, shape: Any, found: Any) -> Any:
        index, value = found
        flex = self._flex
        values = flex.double(np.ascontiguousarray(value, np.float64))
        indices = flex.size_t(index.astype(np.int64).tolist())
        return self._pixel_list(frame, shape, values, indices)


def main() -> None:
    """Run dials.find_spots on pixels that are known."""
    finder = import_module("dials.algorithms.spot_finding.finder")
    command = import_module("dials.command_line.find_spots")
    if not hasattr(finder, "ExtractPixelsFromImage"):
        sys.exit("Sorry: this version of DIALS looks at images in another way")
    KnownPixels.files = json.loads(Path(sys.argv[1]).read_text())
    vars(finder)["ExtractPixelsFromImage"] = KnownPixels
    command.run(sys.argv[2:])


if __name__ == "__main__":
    main()
