"""The images that are measured on: simulated, or the user's."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
import numpy.typing as npt

from zocelery.errors import ImageError
from zocelery_tasks.images.frames import Frame, find_frames
from zocelery_tasks.images.hdf5_file import open_hdf5
from zocelery_tasks.images.hdf5_node import Node
from zocelery_tasks.images.image import Image
from zocelery_tasks.images.open import count_images, is_hdf5, open_image
from zocelery_tasks.simulation.detector import DETECTORS, Family
from zocelery_tasks.simulation.scans import simulate_rotation

MAX_SIMULATED = 1000.0
"""Counts per pixel that the simulator's background has at most."""
Pixels = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Sample:
    """One image that is measured on."""

    title: str
    image: Image
    """Its pixels are an array of their own."""
    file: Path | None
    """None for an image that exists in memory only."""

    @property
    def image_number(self) -> int:
        """Its number in the file, from 1."""
        return self.image.image_number

    @property
    def pixels(self) -> Pixels:
        """Counts (slow, fast).

        Raises:
            ImageError: if they are no integers.
        """
        if self.image.pixels.dtype.kind == "f":
            raise ImageError(f"{self.title}: pixels are not counts")
        return cast(Pixels, self.image.pixels)

    @property
    def limits(self) -> tuple[int, int]:
        """Lowest and highest count that is valid."""
        return self.image.detector.trusted.limits()

    @cached_property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Pixels that count, (slow, fast)."""
        low, high = self.limits
        pixels = self.pixels
        return self.image.detector.mask & (pixels >= low) & (pixels <= high)

    @property
    def mean_count(self) -> float:
        """Mean of the pixels that count."""
        return float(self.pixels[self.valid].mean())

    @cached_property
    def frame(self) -> Frame | None:
        """Where it lies in an HDF5 file; None if it does not."""
        if self.file is None or not is_hdf5(self.file):
            return None
        master = open_hdf5(self.file)
        entry = Node(master, master.handle).find("entry")
        return None if entry is None else find_frames(entry).find(self.image_number)


def simulated_sample(folder: Path, detector: str, background: float) -> Sample:
    """Write and read an image, or make one in memory if it is too bright to simulate.

    A detector of the Pilatus family writes a CBF, others NXmx.
    """
    level = min(background, MAX_SIMULATED)
    file = simulate_file(folder / f"{detector}-{level:g}", detector, background=level)
    image = open_image(file)
    title = f"{DETECTORS[detector].description}, {file.suffix.strip('.')}"
    if level < background:
        return _noisier(Sample(title, image, None), background - level, 0)
    return Sample(title, image, file)


def simulate_file(folder: Path, detector: str, images: int = 1, **options: Any) -> Path:
    """Return a new file of simulated images, or the first of several CBF files."""
    is_cbf = DETECTORS[detector].family is Family.PILATUS
    found = simulate_rotation(
        folder,
        detector=detector,
        images=images,
        format="cbf" if is_cbf else "nxmx",
        overwrite=True,
        **options,
    )
    return found.written.names.cbf(1) if is_cbf else found.master


def overdispersed(sample: Sample, level: float, width: float) -> Sample:
    """Return an image in memory with more noise than Poisson's on top.

    Args:
        sample: the image below.
        level: mean of the noise, counts per pixel.
        width: variance of the noise's own mean, relative to `level` squared.
    """
    return _noisier(sample, level, width)


def _noisier(sample: Sample, level: float, width: float) -> Sample:
    """Add noise of a mean that is `level`, or is drawn for each pixel if `width`."""
    rng = np.random.default_rng(1)
    pixels = sample.pixels
    mean: Any = level
    if width:
        mean = level * rng.gamma(1 / width, width, pixels.shape)
    noise = rng.poisson(mean, pixels.shape)
    most = sample.limits[1]
    brighter = np.minimum(pixels + noise, most).astype(pixels.dtype)
    image = Image(
        sample.image.file,
        sample.image_number,
        np.where(sample.valid, brighter, pixels),
        sample.image.detector,
        sample.image.beam,
    )
    kind = "overdispersed" if width else "even noise"
    return Sample(f"{sample.title.partition(',')[0]}, {kind}", image, None)


def given_samples(files: tuple[str, ...]) -> Iterator[Sample]:
    """Yield the images of FILE or FILE:FIRST:LAST.

    Raises:
        click.BadParameter: if a range is not one.
    """
    for text in files:
        name, *bounds = text.rsplit(":", 2) if text.count(":") >= 2 else [text]
        file = Path(name)
        try:
            first, last = map(int, bounds) if bounds else (1, count_images(file))
        except ValueError:
            raise click.BadParameter(f"{text!r} is not FILE:FIRST:LAST") from None
        for number in range(first, last + 1):
            image = open_image(file, number)
            yield Sample(f"{file.name} {number}", image, file)
