"""Compress frames to HDF5 chunks of the bitshuffle-LZ4 filter, without a file.

HDF5's own filter does the work on a dataset in memory, so that the chunk can be
written later, whole, with `write_direct_chunk`.
"""

import os
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Self

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

from zocelery.errors import ConfigurationError


@cache
def bitshuffle_lz4() -> Mapping[str, Any]:
    """Return the options of `create_dataset` for bitshuffle-LZ4 with usual blocks.

    Raises:
        ConfigurationError: if HDF5_PLUGIN_PATH makes HDF5 unable to write.
    """
    if os.environ.get("HDF5_PLUGIN_PATH"):
        _replace_loaded_filter()
    return MappingProxyType(dict(hdf5plugin.Bitshuffle(nelems=0, cname="lz4")))


def _replace_loaded_filter() -> None:
    """Take hdf5plugin's filter instead of the one that HDF5 loads by itself.

    That one cannot create datasets: "error during user callback".
    """
    try:
        hdf5plugin.register(("bshuf",), force=True)
    except RuntimeError as error:
        raise ConfigurationError(
            "HDF5_PLUGIN_PATH is set and images are open: unset it to write HDF5"
        ) from error


class ChunkCompressor:
    """Makes chunks of one shape and type; to be used as a context manager."""

    def __init__(
        self, shape: tuple[int, int], dtype: npt.DTypeLike = np.uint16
    ) -> None:
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

    def __exit__(self, *error: object) -> None:
        """Free the memory."""
        self._file.close()
