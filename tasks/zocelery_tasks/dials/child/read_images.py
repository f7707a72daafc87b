"""Open images with dxtbx for another process: run by DIALS's Python, not by ours.

Usage: PYTHON read_images.py

Each line of standard input is a request in JSON: `timeout` in seconds; `file`, or none
to hear that the process is ready; and `index`, the 0-based number of an image, or none
to be told how many there are. The answer is a line
of JSON, after its length in 12 digits; if it has no `error` and there was an `index`,
the bytes of the pixels and of the mask follow. Needs nothing but DIALS and numpy, of
any version; of Python 3.10 on.
"""

import json
import os
import signal
import sys
from collections import OrderedDict
from importlib import import_module
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

_MAX_OPEN = 4
_PATIENCE = 30
"""Seconds that a request may take over its time: then whoever asked has died."""

Arrays = tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]


class Images:
    """The images of the last few files."""

    def __init__(self) -> None:
        self._registry = import_module("dxtbx.format.Registry")
        self._formats = import_module("dxtbx.format.Format").Format
        self._known: OrderedDict[str, tuple[object, Any]] = OrderedDict()

    def open(self, file: str) -> Any:
        """Return dxtbx's images of a file, from the last time if it is unchanged."""
        status = os.stat(file)  # noqa: PTH116 (the key is all that is needed)
        identity = (
            *(status.st_dev, status.st_ino),
            *(status.st_mtime_ns, status.st_size),
        )
        known, images = self._known.pop(file, (None, None))
        if known != identity:
            # dxtbx keeps the last file open by its name alone.
            self._formats.get_cache_controller().check("", BytesIO)
            kind = self._registry.get_format_class_for_file(file)
            if kind is None:
                raise ValueError("dxtbx does not know this kind of file")
            images = kind.get_imageset([file], as_imageset=True)
        self._known[file] = identity, images
        if len(self._known) > _MAX_OPEN:
            self._known.popitem(last=False)
        return images


def reply(images: Images, request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return what to say to a request, and the arrays that follow."""
    if "file" not in request:
        return {"ready": True}, ()
    found = images.open(request["file"])
    if "index" not in request:
        return {"count": len(found)}, ()
    return describe_image(found, request["index"])


def describe_image(images: Any, index: int) -> tuple[dict[str, Any], Arrays]:
    """Return what is said of an image, and its pixels and mask."""
    if not 0 <= index < len(images):
        raise ValueError(f"there are {len(images)} images: no image {index + 1}")
    detector, beam = images.get_detector(index), images.get_beam(index)
    if beam is None or not hasattr(beam, "get_wavelength"):
        raise ValueError("there is no beam of one wavelength")
    parts = [part.as_numpy_array() for part in pixels_of(images, index)]
    masks = [mask.as_numpy_array() for mask in images.get_mask(index)]
    places = arrange([part.shape for part in parts], offsets(detector))
    pixels, mask = put_together(parts, masks, places)
    pixels, lowest = as_counts(pixels, mask)
    said = {
        "shape": pixels.shape,
        "dtype": pixels.dtype.str,
        "lowest": lowest,
        "panels": [
            describe(panel, place, part.shape)
            for panel, place, part in zip(detector, places, parts, strict=True)
        ],
        "sensor": sensor_of(detector),
        "wavelength": beam.get_wavelength(),
        "source_direction": list(beam.get_sample_to_source_direction()),
    }
    return said, (pixels, mask)


def pixels_of(images: Any, index: int) -> Any:
    """Return the counts of each panel, or photons where these are not the same."""
    raw = images.get_raw_data(index)
    raw = raw if isinstance(raw, tuple) else (raw,)
    counts_photons = all(
        panel.get_gain() == 1 and panel.get_pedestal() == 0
        for panel in images.get_detector(index)
    )
    lookup = images.external_lookup
    counts_photons &= lookup.gain.data.empty() and lookup.pedestal.data.empty()
    is_whole = all(type(part).__name__ == "int" for part in raw)
    return raw if counts_photons and is_whole else images.get_corrected_data(index)


def offsets(detector: Any) -> list[tuple[int, int]]:
    """Return where each panel begins in the file's image, (slow, fast)."""
    return [tuple(panel.get_raw_image_offset()[::-1]) for panel in detector]


def arrange(shapes: Any, wanted: Any) -> list[tuple[int, int]]:
    """Return where each panel goes: as wanted, or one below the other if they overlap.

    Args:
        shapes: of the panels, (slow, fast).
        wanted: where they should begin, (slow, fast).
    """
    taken = np.zeros(_ends(wanted, shapes), np.uint8)
    for (slow, fast), (rows, columns) in zip(wanted, shapes, strict=True):
        taken[slow : slow + rows, fast : fast + columns] += 1
    if len(shapes) == 1 or taken.max() > 1:
        ends = np.cumsum([0] + [rows for rows, _ in shapes])
        return [(int(end), 0) for end in ends[:-1]]
    return list(wanted)


def _ends(places: Any, shapes: Any) -> list[int]:
    """Return how far panels at `places` reach, (slow, fast)."""
    placed = list(zip(places, shapes, strict=True))
    return [max(at[k] + size[k] for at, size in placed) for k in (0, 1)]


def put_together(parts: Any, masks: Any, places: Any) -> Arrays:
    """Return one image of all panels, and its mask, False between them."""
    if len(parts) == 1:
        return np.ascontiguousarray(parts[0]), np.ascontiguousarray(masks[0])
    ends = _ends(places, [part.shape for part in parts])
    pixels, mask = np.zeros(ends, parts[0].dtype), np.zeros(ends, bool)
    for (slow, fast), part, valid in zip(places, parts, masks, strict=True):
        region = np.s_[slow : slow + part.shape[0], fast : fast + part.shape[1]]
        pixels[region], mask[region] = part, valid
    return pixels, mask


def as_counts(pixels: Any, mask: Any) -> tuple[Any, int]:
    """Return the pixels, as int32 if they are whole, and a bound of their lowest."""
    if pixels.dtype.kind == "f":
        pixels = np.where(mask, pixels, 0.0)
        limits = np.iinfo(np.int32)
        with np.errstate(invalid="ignore"):
            is_whole = bool((pixels == np.rint(pixels)).all())
        if is_whole and pixels.min() >= limits.min and pixels.max() <= limits.max:
            pixels = pixels.astype(np.int32)
        else:
            pixels = pixels.astype(np.float64)
    else:
        pixels = pixels.astype(np.int32, copy=False)
    lowest = int(np.iinfo(np.int32).min) if ((pixels < 0) & mask).any() else 0
    return pixels, lowest


def describe(panel: Any, place: Any, shape: Any) -> dict[str, Any]:
    """Return where a panel is, in the image and in the laboratory."""
    return {
        "fast_axis": panel.get_fast_axis(),
        "slow_axis": panel.get_slow_axis(),
        "origin": panel.get_origin(),
        "pixel_size": panel.get_pixel_size(),
        "first": place,
        "size": shape,
    }


def sensor_of(detector: Any) -> dict[str, Any]:
    """Return the kind of sensor, and what corrects for parallax if anything does."""
    strategies = [panel.get_px_mm_strategy() for panel in detector]
    layers = {
        (strategy.mu(), strategy.t0()) if hasattr(strategy, "t0") else None
        for strategy in strategies
    }
    if len(layers) > 1:
        raise ValueError("the panels have sensors of several kinds")
    (layer,) = layers
    return {
        "kind": detector[0].get_type(),
        "attenuation": layer and layer[0],
        "thickness": layer and layer[1],
    }


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    try:
        images = Images()
    except ImportError as error:
        send(answers, {"error": f"{error}", "missing": True})
        return
    for line in iter(requests.readline, b""):
        request = json.loads(line)
        # The system ends even a process that hangs in a library.
        signal.alarm(int(request["timeout"]) + _PATIENCE)
        try:
            said, arrays = reply(images, request)
            send(answers, said, *arrays)
        except Exception as error:
            reason = " ".join(f"{error}".split())
            if not isinstance(error, ValueError):
                reason = f"{type(error).__name__}: {reason}"
            send(answers, {"error": reason[:500]})
        signal.alarm(0)


def send(answers: BinaryIO, said: dict[str, Any], *arrays: Any) -> None:
    """Send a line of JSON, its length first, and the bytes of arrays."""
    line = json.dumps(said).encode() + b"\n"
    answers.write(b"%012d" % len(line) + line)
    for array in arrays:
        answers.write(np.ascontiguousarray(array).data.cast("B"))
    answers.flush()


def main() -> None:
    """Keep standard output for the answers: libraries may print to it."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
