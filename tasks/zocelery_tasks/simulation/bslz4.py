"""Compress frames to HDF5 chunks of the bitshuffle-LZ4 filter, without a file.

HDF5's own filter does the work on a dataset in memory, so that the chunk can be
written later, whole, with `write_direct_chunk`.
"""

import os
from types import TracebackType
from typing import Any, Self

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt


def bitshuffle_lz4() -> dict[str, Any]:
    """Return the options of `create_dataset` for bitshuffle-LZ4 with usual blocks."""
    if os.environ.get("HDF5_PLUGIN_PATH"):
        # HDF5 then loads the filter itself, in a form that cannot create datasets.
        hdf5plugin.register(("bshuf",), force=True)
    return dict(hdf5plugin.Bitshuffle(nelems=0, cname="lz4"))


class ChunkCompressor:
    """Makes chunks of one shape and type; to be used as a context manager."""

    def __init__(self, shape: tuple[int, int], dtype: npt.DTypeLike = np.uint16):
        """Prepare for frames of `shape` (slow, fast)."""
        self._file = h5py.File(
            "chunk-compressor", "w", driver="core", backing_store=False
        )
        self._dataset = self._file.create_dataset(
            "data", (1, *shape), dtype, chunks=(1, *shape), **bitshuffle_lz4()
        )

    def compress(self, frame: npt.NDArray[Any]) -> bytes:
        """Return the chunk that holds `frame`."""
        self._dataset[0] = frame
        _, chunk = self._dataset.id.read_direct_chunk((0, 0, 0))
        return bytes(chunk)

    def __enter__(self) -> Self:
        """Return the compressor."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the memory."""
        self._file.close()
