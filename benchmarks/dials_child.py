"""DIALS on request: `python -m benchmarks.dials_child`, run by DIALS's own Python.

Answers requests on stdin (see `wire`) until it ends. Times are CPU seconds of this
process, taken around DIALS's own work alone. Needs DIALS, numpy and `wire`, nothing of
ours.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from dials.algorithms.image.threshold import (
    DispersionExtendedThreshold,
    DispersionThreshold,
)
from dials.algorithms.spot_finding.factory import PeakCentroidDistanceFilter
from dials.array_family import flex
from dials.command_line import find_spots_server
from dials.model.data import PixelList, PixelListLabeller
from dials.util.version import dials_version
from dxtbx.format.FormatMultiImage import FormatMultiImage
from dxtbx.model.experiment_list import ExperimentListFactory

from benchmarks.wire import Array, Message, receive, send

MAX_SEPARATION = 2
"""DIALS's default: pixels between a spot's highest pixel and its centroid."""


class Peer:
    """What DIALS keeps between requests: the image, its strong pixels, open files."""

    def __init__(self) -> None:
        self.image: Any = None
        self.mask: Any = None
        self.gain: Any = None
        self.strong: Any = None
        self._algorithms: dict[tuple[Any, ...], Any] = {}
        self._imagesets: dict[str, Any] = {}

    def load(self, asked: Message) -> Message:
        """Take an image, its mask and a gain (empty for none)."""
        gain = asked.arrays["gain"]
        self.image = flex.double(asked.arrays["image"].astype(np.float64))
        self.mask = flex.bool(asked.arrays["mask"].copy())
        self.gain = None
        if gain.size:
            whole = np.broadcast_to(gain, self.image.all())
            self.gain = flex.double(np.array(whole, np.float64))
        return Message({})

    def threshold(self, asked: Message) -> Message:
        """Find the strong pixels of the image that was loaded."""
        algorithm = self._algorithm(asked.fields)
        self.strong = flex.bool(flex.grid(self.image.all()))
        gain = () if self.gain is None else (self.gain,)
        start = time.process_time()
        algorithm(self.image, self.mask, *gain, self.strong)
        seconds = time.process_time() - start
        strong = np.flatnonzero(self.strong.as_numpy_array())
        return Message({"seconds": seconds}, {"strong": strong})

    def _algorithm(self, fields: Mapping[str, Any]) -> Any:
        """Return the threshold, kept from image to image as DIALS itself does."""
        shape = tuple(self.image.all())
        if any(known[0] != shape for known in self._algorithms):
            self._algorithms.clear()
        key = (shape, *(str(fields[name]) for name in sorted(fields)))
        if key not in self._algorithms:
            kind = (
                DispersionExtendedThreshold
                if fields["extended"]
                else DispersionThreshold
            )
            self._algorithms[key] = kind(
                shape,
                tuple(fields["kernel"]),
                fields["sigma_background"],
                fields["sigma_strong"],
                fields["global_threshold"],
                fields["min_count"],
            )
        return self._algorithms[key]

    def spots(self, asked: Message) -> Message:
        """Group the strong pixels that were found to spots."""
        smallest, largest = asked.fields["smallest"], asked.fields["largest"]
        start = time.process_time()
        table = _spot_table(self.image, self.strong, smallest, largest)
        seconds = time.process_time() - start
        return Message({"seconds": seconds}, {"spots": _describe(table)})

    def decode(self, asked: Message) -> Message:
        """Read and decompress an image: of an open file, if it is one of many images.

        dxtbx keeps the pixels of a file with one image; that is opened anew.
        """
        name, number = asked.fields["file"], asked.fields["image_number"]
        if name not in self._imagesets:
            found = ExperimentListFactory.from_filenames([name])
            self._imagesets[name] = found.imagesets()[0]
        imageset = self._imagesets[name]
        imageset.clear_cache()
        kind = imageset.get_format_class()
        start = time.process_time()
        if issubclass(kind, FormatMultiImage):
            imageset.get_raw_data(number - 1)
        else:
            kind(name).get_raw_data()
        return Message({"seconds": time.process_time() - start})

    def work(self, asked: Message) -> Message:
        """Analyse an image file as DIALS's server does."""
        file, arguments = asked.fields["file"], asked.fields["arguments"]
        start = time.process_time()
        statistics = find_spots_server.work(file, arguments)
        seconds = time.process_time() - start
        return Message({"seconds": seconds, "n_spots": statistics["n_spots_total"]})


def _spot_table(image: Any, strong: Any, smallest: int, largest: int) -> Any:
    """Return DIALS's table of spots, filtered as it does by default."""
    labeller = PixelListLabeller()
    labeller.add(PixelList(0, image, strong))
    if not labeller.num_pixels():
        return flex.reflection_table()
    shoeboxes = flex.PixelListShoeboxCreator(
        labeller, 0, 0, True, smallest, largest, False
    ).result()
    shoeboxes = shoeboxes.select(shoeboxes.is_allocated())
    observed = flex.observation(
        shoeboxes.panels(), shoeboxes.centroid_valid(), shoeboxes.summed_intensity()
    )
    near = PeakCentroidDistanceFilter(MAX_SEPARATION).run(
        flex.bool(len(shoeboxes), True), observations=observed, shoeboxes=shoeboxes
    )
    return flex.reflection_table(observed.select(near), shoeboxes.select(near))


def _describe(table: Any) -> Array:
    """Return a row for each spot.

    x0, x1, y0, y1, n_pixels, intensity, its variance, x, y, variance of x, of y, peak.
    """
    rows = np.zeros((len(table), 12))
    for row, shoebox in zip(rows, table["shoebox"] if len(table) else (), strict=True):
        row[4] = np.count_nonzero(shoebox.mask.as_numpy_array())
        row[11] = shoebox.data.as_numpy_array().max()
    if len(table):
        rows[:, :4] = np.array(list(table["bbox"]))[:, :4]
        rows[:, 5] = table["intensity.sum.value"].as_numpy_array()
        rows[:, 6] = table["intensity.sum.variance"].as_numpy_array()
        rows[:, 7:9] = table["xyzobs.px.value"].as_numpy_array()[:, :2]
        rows[:, 9:11] = table["xyzobs.px.variance"].as_numpy_array()[:, :2]
    return rows


def serve() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what DIALS prints is no answer
    peer = Peer()
    known: dict[str, Callable[[Message], Message]] = {
        do.__name__: do
        for do in (peer.load, peer.threshold, peer.spots, peer.decode, peer.work)
    }
    send(answers, Message({"version": dials_version()}))
    while (asked := receive(sys.stdin.buffer)) is not None:
        fields = dict(asked.fields)
        do = known[fields.pop("do")]
        send(answers, do(Message(fields, asked.arrays)))


if __name__ == "__main__":
    serve()
