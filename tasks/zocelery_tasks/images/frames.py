"""Where the frames of a collection lie: in one dataset or many, linked or virtual."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from zocelery.errors import ImageError
from zocelery_tasks.images.hdf5_file import Hdf5File, open_hdf5
from zocelery_tasks.images.hdf5_node import Node
from zocelery_tasks.images.image import PixelBuffers, Pixels, PixelType
from zocelery_tasks.images.selection import FrameSelection, select_frames

logger = logging.getLogger(__name__)

_BLOCK_NAME = re.compile(r"data_\d+")
_TYPES: dict[str, PixelType] = {
    name: np.dtype(name)
    for name in ("uint8", "uint16", "uint32", "int8", "int16", "int32")
}


@dataclass(frozen=True)
class Frame:
    """One frame of a dataset."""

    node: Node
    index: int
    """0-based."""

    @property
    def dataset(self) -> h5py.Dataset:
        """The dataset, of shape (frames, slow, fast), or (slow, fast) for one."""
        return self.node.item

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels along (slow, fast)."""
        slow, fast = self.dataset.shape[-2:]
        return int(slow), int(fast)

    @property
    def dtype(self) -> PixelType:
        """Type of the pixels, in this machine's byte order.

        Raises:
            ImageError: if they are no integers of up to 32 bits.
        """
        name = self.dataset.dtype.name
        if name not in _TYPES:
            raise ImageError(f"{self.node} has pixels of type {name}, not counts")
        return _TYPES[name]

    def read(self, buffers: PixelBuffers | None = None) -> Pixels:
        """Return the pixels, shape (slow, fast).

        Raises:
            ImageError: if the frame has not been written, is damaged, or compressed in
                an unknown way.
        """
        _refuse_unknown_filters(self.node)
        if not self._is_written():
            raise ImageError(f"{self.node}[{self.index}] has not been written")
        pixels = (buffers or PixelBuffers()).take(self.shape, self.dtype)
        source = np.s_[self.index] if self.dataset.ndim == 3 else np.s_[()]
        try:
            self.dataset.read_direct(pixels, source)
        except OSError as error:
            raise ImageError(f"{self.node}[{self.index}]: {error}") from error
        return pixels

    def _is_written(self) -> bool:
        """Whether there is anything in the file: HDF5 itself answers fill values."""
        layout = self.dataset.id.get_create_plist().get_layout()
        if layout == h5py.h5d.CHUNKED:
            corner = (self.index, 0, 0) if self.dataset.ndim == 3 else (0, 0)
            chunk = self.dataset.id.get_chunk_info_by_coord(corner)
            return chunk.byte_offset is not None
        if layout == h5py.h5d.CONTIGUOUS:
            return self.dataset.id.get_offset() is not None
        return True


class StoredFrames:
    """A dataset that holds some of the frames of a collection."""

    def __init__(self, locate: Callable[[], Node | None], name: str) -> None:
        """Take what finds the dataset, now and if its file changes, and its name."""
        self._locate = locate
        self._name = name
        self._node: Node | None = None
        self._parts: list[_Part] = []
        self.final_count: int | None = None
        """How many frames there are, once they are known and not still coming."""

    def node(self) -> Node:
        """Return the dataset, as long as it is by now if it is being written.

        Raises:
            ImageError: if it is missing or holds no images.
        """
        known = self._node
        if known is None or open_hdf5(known.file.path) is not known.file:
            known = self._locate()
            if known is None or not isinstance(known.item, h5py.Dataset):
                raise ImageError(f"{self._name} is missing")
            if known.item.ndim not in (2, 3):
                raise ImageError(f"{known} of shape {known.item.shape} holds no images")
            self._node, self._parts = known, _parts(known)
        if known.file.is_live:
            known.item.refresh()
        return known

    def __len__(self) -> int:
        """Return how many frames there are by now."""
        node = self.node()
        count = int(node.item.shape[0]) if node.item.ndim == 3 else 1
        self.final_count = None if node.file.is_live else count
        return count

    def frame(self, index: int) -> Frame:
        """Return the frame with a 0-based index, followed through virtual datasets.

        HDF5 itself answers fill values, silently, where a source of a virtual dataset
        is missing. A frame put together from parts of several sources stays virtual.

        Raises:
            ImageError: if a source is missing, or does not reach this far (yet).
        """
        node = self.node()
        if not 0 <= index < len(self):
            raise ImageError(f"{node} has {len(self)} images, not {index + 1}")
        if not node.item.is_virtual:
            return Frame(node, index)
        parts = [part for part in self._parts if part.concerns(index)]
        if not parts:
            raise ImageError(f"{node}[{index}] has no source")
        stored = parts[0].frame(index) if len(parts) == 1 else None
        if stored is None:
            for part in parts:
                part.check()
        return stored or Frame(node, index)


@dataclass(frozen=True, eq=False)
class _Part:
    """What a virtual dataset takes from one source."""

    file: Hdf5File
    """In which the virtual dataset lies."""
    file_name: str
    source: StoredFrames
    selected: FrameSelection | None
    """Of the virtual dataset's frames, None if it is not whole frames."""
    taken: FrameSelection | None
    """Of the source's frames."""
    shape: tuple[int, int]
    """Of a frame, (slow, fast)."""

    def concerns(self, index: int) -> bool:
        return self.selected is None or self.selected.position(index) is not None

    def check(self) -> None:
        """Raise ImageError if the source's file is missing."""
        if self.file_name != ".":
            self.file.sibling(self.file_name)

    def frame(self, index: int) -> Frame | None:
        """Return the source's frame, None if the source has no such whole frame."""
        if self.selected is None or self.taken is None:
            return None
        position = self.selected.position(index)
        taken = None if position is None else self.taken.index(position)
        if taken is None or self.source.node().item.shape[1:] != self.shape:
            return None
        return self.source.frame(taken)


def _parts(node: Node) -> list[_Part]:
    """Return the sources of a virtual dataset; none for any other."""
    if not node.item.is_virtual:
        return []
    slow, fast = node.item.shape[-2:]
    return [
        _Part(
            file=node.file,
            file_name=source.file_name,
            source=StoredFrames(
                partial(_find_source, node.file, source), source.dset_name
            ),
            selected=select_frames(source.vspace, (slow, fast)),
            taken=select_frames(source.src_space, (slow, fast)),
            shape=(slow, fast),
        )
        for source in node.item.virtual_sources()
    ]


def _find_source(file: Hdf5File, source: "h5py.VDSmap") -> Node | None:
    other = (
        file if source.file_name == "." else open_hdf5(file.sibling(source.file_name))
    )
    return Node(other, other.handle).find(source.dset_name)


class Frames:
    """All frames of a collection, in order."""

    def __init__(self, blocks: list[StoredFrames], file: Path) -> None:
        self._blocks = blocks
        self._file = file

    def __len__(self) -> int:
        """Return how many frames there are by now.

        Data files that are missing at the end do not count: a detector links to as
        many as were asked for, also if the collection was stopped.

        Raises:
            ImageError: if the first data file is missing.
        """
        total = 0
        for number, block in enumerate(self._blocks):
            try:
                total += len(block)
            except ImageError as error:
                if number == 0:
                    raise
                logger.warning("Only %d images can be read: %s", total, error)
                break
        return total

    def find(self, image_number: int) -> Frame:
        """Return where an image is.

        Args:
            image_number: 1-based.

        Raises:
            ImageError: if there is no such image (yet), or a data file is missing.
        """
        if image_number < 1:
            raise ImageError(
                f"{self._file}: image numbers begin at 1, not {image_number}"
            )
        index = image_number - 1
        *before, last = self._blocks
        for block in before:
            count = len(block) if block.final_count is None else block.final_count
            if index < count:
                return block.frame(index)
            index -= count
        if index < len(last):
            return last.frame(index)
        total = image_number - 1 - index + len(last)
        raise ImageError(
            f"{self._file} has {total} images: there is no image {image_number}"
        )


def find_frames(entry: Node) -> Frames:
    """Return the frames of a NeXus entry.

    They are what the `signal` of its data group names, or the datasets `data_000001`
    and so on that detectors write, or the dataset `data`.

    Raises:
        ImageError: if there are none.
    """
    groups = [*entry.children("NXdata")]
    named = entry.find("data")
    if named is not None and isinstance(named.item, h5py.Group) and not groups:
        groups = [named]
    for group in groups:
        names = _block_names(group)
        if names:
            blocks = [
                StoredFrames(partial(group.find, name), f"{group}/{name}")
                for name in names
            ]
            return Frames(blocks, entry.file.path)
    raise ImageError(f"{entry} has no images")


def _block_names(group: Node) -> list[str]:
    names = set(group.item)
    signal = group.attribute_text("signal")
    if signal in names:
        return [signal]
    blocks = sorted(name for name in names if _BLOCK_NAME.fullmatch(name))
    return blocks or [name for name in ("data",) if name in names]


def _refuse_unknown_filters(node: Node) -> None:
    """Raise ImageError if HDF5 cannot undo a compression of the dataset."""
    plist = node.item.id.get_create_plist()
    for number in range(plist.get_nfilters()):
        code, _, _, name = plist.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            raise ImageError(
                f"{node} is compressed with the unknown filter {code} "
                f"({name.decode('ascii', 'replace') or 'no name'})"
            )
