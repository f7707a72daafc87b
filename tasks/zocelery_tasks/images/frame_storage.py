"""How the frames of one dataset are stored, and the fastest safe way to read them."""

import logging
import threading
import zlib
from collections.abc import Callable

import h5py
import numpy as np

from zocelery.errors import ImageError
from zocelery_tasks.images.bitshuffle import Chunk, codec_library
from zocelery_tasks.images.hdf5_chunks import FrameChunks
from zocelery_tasks.images.hdf5_node import Node
from zocelery_tasks.images.image import PixelBuffers, Pixels, PixelType

logger = logging.getLogger(__name__)

Decoder = Callable[[Chunk, Pixels], None]
"""Fills an array with the pixels of a chunk, or raises ImageError."""
_Filter = tuple[int, tuple[int, ...]]
"""Code and options of one step of a chunk's compression."""

_TYPES: dict[str, PixelType] = {
    name: np.dtype(name)
    for name in ("uint8", "uint16", "uint32", "int8", "int16", "int32")
}
_BITSHUFFLE, _LZ4 = 32008, 32004
_BITSHUFFLE_VERSION, _BITSHUFFLE_LZ4 = 0, 2


class FrameStorage:
    """A dataset of frames; what does not change is worked out once.

    A frame that is one chunk is taken from the file as it is and decompressed without
    HDF5, unless its compression is one that only HDF5 knows. The first frame of each
    way of storing frames is compared with HDF5's own answer.
    """

    def __init__(self, node: Node) -> None:
        """Take a dataset of shape (frames, slow, fast), or (slow, fast) for one."""
        self.node = node
        dataset: h5py.Dataset = node.item
        self._is_stack = dataset.ndim == 3
        slow, fast = dataset.shape[-2:]
        self.shape: tuple[int, int] = int(slow), int(fast)
        """Pixels along (slow, fast)."""
        plist = dataset.id.get_create_plist()
        self._layout = plist.get_layout()
        self._unknown_filter = _unknown_filter(plist)
        self._dtype = dataset.dtype
        self._pixel_type = _TYPES.get(self._dtype.name)
        self._chunks: tuple[int, ...] | None = dataset.chunks
        self._frame_chunks = FrameChunks(dataset) if self._chunks else None
        self._compression = _compression(plist)
        self._decoder = self._find_decoder()

    @property
    def is_virtual(self) -> bool:
        """Whether the frames lie in other datasets."""
        return bool(self._layout == h5py.h5d.VIRTUAL)

    def __len__(self) -> int:
        """Return how many frames there are room for by now."""
        return int(self.node.item.shape[0]) if self._is_stack else 1

    @property
    def dtype(self) -> PixelType:
        """Type of the pixels, in this machine's byte order.

        Raises:
            ImageError: if they are no integers of up to 32 bits.
        """
        if self._pixel_type is None:
            name = self._dtype.name
            raise ImageError(
                f"{self.node} has pixels of type {name}, not counts of up to 32 bits "
                "(the backend dials may read them)"
            )
        return self._pixel_type

    def read(self, index: int, buffers: PixelBuffers) -> Pixels:
        """Return the pixels of the frame with a 0-based index, shape (slow, fast).

        Raises:
            ImageError: if the frame has not been written, is damaged, or compressed in
                an unknown way.
        """
        if self._unknown_filter:
            raise ImageError(f"{self.node} is compressed with {self._unknown_filter}")
        pixels = buffers.take(self.shape, self.dtype)
        try:
            if self._decoder is None or not self._decode(index, pixels, buffers):
                self._require_written(index)
                self._read_by_hdf5(index, pixels)
        except (OSError, RuntimeError, ImageError) as error:
            self._require_written(index)
            place = f"{self.node}[{index}]"
            if self._is_beyond_end(index):
                raise ImageError(f"{place}: behind the end of its file") from error
            raise ImageError(f"{place}: {error}") from error
        return pixels

    def _is_beyond_end(self, index: int) -> bool:
        """Whether a frame that cannot be read is not all in the file: half copied."""
        dataset = self.node.item
        is_chunked = self._frame_chunks is not None
        return is_chunked and not FrameChunks(dataset).reach(dataset, index)

    def _require_written(self, index: int) -> None:
        if not self._is_written(index):
            raise ImageError(f"{self.node}[{index}] has not been written")

    def _is_written(self, index: int) -> bool:
        """Whether there is anything in the file: HDF5 itself answers fill values."""
        dataset = self.node.item
        if self._frame_chunks is not None:
            return self._frame_chunks.hold(dataset, index)
        if self._layout == h5py.h5d.CONTIGUOUS:
            return dataset.id.get_offset() is not None
        return True

    def _read_by_hdf5(self, index: int, pixels: Pixels) -> None:
        self.node.item.read_direct(
            pixels, np.s_[index] if self._is_stack else np.s_[()]
        )

    def _find_decoder(self) -> Decoder | None:
        """Return what decompresses a chunk; None if a frame is not just one chunk."""
        one_frame = (1, *self.shape) if self._is_stack else self.shape
        if self._chunks != one_frame or not self._dtype.isnative:
            return None
        return _find_decoder(self._compression, self._dtype.itemsize)

    def _decode(self, index: int, pixels: Pixels, buffers: PixelBuffers) -> bool:
        """Read a chunk into `pixels`; False if only HDF5 can."""
        decoder = self._decoder
        layout = (self._dtype.str, self._chunks, self._compression)
        if decoder is None or _trials.has_failed(layout):
            return False
        chunks = self._frame_chunks
        if chunks is None or not chunks.tell_misses:
            self._require_written(index)
        chunk = self._chunk(index, buffers)
        if chunk is None:
            return False
        decoder(chunk, pixels)
        if _trials.has_passed(layout):
            return True
        expected = np.empty_like(pixels)
        self._read_by_hdf5(index, expected)
        # Row by row, because comparing all at once takes half an image of memory.
        passed = all(map(np.array_equal, pixels, expected))
        _trials.note(layout, passed)
        if not passed:
            logger.warning(
                "%s is read by HDF5, which is slower: its chunks are not understood",
                self.node,
            )
        return passed

    def _chunk(self, index: int, buffers: PixelBuffers) -> Chunk | None:
        """Return the bytes of a frame's chunk, None if a filter was left out of it."""
        dataset = self.node.item.id
        corner = (index, 0, 0) if self._is_stack else (0, 0)
        room = buffers.take_bytes(self._dtype.itemsize * self.shape[0] * self.shape[1])
        try:
            skipped, content = dataset.read_direct_chunk(corner, out=room)
        except ValueError:  # compression has made it longer
            skipped, content = dataset.read_direct_chunk(corner)
        chunk = np.frombuffer(content, np.uint8)
        chunk.flags.writeable = False  # one type for compiled code
        return None if skipped else chunk


class _Trials:
    """Which ways of storing frames have been compared with HDF5, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._passed: dict[object, bool] = {}

    def has_passed(self, layout: object) -> bool:
        """Whether a way of storing has agreed with HDF5."""
        return self._passed.get(layout, False)

    def has_failed(self, layout: object) -> bool:
        """Whether it has ever disagreed."""
        return not self._passed.get(layout, True)

    def note(self, layout: object, passed: bool) -> None:
        """Remember a comparison; one that failed is never forgotten."""
        with self._lock:
            self._passed[layout] = passed and not self.has_failed(layout)


_trials = _Trials()


def _compression(plist: h5py.h5p.PropDCID) -> tuple[_Filter, ...]:
    steps = (plist.get_filter(number) for number in range(plist.get_nfilters()))
    return tuple((code, tuple(options)) for code, _, options, _ in steps)


def _unknown_filter(plist: h5py.h5p.PropDCID) -> str:
    """Return a compression that HDF5 cannot undo, empty if there is none."""
    for number in range(plist.get_nfilters()):
        code, _, _, name = plist.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            known_as = name.decode("ascii", "replace") or "no name"
            return f"the unknown filter {code} ({known_as})"
    return ""


def _find_decoder(compression: tuple[_Filter, ...], itemsize: int) -> Decoder | None:
    """Return what undoes a compression; None if only HDF5 knows how."""
    if not compression:
        return _copy
    if len(compression) > 1:
        return None
    ((code, options),) = compression
    if code == h5py.h5z.FILTER_DEFLATE:
        return _inflate
    library = codec_library() if code in (_BITSHUFFLE, _LZ4) else None
    if library is None:
        return None
    if code == _LZ4:
        return library.lz4
    version, _, size, _, method, *_ = (*options, *[-1] * 5)
    known = (version, size, method) == (_BITSHUFFLE_VERSION, itemsize, _BITSHUFFLE_LZ4)
    return library.bitshuffle_lz4 if known else None


def _copy(chunk: Chunk, pixels: Pixels) -> None:
    if chunk.size != pixels.nbytes:
        raise ImageError(f"{chunk.size} bytes instead of {pixels.nbytes}")
    pixels.reshape(-1).view(np.uint8)[:] = chunk


def _inflate(chunk: Chunk, pixels: Pixels) -> None:
    """Undo gzip's compression, which HDF5 calls deflate."""
    try:
        content = zlib.decompressobj().decompress(chunk.data, pixels.nbytes + 1)
    except zlib.error as error:
        raise ImageError(f"gzip cannot decompress the pixels: {error}") from error
    _copy(np.frombuffer(content, np.uint8), pixels)
