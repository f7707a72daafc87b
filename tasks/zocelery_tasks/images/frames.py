"""Where the frames of a collection lie: in one dataset or many, linked or virtual."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py

from zocelery.errors import ImageError
from zocelery_tasks.images.frame_storage import FrameStorage
from zocelery_tasks.images.hdf5_file import Hdf5File, current_look, open_hdf5
from zocelery_tasks.images.hdf5_node import Node
from zocelery_tasks.images.image import PixelBuffers, Pixels, PixelType
from zocelery_tasks.images.selection import FrameSelection, select_frames

logger = logging.getLogger(__name__)

_BLOCK_NAME = re.compile(r"data_\d+")


@dataclass(frozen=True)
class Frame:
    """One frame of a dataset."""

    storage: FrameStorage
    index: int
    """0-based."""

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels along (slow, fast)."""
        return self.storage.shape

    @property
    def dtype(self) -> PixelType:
        """Type of the pixels, in this machine's byte order.

        Raises:
            ImageError: if they are no integers of up to 32 bits.
        """
        return self.storage.dtype

    def read(self, buffers: PixelBuffers | None = None) -> Pixels:
        """Return the pixels, shape (slow, fast).

        Raises:
            ImageError: if the frame has not been written, is damaged, or compressed in
                an unknown way.
        """
        return self.storage.read(self.index, buffers or PixelBuffers())


class StoredFrames:
    """A dataset that holds some of the frames of a collection."""

    def __init__(self, locate: Callable[[], Node | None], name: str) -> None:
        """Take what finds the dataset, now and if its file changes, and its name."""
        self._locate = locate
        self._name = name
        self._storage: FrameStorage | None = None
        self._parts: list[_Part] = []
        self._look: object = None
        self.final_count: int | None = None
        """How many frames there are, once they are known and not still coming."""

    def storage(self) -> FrameStorage:
        """Return the dataset, as long as it is by now if it is being written.

        Raises:
            ImageError: if it is missing or holds no images.
        """
        known = self._storage
        if known is None or open_hdf5(known.node.file.path) is not known.node.file:
            node = self._locate()
            if node is None or not isinstance(node.item, h5py.Dataset):
                raise ImageError(f"{self._name} is missing")
            if node.item.ndim not in (2, 3):
                raise ImageError(f"{node} of shape {node.item.shape} holds no images")
            known = FrameStorage(node)
            self._storage, self._parts, self._look = known, _parts(node), None
        if known.node.file.is_live:
            self._refresh(known)
        return known

    def _refresh(self, storage: FrameStorage) -> None:
        """See what has been appended, once in a look."""
        look = current_look()
        if look is None or look is not self._look:
            storage.node.item.refresh()
            self._look = look

    def __len__(self) -> int:
        """Return how many frames there are by now."""
        storage = self.storage()
        count = len(storage)
        self.final_count = None if storage.node.file.is_live else count
        return count

    def frame(self, index: int) -> Frame:
        """Return the frame with a 0-based index, followed through virtual datasets.

        HDF5 itself answers fill values, silently, where a source of a virtual dataset
        is missing. A frame put together from parts of several sources stays virtual.

        Raises:
            ImageError: if a source is missing, or does not reach this far (yet).
        """
        storage = self.storage()
        if not 0 <= index < len(storage):
            raise ImageError(
                f"{storage.node} has {len(storage)} images, not {index + 1}"
            )
        if not storage.is_virtual:
            return Frame(storage, index)
        parts = [part for part in self._parts if part.concerns(index)]
        if not parts:
            raise ImageError(f"{storage.node}[{index}] has no source")
        stored = parts[0].frame(index) if len(parts) == 1 else None
        if stored is None:
            for part in parts:
                part.check()
        return stored or Frame(storage, index)


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
        """Whether frame `index` of the virtual dataset is from this source."""
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
        if taken is None or self.source.storage().shape != self.shape:
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
