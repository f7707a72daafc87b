"""Which frames of a dataset in chunks are in its file."""

from pathlib import Path

import h5py
import numpy as np

_NO_ROOM = np.empty(0, np.uint8)
_NOT_THERE = "not allocated"
"""In what HDF5 says of a chunk that has not been written."""


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

    def hold(self, dataset: h5py.Dataset, index: int) -> bool:
        """Whether a frame has been written: HDF5 itself would answer fill values.

        Args:
            dataset: the dataset as it is by now.
            index: of the frame, 0-based.
        """
        start: tuple[int, ...] = ()
        if len(self._chunk) == 3:
            start = (index // self._chunk[0] * self._chunk[0],)
        return all(
            self._has_chunk(dataset, (*start, *corner)) for corner in self._corners
        )

    def _has_chunk(self, dataset: h5py.Dataset, corner: tuple[int, ...]) -> bool:
        """Whether the chunk with its first pixel at `corner` has been written.

        `get_chunk_info_by_coord` goes through all chunks before. HDF5 looks only for
        the one when it is asked to read it, here without room to read it to; unless
        it takes the size for known because nothing is compressed, and unless there
        is no chunk at all yet: then the size that it tells is a random number.
        """
        if self._is_filtered and self._has_begun:
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
