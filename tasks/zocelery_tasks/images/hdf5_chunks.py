"""Which frames of a dataset in chunks are in its file."""

import time
from pathlib import Path

import h5py
import numpy as np

_NO_ROOM = np.empty(0, np.uint8)
_NOT_THERE = "not allocated"
"""In what HDF5 says of a chunk that has not been written."""
_SEARCH_SHARE = 4.0
"""A search that takes a second is made every four: a million frames take one."""


class FrameChunks:
    """The chunks in which a dataset keeps its frames."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        """Take a dataset in chunks: (frames, slow, fast), or (slow, fast) for one."""
        self._chunk: tuple[int, ...] = dataset.chunks
        self._is_filtered = dataset.id.get_create_plist().get_nfilters() > 0
        sides = zip(dataset.shape[-2:], self._chunk[-2:], strict=True)
        last = tuple((side - 1) // chunk * chunk for side, chunk in sides)
        self._corners = list(dict.fromkeys([(0, 0), last]))
        """First pixels of a frame's first and last chunk, one if that is the same."""
        self._has_begun = False
        """Whether any chunk has been seen."""
        self._inside: set[tuple[int, ...]] = set()
        """Corners of chunks that have been found to end before the file does."""
        self._next_search = 0.0

    @property
    def tell_misses(self) -> bool:
        """Whether HDF5 fails to read the bytes of a chunk that has not been written.

        Not if it takes the size for known because nothing is compressed, nor if there
        is no chunk at all yet: then the size that it tells is a random number.
        """
        return self._is_filtered and self._has_begun

    def hold(self, dataset: h5py.Dataset, index: int) -> bool:
        """Whether a frame has been written: HDF5 itself would answer fill values.

        Args:
            dataset: the dataset as it is by now.
            index: of the frame, 0-based.
        """
        return all(
            self._has_chunk(dataset, corner) for corner in self._corners_of(index)
        )

    def reach(self, dataset: h5py.Dataset, index: int) -> bool:
        """Whether the file reaches to the end of a frame that it holds.

        While a file is being written (SWMR) HDF5 does not look, and reads zeros from
        behind its end: of a copy under way, for instance. Where a chunk lies it only
        tells by going through all of them: this is done for all frames at once, and
        takes no more than a part of the time.

        Args:
            dataset: the dataset as it is by now, in a file that is being written.
            index: of the frame, 0-based; it has been written.
        """
        corners = self._corners_of(index)
        if not self._inside.issuperset(corners):
            now = time.monotonic()
            if now >= self._next_search:
                self._find_inside(dataset)
                took = time.monotonic() - now
                self._next_search = now + _SEARCH_SHARE * took
        return self._inside.issuperset(corners)

    def _find_inside(self, dataset: h5py.Dataset) -> None:
        size, ends = Path(dataset.file.filename).stat().st_size, set(self._corners)

        def _note(info: h5py.h5d.StoreInfo) -> None:
            corner = info.chunk_offset
            if info.byte_offset + info.size <= size and corner[-2:] in ends:
                self._inside.add(corner)

        dataset.id.chunk_iter(_note)

    def _corners_of(self, index: int) -> list[tuple[int, ...]]:
        start: tuple[int, ...] = ()
        if len(self._chunk) == 3:
            start = (index // self._chunk[0] * self._chunk[0],)
        return [(*start, *corner) for corner in self._corners]

    def _has_chunk(self, dataset: h5py.Dataset, corner: tuple[int, ...]) -> bool:
        """Whether the chunk with its first pixel at `corner` has been written.

        `get_chunk_info_by_coord` goes through all chunks before. HDF5 looks only for
        the one when it is asked to read it, here without room to read it to.
        """
        if self.tell_misses:
            try:
                dataset.id.read_direct_chunk(corner, out=_NO_ROOM)
            except ValueError:
                return True
            except (RuntimeError, OSError) as error:
                if _NOT_THERE in str(error):
                    return False
        info = dataset.id.get_chunk_info_by_coord(corner)
        self._has_begun = self._has_begun or info.size > 0
        return info.size > 0 and _is_inside(dataset, info.byte_offset + info.size)


def _is_inside(dataset: h5py.Dataset, end: int) -> bool:
    """Whether the file reaches to byte `end`.

    While a file is being written (SWMR) HDF5 does not look, and reads zeros from behind
    its end: of a copy under way, for instance.
    """
    return bool(end <= Path(dataset.file.filename).stat().st_size)
