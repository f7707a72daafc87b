"""The formats in which the images of a scan can be written."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Protocol

from zocelery_tasks.simulation.bslz4 import ChunkCompressor
from zocelery_tasks.simulation.cbf_writer import CbfFiles, compress_byte_offset
from zocelery_tasks.simulation.file_names import FileNames
from zocelery_tasks.simulation.frames import Frame
from zocelery_tasks.simulation.nexus_data import DataFiles
from zocelery_tasks.simulation.nexus_writer import write_master_file, write_meta_file
from zocelery_tasks.simulation.scan_plan import ScanPlan
from zocelery_tasks.simulation.settings import ImageFormat, OutputSettings

Encoder = Callable[[Frame], bytes]


class ImageFiles(Protocol):
    """The files of one scan in one format."""

    def write(self, index: int, blob: bytes) -> None:
        """Make image `index` (0-based), encoded, visible to everybody."""


def prepare_encoders(
    stack: ExitStack, plan: ScanPlan, image_format: ImageFormat
) -> list[Encoder]:
    """Return what compresses frames for each format; `stack` frees them."""
    encoders: list[Encoder] = []
    if image_format is not ImageFormat.CBF:
        encoders.append(stack.enter_context(ChunkCompressor(plan.shape)).compress)
    if image_format is not ImageFormat.NXMX:
        encoders.append(compress_byte_offset)
    return encoders


def create_files(
    stack: ExitStack, names: FileNames, plan: ScanPlan, output: OutputSettings
) -> list[ImageFiles]:
    """Create the files of each format, in the order of `prepare_encoders`.

    `stack` closes them.
    """
    files: list[ImageFiles] = []
    if output.format is not ImageFormat.CBF:
        per_file = output.images_per_file or len(plan)
        grow = output.frame_rate is not None
        files.append(
            stack.enter_context(closing(DataFiles(names, plan, per_file, grow)))
        )
        write_meta_file(names, plan)
        # The master comes last: whoever finds it finds the others.
        write_master_file(names, plan, per_file)
    if output.format is not ImageFormat.NXMX:
        files.append(CbfFiles(names, plan))
    return files
