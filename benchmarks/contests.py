"""What takes turns on one image: our way, DIALS's, HDF5's, and a copy in memory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from benchmarks.dials import Dials
from benchmarks.images import Sample
from benchmarks.rounds import Contender, interleave, timed
from zocelery_tasks.images.cbf import read_cbf
from zocelery_tasks.images.image import PixelBuffers
from zocelery_tasks.images.open import open_image
from zocelery_tasks.kernels.spots import find_spots
from zocelery_tasks.kernels.strong_pixels import StrongPixelFinder
from zocelery_tasks.kernels.threshold import Algorithm, DispersionSettings
from zocelery_tasks.per_image_analysis import analyse_image, pixel_buffers
from zocelery_tasks.per_image_parameters import PerImageAnalysisParameters
from zocelery_tasks.spot_finding import SpotFindingSettings

MEMCPY = "memcpy"
Row = dict[str, Any]


@dataclass
class Contest:
    """Contenders that do the same work, and whose ratios are wanted."""

    contenders: dict[str, Contender] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    """Of ours and a peer."""
    agree: dict[tuple[str, str], Callable[[], bool]] = field(default_factory=dict)
    """Whether the two of a pair gave the same answer."""

    def add_pair(
        self, ours: str, peer: str, agree: Callable[[], bool] | None = None
    ) -> None:
        """Ask for the ratio of a peer's time to ours."""
        self.pairs.append((ours, peer))
        if agree is not None:
            self.agree[ours, peer] = agree

    def run(self, sample: Sample, rounds: int) -> Iterator[Row]:
        """Let all take turns; yield a row for each pair, or for ours alone."""
        measured = interleave(self.contenders, rounds)
        alone = [(name, None) for name in self.contenders if not self._has_peer(name)]
        pairs: list[tuple[str, str | None]] = [*self.pairs, *alone]
        for ours, peer in pairs:
            agree = None if peer is None else self.agree.get((ours, peer))
            row = {
                "image": sample.title,
                "mean count": sample.mean_count,
                "ours": ours,
                "ms": measured.milliseconds(ours).median,
                "peer": peer,
                "peer ms": peer and measured.milliseconds(peer).median,
                "ratio": peer and measured.ratio(ours, peer),
                "same answer": agree and agree(),
            }
            if MEMCPY in self.contenders:
                row["times memcpy"] = measured.ratio(MEMCPY, ours)
            yield row

    def _has_peer(self, name: str) -> bool:
        return name == MEMCPY or any(name in pair for pair in self.pairs)


def kernel_contest(sample: Sample, dials: Dials | None) -> Contest:
    """Strong pixels of an image in memory."""
    contest = Contest()
    pixels = sample.pixels
    copy = np.empty_like(pixels)
    contest.contenders[MEMCPY] = timed(partial(np.copyto, copy, pixels))
    if dials is not None:
        dials.load(pixels, sample.valid)
    for algorithm in Algorithm:
        _add_kernel(contest, sample, dials, algorithm)
    return contest


def _add_kernel(
    contest: Contest, sample: Sample, dials: Dials | None, algorithm: Algorithm
) -> None:
    settings = DispersionSettings(algorithm=algorithm)
    if dials is not None:
        rule = SpotFindingSettings(algorithm=algorithm, dials_rule=dials.rule)
        settings = rule.threshold_settings()
    finder = StrongPixelFinder(settings)
    detector = sample.image.detector
    found: dict[str, Any] = {}

    def ours() -> None:
        low, high = sample.limits
        found["ours"] = finder.find(sample.pixels, detector.mask, low, high)

    name = str(algorithm)
    contest.contenders[name] = timed(ours)
    if dials is None:
        return

    def theirs() -> float:
        seconds, found["theirs"] = dials.threshold(settings)
        return seconds

    contest.contenders[f"DIALS {name}"] = theirs
    contest.add_pair(
        name,
        f"DIALS {name}",
        lambda: bool(np.array_equal(found["ours"], found["theirs"])),
    )


def spots_contest(sample: Sample, dials: Dials | None) -> Contest:
    """Spots of the strong pixels, which are known."""
    pixels, detector = sample.pixels, sample.image.detector
    finder = StrongPixelFinder(DispersionSettings())
    strong = finder.find(pixels, detector.mask, *sample.limits)
    sizes = (detector.min_spot_size, SpotFindingSettings().max_spot_size)
    found: dict[str, Any] = {}

    def ours() -> None:
        counts = pixels.reshape(-1)[strong]
        found["ours"] = find_spots(strong, counts, pixels.shape[1], *sizes, 2.0)

    contest = Contest({"spots": timed(ours)})
    if dials is not None:
        dials.load(pixels, sample.valid)
        dials.threshold(finder.settings)

        def theirs() -> float:
            seconds, found["theirs"] = dials.spots(*sizes)
            return seconds

        contest.contenders["DIALS"] = theirs
        contest.add_pair(
            "spots", "DIALS", lambda: len(found["ours"]) == len(found["theirs"])
        )
    return contest


def decode_contest(sample: Sample, dials: Dials | None) -> Contest:
    """Reading an image of an open file and decompressing it."""
    contest = Contest()
    pixels = sample.pixels
    contest.contenders["decode"] = timed(_decoder(sample))
    copy = np.empty_like(pixels)
    contest.contenders[MEMCPY] = timed(partial(np.copyto, copy, pixels))
    if sample.frame is not None:
        data, index = sample.frame.storage.node.item, sample.frame.index
        contest.contenders["h5py dataset[i]"] = timed(lambda: data[index])
        contest.contenders["h5py read_direct"] = timed(
            lambda: data.read_direct(copy, np.s_[index])
        )
        contest.add_pair("decode", "h5py dataset[i]")
        contest.add_pair("decode", "h5py read_direct")
    if dials is not None:
        asked = {"file": str(sample.file), "image_number": sample.image_number}
        contest.contenders["DIALS get_raw_data"] = partial(
            _seconds, dials, "decode", asked
        )
        contest.add_pair("decode", "DIALS get_raw_data")
    return contest


def _decoder(sample: Sample) -> Callable[[], object]:
    buffers = PixelBuffers()
    if sample.frame is not None:
        return partial(sample.frame.read, buffers)
    file = sample.file
    if file is None:
        raise ValueError(f"{sample.title} is in no file")
    return lambda: read_cbf(file).decode(buffers)


def whole_contest(sample: Sample, dials: Dials | None) -> Contest:
    """From the file, which is open by then, to the nine statistics."""
    contest = Contest()
    file = sample.file
    if file is None:
        raise ValueError(f"{sample.title} is in no file")
    for algorithm in Algorithm:
        chosen = {"threshold_algorithm": str(algorithm)}
        if dials is not None:
            chosen["dials_rule"] = str(dials.rule)
        parameters = PerImageAnalysisParameters.parse({**chosen, "d_max": None})
        found: dict[str, Any] = {}

        def ours(
            parameters: PerImageAnalysisParameters = parameters,
            found: dict[str, Any] = found,
        ) -> None:
            image = open_image(file, sample.image_number, pixel_buffers())
            found["ours"] = analyse_image(image, parameters).n_spots_found

        contest.contenders[str(algorithm)] = timed(ours)
        if dials is not None:
            _add_server(contest, sample, dials, algorithm, found)
    return contest


def _add_server(
    contest: Contest,
    sample: Sample,
    dials: Dials,
    algorithm: Algorithm,
    found: dict[str, Any],
) -> None:
    number = sample.image_number
    arguments = [
        f"spotfinder.threshold.algorithm={algorithm}",
        f"spotfinder.scan_range={number},{number}",
        "spotfinder.mp.nproc=1",
    ]

    def theirs() -> float:
        answer = dials.ask("work", file=str(sample.file), arguments=arguments)
        found["theirs"] = answer.fields["n_spots"]
        return float(answer.fields["seconds"])

    name = f"DIALS {algorithm}"
    contest.contenders[name] = theirs
    contest.add_pair(str(algorithm), name, lambda: found["ours"] == found["theirs"])


def _seconds(dials: Dials, do: str, asked: Mapping[str, Any]) -> float:
    return float(dials.ask(do, **asked).fields["seconds"])


Step = tuple[Callable[[Sample, Dials | None], Contest], bool]
"""What makes a step's contest, and whether the image has to be in a file."""
KERNEL_ONLY: dict[str, Step] = {
    "kernel: image to strong pixels": (kernel_contest, False)
}
STEPS: dict[str, Step] = {
    **KERNEL_ONLY,
    "spots: strong pixels to spots": (spots_contest, False),
    "decode: file to image": (decode_contest, True),
    "whole image: file to statistics": (whole_contest, True),
}
"""By what a step does."""
