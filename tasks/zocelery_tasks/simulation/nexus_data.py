"""HDF5 data files: one chunk per image, readable while they grow."""

from contextlib import ExitStack

import h5py
import numpy as np

from zocelery_tasks.simulation.bslz4 import bitshuffle_lz4
from zocelery_tasks.simulation.file_names import FileNames
from zocelery_tasks.simulation.scan_plan import ScanPlan

HDF5_VERSIONS = ("v110", "v110")
"""Bounds of the file format: new enough for SWMR, old enough for HDF5 1.10."""


def image_ranges(images: int, images_per_file: int) -> list[range]:
    """Return which images, 0-based, lie in each file."""
    return [
        range(first, min(first + images_per_file, images))
        for first in range(0, images, images_per_file)
    ]


class DataFiles:
    """Data files of a scan, each with the dataset `/data` (images, slow, fast).

    All exist in full shape from the start, without any chunk: a reader sees by
    `get_chunk_info_by_coord` which images are there.
    """

    def __init__(
        self, names: FileNames, plan: ScanPlan, images_per_file: int, grow: bool
    ) -> None:
        """Create the files.

        Args:
            names: of the files.
            plan: of the scan.
            images_per_file: the last file has what remains.
            grow: let others read with `swmr=True` meanwhile.
        """
        self._images_per_file = images_per_file
        self._grow = grow
        self._datasets: list[h5py.Dataset] = []
        ranges = image_ranges(len(plan), images_per_file)
        with ExitStack() as stack:
            for number, images in enumerate(ranges, start=1):
                path = names.data(number)
                file = stack.enter_context(h5py.File(path, "w", libver=HDF5_VERSIONS))
                self._add_dataset(file, (len(images), *plan.shape))
            self._open_files = stack.pop_all()

    def _add_dataset(self, file: h5py.File, shape: tuple[int, int, int]) -> None:
        """Create the dataset of one file."""
        dataset = file.create_dataset(
            "data", shape, np.uint16, chunks=(1, *shape[1:]), **bitshuffle_lz4()
        )
        self._datasets.append(dataset)
        if self._grow:
            file.swmr_mode = True

    def write(self, index: int, chunk: bytes) -> None:
        """Write image `index` (0-based), compressed; readers may see it at once."""
        number, position = divmod(index, self._images_per_file)
        dataset = self._datasets[number]
        dataset.id.write_direct_chunk((position, 0, 0), chunk)
        if self._grow:
            dataset.flush()

    def close(self) -> None:
        """Close the files."""
        try:
            self._open_files.close()
        except RuntimeError as error:  # h5py's word for a disk that is full
            raise OSError(str(error)) from error


def link_data(
    group: h5py.Group, names: FileNames, plan: ScanPlan, per_file: int
) -> None:
    """Put `data`, all images of the scan, and links to the data files into `group`.

    The files are named without folder: they are looked for beside the master.
    """
    layout = h5py.VirtualLayout((len(plan), *plan.shape), np.uint16)
    ranges = image_ranges(len(plan), per_file)
    for number, images in enumerate(ranges, start=1):
        name = names.data(number).name
        group[f"data_{number:06d}"] = h5py.ExternalLink(name, "/data")
        source = h5py.VirtualSource(name, "data", (len(images), *plan.shape))
        layout[images.start : images.stop] = source
    if len(ranges) == 1:
        group["data"] = h5py.ExternalLink(names.data(1).name, "/data")
    else:
        group.create_virtual_dataset("data", layout)
